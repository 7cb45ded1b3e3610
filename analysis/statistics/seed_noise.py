"""Distance by which the mean of a few seeds may differ from that of all seeds."""

from collections.abc import Sequence

import numpy as np

from analysis.statistics.floats import Floats


def draw_seeds(values: Floats, draw: np.random.Generator) -> Floats:
    """Return the scores of seeds moved together, as far as their mean may be from that of all.

    Seeds differ by what they are and by the noise of single days, which resampled days hold
    already; only the rest is drawn. How far seeds differ is itself known badly from a few of them:
    each sample draws their variance from what m - 1 degrees of freedom allow, takes the noise away,
    and moves the mean by what is left (a generalised interval, Weerahandi 1993). Without noise the
    mean is spread like Student's t. ``tests/bench/test_interval_coverage.py`` measures coverage.

    Args:
        values: scores in each sample of days, shape (n_resamples, n_seeds), two seeds at least.
        draw: of the seeds.
    """
    n_seeds = values.shape[1]
    known = values[np.isfinite(values).all(axis=1)]
    if len(known) < 2:
        return values
    own = _own(known)
    centre = values.mean(axis=1, keepdims=True)
    shape = (len(values), 1)
    variance = (own**2).sum() / draw.chisquare(n_seeds - 1, size=shape) - _day_variance([known])
    moved = np.sqrt(np.maximum(variance, 0) / n_seeds) * draw.standard_normal(shape)
    return np.asarray(centre + moved + own)


def draw_single_seeds(
    values: Floats, repeated: Sequence[Floats], draw: np.random.Generator
) -> Floats:
    """Return the scores of models trained once, each moved as far as another seed might have.

    How far that is, only the models that were trained several times can tell: their variance is
    pooled, and drawn once for all in each sample from what their degrees of freedom allow.

    Args:
        values: finite scores in each sample of days, shape (n_resamples, n_models).
        repeated: those of each other model's seeds, shape (n_resamples, n_seeds), two at least.
        draw: of the seeds.
    """
    squares = sum(float((_own(each) ** 2).sum()) for each in repeated)
    freedom = sum(each.shape[1] - 1 for each in repeated)
    scale = draw.chisquare(freedom, size=(len(values), 1))
    variance = np.maximum(squares / scale - _day_variance(repeated), 0)
    return np.asarray(values + np.sqrt(variance) * draw.standard_normal(values.shape))


def _own(values: Floats) -> Floats:
    """Return what each seed is by itself, on all days, less the mean of all."""
    return np.asarray(values.mean(axis=0) - values.mean())


def _day_variance(groups: Sequence[Floats]) -> float:
    """Return the variance by which days move single seeds of a model apart, pooled over models."""
    squares = sum(
        float(((each - each.mean(axis=1, keepdims=True) - _own(each)) ** 2).sum())
        for each in groups
    )
    freedom = sum((len(each) - 1) * (each.shape[1] - 1) for each in groups)
    return float(squares / freedom)
