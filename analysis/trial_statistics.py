"""Statistics of the trials of a search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln
from scipy.stats import beta, poisson, spearmanr

from analysis.statistics.floats import Floats
from analysis.statistics.interval import LEVEL, Estimate, estimate
from study.results.records import TrialRecord

_N_RESAMPLES = 500


def best_of(values: Floats, k: int) -> float:
    """Return the expected best (lowest) of k values drawn without replacement from those given.

    Unbiased for independent draws (Tang et al. 2020): sum over the sorted values v_i of
    v_i * C(n - i, k - 1) / C(n, k).
    """
    n = len(values)
    ranks = np.arange(1, n - k + 2)
    log_share = _log_choose(n - ranks, k - 1) - _log_choose(np.array(n), k)
    return float(np.sort(values)[: n - k + 1] @ np.exp(log_share))


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
        spread = np.array([_rank_correlation(x[r], values[r]) for r in rows])
        found[name] = estimate(_rank_correlation(x, values), spread)
    return found


def _rank_correlation(x: Floats, y: Floats) -> float:
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return float("nan")
    return float(spearmanr(x, y).statistic)


def difference_of_best(
    trials: Sequence[TrialRecord], is_first: Callable[[TrialRecord], bool]
) -> tuple[Estimate, int] | None:
    """Return how much lower the best of one group is than that of the others, at equal effort.

    The expected best of k trials of each group, k being the size of the smaller one, with an
    interval over trials.

    Returns: the difference (negative: the first group is better) and k; None if a group has fewer
        than three trials.
    """
    values = [np.array([t.value for t in trials if is_first(t) is own]) for own in (True, False)]
    first, second = (np.asarray(v, dtype=np.float64) for v in values)
    k = min(len(first), len(second))
    if k < 3:
        return None
    draw = np.random.default_rng(0)
    spread = np.array(
        [
            best_of(draw.choice(first, len(first)), k)
            - best_of(draw.choice(second, len(second)), k)
            for _ in range(_N_RESAMPLES)
        ]
    )
    return estimate(best_of(first, k) - best_of(second, k), spread), k


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
