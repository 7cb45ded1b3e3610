"""Statistics of the trials of a search."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import gammaln
from scipy.stats import spearmanr

from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate, estimate
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
