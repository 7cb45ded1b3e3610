"""Statistics of the trials of a search."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln
from scipy.stats import beta, poisson, rankdata

from analysis.statistics.floats import Floats
from analysis.statistics.interval import LEVEL, Estimate, estimate
from study.results.convergence import is_placed
from study.results.records import BEYOND, NEIGHBOUR, TrialRecord
from study.text.short_forms import LEAN, MIXED_MODES, counted, has_both_modes

_N_RESAMPLES = 500

_N_PERMUTATIONS = 1999
"""Ways to deal trials out to groups that are drawn: with the observed one, 2000."""

_FEWEST_OF_A_GROUP = 3

_ROUNDING = 1e-12
"""Relative difference of two losses that is no more than rounding."""


def comparable(ranked: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return trials without those beyond an edge of the file, or with other cells' settings.

    These were put near the best trial of this or of another cell: they are no draws like the
    others, and no comparison of trials may count them.
    """
    return [trial for trial in ranked if not is_placed(trial.source)]


def _is_beyond(trial: TrialRecord) -> bool:
    return trial.source == BEYOND


def _is_neighbour(trial: TrialRecord) -> bool:
    return trial.source.startswith(NEIGHBOUR)


def not_counted(trials: Iterable[TrialRecord]) -> str:
    """Return a sentence on the trials that are not comparable, after a space; empty without any."""
    trials = list(trials)
    told = {
        "beyond an edge of the file, put near the best one": sum(map(_is_beyond, trials)),
        "with the settings of other cells' best ones": sum(map(_is_neighbour, trials)),
    }
    named = " and ".join(f"{counted(n, 'trial')} {what}" for what, n in told.items() if n)
    return f" Not counted: {named}, which are no draws like the others." if named else ""


def unequal_numbers(searches: Sequence[Sequence[TrialRecord]]) -> str:
    """Return a sentence on winners of unequally many trials, after a space; empty if all are equal.

    Args:
        searches: for each winner the ended trials of its budget, among which it is the best.
    """
    numbers = [len(trials) for trials in searches if trials]
    if len(set(numbers)) < 2:
        return ""
    are_beyond = any(trial.source == BEYOND for trials in searches for trial in trials)
    counting = ", those beyond an edge of the file among them" if are_beyond else ""
    return (
        f" Each winner is the best of {min(numbers)} to {max(numbers)} trials{counting}: the best "
        "of more trials is better even where size does nothing."
    )


def both_modes(trials: Sequence[TrialRecord]) -> list[str]:
    """Return a sentence on trials of which some are held lean and others in full; else nothing."""
    if not has_both_modes(trial.params for trial in trials):
        return []
    lean = [trial for trial in trials if trial.params.get("memory") == LEAN]
    budgets = ", ".join(dict.fromkeys(trial.budget for trial in lean))
    return [f"{len(lean)} of {len(trials)} trials are lean (budget {budgets}): {MIXED_MODES}."]


def best_of(values: Floats, k: int) -> float:
    """Return the expected best (lowest) of k values drawn without replacement from those given.

    Unbiased for independent draws (Tang et al. 2020): sum over the sorted values v_i of
    v_i * C(n - i, k - 1) / C(n, k).
    """
    return float(_best_of_rows(values[None], k)[0])


def _best_of_rows(values: Floats, k: int) -> Floats:
    """Return the expected best of k for each row of values, shape (n_rows,)."""
    n = values.shape[1]
    ranks = np.arange(1, n - k + 2)
    log_share = _log_choose(n - ranks, k - 1) - _log_choose(np.array(n), k)
    return np.asarray(np.sort(values, axis=1)[:, : n - k + 1] @ np.exp(log_share))


def _log_choose(n: np.ndarray, k: int) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def best_of_curve(values: Floats) -> list[Estimate]:
    """Return the expected best of 1, 2, ..., n trials with its interval over trials."""
    draw = np.random.default_rng(0)
    n = len(values)
    drawn = values[draw.integers(n, size=(_N_RESAMPLES, n))]
    curve = []
    for k in range(1, n + 1):
        spread = np.array([best_of(row, k) for row in drawn])
        curve.append(estimate(best_of(values, k), spread))
    return curve


def correlations(trials: Sequence[TrialRecord], names: Sequence[str]) -> dict[str, Estimate]:
    """Return Spearman's rank correlation of each searched value with the loss, over trials.

    Not causal: the sampler looks where losses are low, and values hang together.
    """
    values = np.array([trial.value for trial in trials], dtype=np.float64)
    draw = np.random.default_rng(0)
    rows = draw.integers(len(values), size=(_N_RESAMPLES, len(values)))
    found = {}
    for name in names:
        x = np.array([float(trial.params[name]) for trial in trials])
        if len(np.unique(x)) < 2:
            continue
        spread = _rank_correlations(x[rows], values[rows])
        found[name] = estimate(float(_rank_correlations(x[None], values[None])[0]), spread)
    return found


def _rank_correlations(x_RN: Floats, y_RN: Floats) -> Floats:
    """Return Spearman's correlation in each row, (R,); NaN where one of the two is constant."""
    x, y = (
        ranks - ranks.mean(axis=1, keepdims=True)
        for ranks in (rankdata(x_RN, axis=1), rankdata(y_RN, axis=1))
    )
    with np.errstate(invalid="ignore"):
        return np.asarray((x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1)))


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupDifference:
    """How much lower the best of one group of trials is than that of the others."""

    value: float
    """Expected best of k trials of the first group less that of the second; negative: the first is
    better."""
    k: int
    """Number of trials of the smaller group."""
    low: float
    """Lower end of the range that holds 95 % of such differences of groups dealt out by chance."""
    high: float
    p: float
    """Share of the ways to deal the trials out to groups of these sizes that give a difference as
    far from the middle, two-sided."""

    @property
    def is_told(self) -> bool:
        """May one group be called better?"""
        return self.p < round(1 - LEVEL, 9)


def difference_of_best(
    trials: Sequence[TrialRecord], is_first: Callable[[TrialRecord], bool]
) -> GroupDifference | None:
    """Return how much lower the best of one group is than that of the others, at equal effort.

    The expected best of k trials of each group is compared, k being the size of the smaller one.
    What chance gives is found by dealing the same values out to the groups anew (a permutation
    test, Fisher 1935): resampling values with replacement repeats the lowest one too often or
    leaves it out, and the bootstrap of a minimum is not consistent (Bickel and Freedman 1981,
    https://doi.org/10.1214/aos/1176345637).

    Returns: None if a group has fewer than three trials.
    """
    is_own = np.array([is_first(trial) for trial in trials], dtype=bool)
    values = np.array([trial.value for trial in trials], dtype=np.float64)
    n_first = int(is_own.sum())
    k = min(n_first, len(values) - n_first)
    if k < _FEWEST_OF_A_GROUP:
        return None
    draw = np.random.default_rng(0)
    dealt = draw.permuted(np.tile(values, (_N_PERMUTATIONS, 1)), axis=1)
    ordered = np.concatenate((values[is_own], values[~is_own]))
    found = _best_of_rows(np.vstack((ordered, dealt))[:, :n_first], k) - _best_of_rows(
        np.vstack((ordered, dealt))[:, n_first:], k
    )
    # The observed one counts among those by chance; equal values differ by rounding alone.
    observed, room = float(found[0]), _ROUNDING * float(np.abs(values).max())
    tails = np.mean(found <= observed + room), np.mean(found >= observed - room)
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return GroupDifference(
        value=observed, k=k, low=float(low), high=float(high), p=min(1.0, 2 * float(min(tails)))
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TuningCurve:
    """The median best (lowest) value of k independent trials, for k = 1, 2, ..."""

    median: Floats
    """Estimate for each k, shape (n,)."""
    low: Floats
    """Lower ends of a band that holds for all k at once; -inf where nothing bounds it below."""
    high: Floats
    """Upper ends of the band; inf where nothing bounds it above."""


def tuning_curve(values: Floats) -> TuningCurve:
    """Return how the median best of k trials falls with k, with an exact band.

    The band is that of the distribution function through order statistics (Learned-Miller and
    DeStefano 2008), read at the quantile 1 - 2^(-1/k), which is the median of the lowest of k
    (Lourie, Cho and He 2024, https://arxiv.org/abs/2311.09480). It holds for every continuous
    distribution if the trials are independent draws.

    Args:
        values: one per trial; inf for a trial without a usable one. At least one is finite.
    """
    n = len(values)
    ordered = np.sort(values)
    low_level, high_level = band_levels(n)
    level = 1 - 0.5 ** (1 / np.arange(1, n + 1))
    # The function steps to i / n at the i-th lowest value.
    median = ordered[np.searchsorted(np.arange(1, n + 1) / n, level - 1e-12)]
    padded = np.concatenate([[-np.inf], ordered, [np.inf]])
    return TuningCurve(
        median=median,
        # Below the lowest value the function may be as high as the first level already.
        low=padded[np.searchsorted(high_level, level)],
        high=padded[1 + np.searchsorted(low_level, level)],
    )


@cache
def band_levels(n: int) -> tuple[Floats, Floats]:
    """Return bounds of the distribution function at each of n ordered draws from it.

    Each is the equal-tailed interval of a beta distribution, of one level for all, at which all
    hold at once with the confidence level of every interval.

    Returns: lower and upper bounds, shape (n,), ascending.
    """
    rank = np.arange(1, n + 1)

    def bounds(tail: float) -> tuple[Floats, Floats]:
        law = beta(rank, n + 1 - rank)
        return np.asarray(law.ppf(tail)), np.asarray(law.isf(tail))

    least, most = (1 - LEVEL) / 2 / n, (1 - LEVEL) / 2
    if n == 1:
        return bounds(most)
    tail = brentq(lambda each: band_coverage(*bounds(each)) - LEVEL, least, most, xtol=1e-12)
    return bounds(float(tail))


def band_coverage(low: Floats, high: Floats) -> float:
    """Return the probability that n ordered uniform draws lie between bounds, each in its own.

    The number of draws up to a point is followed from bound to bound, as that of a Poisson process
    which has n in the end (Moscovich and Nadler 2017, https://arxiv.org/abs/1503.04363).

    Args:
        low: lower bounds, ascending, shape (n,).
        high: upper bounds, ascending, shape (n,).
    """
    n = len(low)
    counts = np.arange(n + 1)
    # At a lower bound of the i-th draw fewer than i may be there, at its upper bound i or more.
    points = [(at, counts < i) for i, at in enumerate(low, start=1)]
    points += [(at, counts >= i) for i, at in enumerate(high, start=1)]
    state, before = (counts == 0).astype(np.float64), 0.0
    for at, is_allowed in sorted(points, key=lambda point: point[0]):
        step = poisson.pmf(counts, n * (at - before))
        state = np.convolve(state, step)[: n + 1] * is_allowed
        before = float(at)
    whole = np.convolve(state, poisson.pmf(counts, n * (1 - before)))[n]
    return float(whole / poisson.pmf(n, n))
