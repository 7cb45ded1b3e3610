"""Comparisons of models on the same days, corrected for how many there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from arch.bootstrap import MCS

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
    """Is it told apart, as better or as worse, after all comparisons of its family?"""

    @property
    def is_better(self) -> bool:
        """May it be called better?"""
        return self.excludes_zero and self.survives and self.difference.value < 0

    @property
    def is_worse(self) -> bool:
        """May it be called worse?"""
        return self.excludes_zero and self.survives and self.difference.value > 0

    @property
    def claim(self) -> str:
        """What may be said of the two, in words."""
        return "better" if self.is_better else "worse" if self.is_worse else "not told apart"


def excludes_zero(difference: Estimate) -> bool:
    """Has a difference an interval, and is zero outside of it?"""
    low, high = difference.low, difference.high
    return low is not None and high is not None and not low <= 0 <= high


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
    models: Mapping[str, Floats], other: str, losses: Floats, days: Floats
) -> list[Difference]:
    """Compare models with one other, all of them a family.

    Args:
        models: daily losses by name, each of shape (n_seeds, n_days).
        other: name of what they are compared with.
        losses: its daily losses, shape (n_seeds, n_days).
        days: samples of days.
    """
    draw = np.random.default_rng(0)
    against = mean_over_seeds(daily_means(losses, days), draw)
    spreads = [mean_over_seeds(daily_means(own, days), draw) - against for own in models.values()]
    differences = [
        estimate(float(own.mean() - losses.mean()), spread)
        for own, spread in zip(models.values(), spreads, strict=True)
    ]
    told_apart = _told_apart(differences, spreads)
    return [
        Difference(
            model=name,
            other=other,
            difference=difference,
            excludes_zero=excludes_zero(difference),
            survives=index in told_apart,
        )
        for index, (name, difference) in enumerate(zip(models, differences, strict=True))
    ]


def _told_apart(differences: Sequence[Estimate], spreads: Sequence[Floats]) -> set[int]:
    """Return which differences are none of chance, in either direction, family-wise at 5 %.

    The largest difference of the family, in standard errors, is held against what the largest one
    is in samples of days and seeds; those beyond it leave the family, and the rest is judged again
    (the step-down of Romano and Wolf 2005).
    """
    left = [
        i for i, each in enumerate(differences) if each.se is not None and each.se > _EQUAL_NATS
    ]
    found: set[int] = set()
    while left:
        errors = np.array([differences[i].se for i in left], dtype=np.float64)
        values = np.array([differences[i].value for i in left])
        moves = np.stack([spreads[i] for i in left], axis=1) - values
        critical = np.quantile(np.abs(moves / errors).max(axis=1), LEVEL)
        beyond = {i for i, size in zip(left, np.abs(values / errors), strict=True)
                  if size > critical}  # fmt: skip
        if not beyond:
            return found
        found |= beyond
        left = [i for i in left if i not in beyond]
    return found


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
