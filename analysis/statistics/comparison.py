"""Comparisons of models on the same days, corrected for how many there are."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from arch.bootstrap import MCS, StepM

from analysis.statistics.day_resampling import N_RESAMPLES, daily_means, mean_over_seeds
from analysis.statistics.floats import Floats
from analysis.statistics.interval import LEVEL, Estimate, estimate
from analysis.study_records import Predictions
from study.block_length import block_days

_EQUAL_NATS = 1e-9
"""Difference between two losses of a day, nats, that rounding makes of equal answers. Models answer
in float32, whose own rounding is a hundred times that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A model's loss less another's on the same days: negative is better."""

    model: str
    other: str
    difference: Estimate
    excludes_zero: bool
    survives: bool
    """Is it better after all comparisons of its family (StepM, Romano and Wolf 2005)?"""

    @property
    def is_better(self) -> bool:
        """May it be called better?"""
        return self.excludes_zero and self.survives and self.difference.value < 0

    @property
    def is_worse(self) -> bool:
        """May it be called worse? Its interval alone decides."""
        return self.excludes_zero and self.difference.value > 0

    @property
    def claim(self) -> str:
        """What may be said of the two, in words."""
        return "better" if self.is_better else "worse" if self.is_worse else "not told apart"


def paired_difference(model: Floats, other: Floats, days: Floats) -> Estimate:
    """Return the mean difference of two models' daily losses, nats.

    Args:
        model: shape (n_seeds, n_days).
        other: shape (n_other_seeds, n_days).
        days: samples of days, the same for both.
    """
    draw = np.random.default_rng(0)
    spread = mean_over_seeds(daily_means(model, days), draw)
    spread = spread - mean_over_seeds(daily_means(other, days), draw)
    return estimate(float(model.mean() - other.mean()), spread)


def compare(
    models: Mapping[str, Floats], other: str, losses: Floats, days: Floats, horizon: int
) -> list[Difference]:
    """Compare models with one other, all of them a family.

    Args:
        models: daily losses by name, each of shape (n_seeds, n_days).
        other: name of what they are compared with.
        losses: its daily losses, shape (n_seeds, n_days).
        days: samples of days.
        horizon: of the labels, which sets the block length.
    """
    names = list(models)
    means = np.stack([models[name].mean(axis=0) for name in names], axis=1)
    better = _superior(losses.mean(axis=0), means, horizon)
    found = []
    for index, name in enumerate(names):
        difference = paired_difference(models[name], losses, days)
        assert difference.low is not None
        assert difference.high is not None
        found.append(
            Difference(
                model=name,
                other=other,
                difference=difference,
                excludes_zero=not difference.low <= 0 <= difference.high,
                survives=index in better,
            )
        )
    return found


def _superior(benchmark: Floats, models: Floats, horizon: int) -> set[int]:
    """Return the columns whose loss is lower than the benchmark's, family-wise at 5 %."""
    # arch divides by the spread of the difference, which is zero for a model that equals it.
    varied = [i for i in range(models.shape[1]) if np.std(models[:, i] - benchmark) > _EQUAL_NATS]
    if not varied:
        return set()
    step = StepM(
        benchmark,
        models[:, varied],
        size=1 - LEVEL,
        block_size=block_days(horizon),
        reps=N_RESAMPLES,
        bootstrap="stationary",
        seed=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        step.compute()
    return {varied[column] for column in np.asarray(step.superior_models, dtype=np.intp)}


def confidence_set(
    models: Mapping[str, Floats], horizon: int, size: float = 0.1
) -> list[tuple[str, ...]]:
    """Return the models among which the best one is with confidence (Hansen et al. 2011).

    Returns: groups of models whose mean loss is the same on every day, most of a single model. Only
        one of a group is compared: a difference without any spread has no studentised test.
    """
    groups: list[tuple[str, ...]] = []
    daily = {name: losses.mean(axis=0) for name, losses in models.items()}
    for name, own in daily.items():
        for index, group in enumerate(groups):
            if np.abs(own - daily[group[0]]).max() < _EQUAL_NATS:
                groups[index] = (*group, name)
                break
        else:
            groups.append((name,))
    if len(groups) < 2:
        return groups
    means = np.stack([daily[group[0]] for group in groups], axis=1)
    found = MCS(
        means, size, reps=N_RESAMPLES, block_size=block_days(horizon), bootstrap="stationary",
        seed=0,
    )  # fmt: skip
    found.compute()
    return [groups[index] for index in np.sort(np.asarray(found.included, dtype=np.intp))]


def best_on(predictions: Predictions, models: Sequence[str]) -> str:
    """Return the model with the lowest mean loss on the days of a part."""
    return min(models, key=lambda model: (float(predictions.losses(model).mean()), model))
