"""Comparisons of models on the same days, corrected for how many there are."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.statistics.day_resampling import DaySamples, daily_means, mean_over_seeds
from analysis.statistics.floats import Floats
from analysis.statistics.interval import LEVEL, ONE_SE, Estimate, estimate

EQUAL_NATS = 1e-9
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """A model beside a whole set of others on the same days, none of which was chosen before."""

    differences: Sequence[Difference]
    """Differences to each of the others, one at least, judged in one family."""

    @property
    def hardest(self) -> Difference:
        """The difference to the one of the others that has the lowest loss on these days."""
        return max(self.differences, key=lambda each: each.difference.value)

    @property
    def is_better(self) -> bool:
        """May it be called better than every one of them?"""
        return all(each.is_better for each in self.differences)

    @property
    def is_worse(self) -> bool:
        """May it be called worse than some of them?"""
        return any(each.is_worse for each in self.differences)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pair:
    """Two models on the same days, whose difference is a member of a family of comparisons."""

    model: str
    other: str
    difference: Estimate
    spread: Floats
    """Differences in samples of days and seeds, shape (n_resamples,)."""


def paired_difference(model: Floats, other: Floats, days: DaySamples) -> Estimate:
    """Return the mean difference of two models' daily losses, nats.

    Args:
        model: shape (n_seeds, n_days).
        other: shape (n_other_seeds, n_days).
        days: samples of days, the same for both.
    """
    ((pair,),) = pairs_of({"": model}, {"": other}, days, np.random.default_rng(0)).values()
    return pair.difference


def pairs_of(
    models: Mapping[str, Floats],
    others: Mapping[str, Floats],
    days: DaySamples,
    draw: np.random.Generator,
) -> dict[str, list[Pair]]:
    """Return by name the pairs that each model makes with all others.

    Args:
        models: daily losses by name, each of shape (n_seeds, n_days).
        others: daily losses of what they are compared with, likewise.
        days: samples of days, the same for all.
        draw: of the seeds, which are not those of another model.
    """
    own, against = (
        {name: mean_over_seeds(daily_means(losses, days), draw) for name, losses in each.items()}
        for each in (models, others)
    )
    found: dict[str, list[Pair]] = {name: [] for name in models}
    for name, other in itertools.product(models, others):
        spread = own[name] - against[other]
        value = float(models[name].mean() - others[other].mean())
        found[name].append(
            Pair(model=name, other=other, difference=estimate(value, spread), spread=spread)
        )
    return found


def compare(pairs: Sequence[Pair]) -> list[Difference]:
    """Judge pairs of models as one family of comparisons.

    Samples of pairs on the same days are drawn together, so that they hang together as the models
    do. Those of other horizons have the same samples where days and blocks are the same, and
    independent ones where the number of days is another. Of the same days in blocks of another
    length they share the numbers that draw them: of 712 days at horizons 1 and 20 the factors that
    stretch them correlate .83, the means of independent values .3. So they hang together too, less
    than the models may, and with less dependence the largest of several differences is larger by
    chance (Sidak 1967, https://doi.org/10.1080/01621459.1967.10482935): claims become harder.
    """
    told_apart = _told_apart(pairs)
    return [
        Difference(
            model=pair.model,
            other=pair.other,
            difference=pair.difference,
            excludes_zero=excludes_zero(pair.difference),
            survives=index in told_apart,
        )
        for index, pair in enumerate(pairs)
    ]


def _told_apart(pairs: Sequence[Pair]) -> set[int]:
    """Return which differences are none of chance, in either direction, family-wise at 5 %.

    The largest difference of the family, in standard errors, is held against what the largest one
    is in samples of days and seeds; those beyond it leave the family, and the rest is judged again
    (the step-down of Romano and Wolf 2005, https://doi.org/10.1111/j.1468-0262.2005.00615.x, which
    White's reality check and Hansen's test of superior ability do for the best model alone).
    """
    left = [
        i
        for i, each in enumerate(pairs)
        if each.difference.se is not None and each.difference.se > EQUAL_NATS
    ]
    found: set[int] = set()
    while left:
        errors = np.array([pairs[i].difference.se for i in left], dtype=np.float64)
        values = np.array([pairs[i].difference.value for i in left])
        moves = np.stack([pairs[i].spread for i in left], axis=1) - values
        critical = np.quantile(np.abs(moves / errors).max(axis=1), LEVEL)
        beyond = {i for i, size in zip(left, np.abs(values / errors), strict=True)
                  if size > critical}  # fmt: skip
        if not beyond:
            return found
        found |= beyond
        left = [i for i in left if i not in beyond]
    return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Optimism:
    """A model beside another on the days on which it was chosen, and on days that came later."""

    chosen: Estimate
    """Difference on the days of the choice, nats per day: negative is better."""
    later: Estimate
    """Difference on the later days."""
    excess: Estimate
    """Difference on the later days less that on the days of the choice: above zero the model looked
    better than it is, if the two periods are alike."""
    spread: Floats
    """Values of ``excess`` in samples of days and seeds, shape (n_resamples,)."""


def optimism(
    chosen: tuple[Floats, Floats, DaySamples],
    later: tuple[Floats, Floats, DaySamples],
    draw: np.random.Generator,
) -> Optimism:
    """Return how much a model loses against another from the days of the choice to later ones.

    The same runs answer on both, so that seeds are paired too. The samples of the two parts must be
    independent, as different days are.

    Args:
        chosen: losses of the model, shape (n_seeds, n_days), of the other, and samples of days, on
            the days of the choice.
        later: the same on later days, with the same seeds in the same order.
        draw: of the seeds.
    """
    values, spreads = [], []
    for model, other, days in (chosen, later):
        values.append(model.mean(axis=1) - other.mean())
        spreads.append(daily_means(model, days) - daily_means(other, days).mean(axis=1)[:, None])
    before, after = (
        estimate(float(value.mean()), mean_over_seeds(spread, draw))
        for value, spread in zip(values, spreads, strict=True)
    )
    moved = mean_over_seeds(spreads[1] - spreads[0], draw)
    excess = estimate(float((values[1] - values[0]).mean()), moved)
    return Optimism(chosen=before, later=after, excess=excess, spread=moved)


def mean_excess(each: Sequence[Optimism]) -> Estimate:
    """Return the mean optimism of several models.

    Args:
        each: of the models, all on the same days with the same samples of them: rows are averaged.
    """
    value = float(np.mean([one.excess.value for one in each]))
    return estimate(value, np.mean([one.spread for one in each], axis=0))


def confidence_set(
    models: Mapping[str, Floats], days: DaySamples, size: float = 0.1
) -> list[tuple[str, ...]]:
    """Return the models among which the best one is with confidence.

    While two of them differ by more standard errors than the two that differ most do by chance, the
    worse one leaves: the range statistic of Hansen, Lunde and Nason (2011,
    https://doi.org/10.3982/ECTA5771), on the samples of days that every interval rests on.

    Args:
        models: daily losses by name, each of shape (n_seeds, n_days).
        days: samples of the days.
        size: chance that the best one is left out.

    Returns: groups of models whose mean loss is the same on every day, most of a single model. Only
        one of a group is compared: a difference without any spread has no studentised test.
    """
    groups: list[tuple[str, ...]] = []
    daily = {name: losses.mean(axis=0) for name, losses in models.items()}
    for name, own in daily.items():
        for index, group in enumerate(groups):
            if np.abs(own - daily[group[0]]).max() < EQUAL_NATS:
                groups[index] = (*group, name)
                break
        else:
            groups.append((name,))
    losses = np.stack([daily[group[0]] for group in groups])
    values = losses.mean(axis=1)
    moves = daily_means(losses, days) - values
    while len(values) > 1:
        worst = _worst(values, moves, size)
        if worst is None:
            break
        del groups[worst]
        values, moves = np.delete(values, worst), np.delete(moves, worst, axis=1)
    return groups


def _worst(values: Floats, moves: Floats, size: float) -> int | None:
    """Return the worse one of the two models that differ most; None if they may do so by chance.

    Args:
        values: mean losses, shape (n_models,).
        moves: their distances from these in samples of days, shape (n_resamples, n_models).
        size: chance with which some two differ as much.
    """
    first, second = np.triu_indices(len(values), k=1)
    apart = np.abs(moves[:, first] - moves[:, second])
    # Models that differ by the same on every day are told apart surely.
    errors = np.maximum(np.quantile(apart, ONE_SE, axis=0), EQUAL_NATS)
    ratios = (values[first] - values[second]) / errors
    largest = int(np.argmax(np.abs(ratios)))
    if abs(ratios[largest]) <= np.quantile((apart / errors).max(axis=1), 1 - size):
        return None
    return int((first if ratios[largest] > 0 else second)[largest])
