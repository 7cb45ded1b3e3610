"""Signs that the dates of somebody's probabilities are a day off, seen beside a study's models."""

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.statistics.day_resampling import DaySamples
from analysis.statistics.floats import Floats
from analysis.statistics.interval import LEVEL
from analysis.study_records import Predictions

_LEAST_TOGETHER = 0.5
"""Correlation of the day-to-day changes of two models' logits from which they move together. On the
S&P 500 and one or three days ahead, two baselines on other inputs have .48 to .78 on the same day,
and at most .39 a day apart."""

_DATES = "A date is the last day whose close the answer knows."

_FEWEST_DAYS = 40
"""Pairs of days below which a correlation says too little to warn of anything, an own choice: its
standard error is .16 there."""

_LAGS = {-1: "before", 1: "after"}
"""Days by which dates may be off, and what a label of that day is called."""


def date_warnings(
    given: Mapping[str, Floats],
    study: Predictions,
    models: Sequence[str],
    rows: np.ndarray,
    days: DaySamples,
) -> list[str]:
    """Return a sentence for each model of a file whose dates seem to be a day off.

    A probability belongs to the day after whose close it is given, and the label of that day is of
    the days ahead. Two signs are looked at, and each is compared with what the study's own models
    show, because volatility lasts: a good model of the last days' ranges goes better with the label
    of the day before, whose range it has seen.

    Args:
        given: probabilities by model, shape (n_seeds, n_common), between 0 and 1.
        study: the labels and models of the study on all days of the part.
        models: names of the study's models.
        rows: the rows of the common days among the study's, ascending.
        days: samples of the common days.
    """
    found = []
    own = {name: _logits(study.p[name]) for name in models}
    own = {name: logits for name, logits in own.items() if np.ptp(logits) > 0}
    for name, p in given.items():
        logits = _logits(p)
        if np.ptp(logits) == 0:
            continue
        sign = _moves_with(logits, own, rows) or _fits_another_day(logits, study.y, own, rows, days)
        if sign is not None:
            found.append(f"{name}: {sign}")
    return found


def _logits(p: Floats) -> Floats:
    return np.asarray(np.mean(np.log(p) - np.log1p(-p), axis=0))


def _moves_with(logits: Floats, own: Mapping[str, Floats], rows: np.ndarray) -> str | None:
    """Return a warning if a model moves with one of the study's of another day."""
    best: tuple[float, int, str] | None = None
    for name, other in own.items():
        for lag in (0, *_LAGS):
            r = _changes_together(logits, other, rows, lag)
            if r is not None and (best is None or r > best[0]):
                best = (r, lag, name)
    if best is None or best[1] == 0 or best[0] < _LEAST_TOGETHER:
        return None
    r, lag, name = best
    meaning = (
        "it has seen the bar of the day after, which is the future (look-ahead), unless its dates "
        "are a day early"
        if lag > 0
        else "its dates are a day late, as if a day were named by the day that is foretold"
    )
    return (
        f"its changes go with those of {name} a day {'later' if lag > 0 else 'earlier'} "
        f"(correlation {r:.2f}) and with no model's of the same day as much: {meaning}. "
        f"{_DATES}"
    )


def _changes_together(logits: Floats, other: Floats, rows: np.ndarray, lag: int) -> float | None:
    """Return the correlation of changes from day to day with another model's, ``lag`` days on."""
    at = np.flatnonzero(np.diff(rows) == 1)
    ends = rows[at + 1] + lag
    is_inside = (ends >= 1) & (ends < len(other))
    at, ends = at[is_inside], ends[is_inside]
    if len(at) < _FEWEST_DAYS:
        return None
    one, two = logits[at + 1] - logits[at], other[ends] - other[ends - 1]
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    return float(np.corrcoef(one, two)[0, 1])


def _fits_another_day(
    logits: Floats, y: Floats, own: Mapping[str, Floats], rows: np.ndarray, days: DaySamples
) -> str | None:
    """Return a warning if a model goes better with the label of another day than with its own.

    It has to do so by more than any model of the study, and the days must exclude that the
    difference is chance.
    """
    for lag, word in _LAGS.items():
        kept = (rows + lag >= 0) & (rows + lag < len(y))
        there, every = rows[kept], np.concatenate([np.ones((1, kept.sum())), days.counts[:, kept]])
        if len(there) < _FEWEST_DAYS:
            continue

        # Correlations with the label of the other day and of its own, in each sample of days.
        other = _correlations(logits[kept], y[there + lag], every)
        same = _correlations(logits[kept], y[there], every)
        most = np.zeros_like(same)
        for theirs in own.values():
            excess = _correlations(theirs[there], y[there + lag], every)
            excess = excess - _correlations(theirs[there], y[there], every)
            most = excess if excess[0] > most[0] else most
        excess = (other - same - most)[:, None]
        beyond = days.stretched(excess[1:], excess[0])
        beyond = beyond[np.isfinite(beyond)]
        if len(beyond) and np.quantile(beyond, (1 - LEVEL) / 2) > 0:
            return (
                f"it goes better with the label of the day {word} (correlation {other[0]:.2f}) "
                f"than with that of its own day ({same[0]:.2f}), by more than any model of the "
                f"study (at most {most[0]:+.2f}): its dates may be a day "
                f"{'late' if lag < 0 else 'early'}. {_DATES}"
            )
    return None


def _correlations(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Return Pearson's correlation in each sample of days; NaN where a side does not vary."""
    total = weights.sum(axis=1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    covariance = weights @ (x * y) / total - mean_x * mean_y
    spread = (weights @ x**2 / total - mean_x**2) * (weights @ y**2 / total - mean_y**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(covariance / np.sqrt(spread))
