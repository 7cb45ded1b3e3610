"""The trend of loss over size, with every search as one observation, whatever its runs."""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from analysis.statistics.floats import Floats
from analysis.statistics.interval import LEVEL, Estimate
from analysis.statistics.run_resampling import Runs
from analysis.statistics.winner_noise import Components, Winners, winners_of

LEAST_SIZES = 5
"""Number of sizes below which nothing is claimed of size. Four can be dealt out in 24 orders, of
which a falling one, with its mirror image where sizes are evenly spaced, is 1 in 24 or 1 in 12."""

_N_PERMUTATIONS = 1999
_MOST_ORDERS = math.factorial(7)
"""Number of orders up to which all are tried: above, ``_N_PERMUTATIONS`` are drawn."""

_ROUNDING = 1e-12
"""Relative difference of two slopes that is no more than rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trend:
    """How loss moves with size, and what it could be told from."""

    slope: Estimate
    """Slope of the mean log loss of winners on log size, by least squares."""
    p: float
    """Share of the ways to deal the winners out to the sizes that give a slope as steep."""
    n_sizes: int
    components: Components
    """What makes losses differ, in the units of the loss."""

    @property
    def is_told(self) -> bool:
        """May the slope be called other than zero?

        It takes sizes enough, a slope that permutations seldom give, and an interval without zero.
        """
        low, high = self.slope.low, self.slope.high
        if low is None or high is None or self.n_sizes < LEAST_SIZES:
            return False
        # 6 of the 120 orders of five sizes are not below 5 %, which floats do not hold exactly.
        return self.p < round(1 - LEVEL, 9) and not low <= 0 <= high


def trend_of(runs: Runs, *, seed: int = 0) -> Trend:
    """Return the trend of runs along their first axis.

    Args:
        runs: any.
        seed: of the permutations that are drawn where there are too many to try all.
    """
    sizes = runs.sizes[[rows[0] for rows in runs.members], 0]
    winners = _winners_in_logs(runs)
    return Trend(
        slope=_slope(winners, sizes),
        p=permutation_p(sizes, winners.values, seed=seed),
        n_sizes=min(len(np.unique(winners.budget)), len(np.unique(sizes))),
        components=components_of(runs),
    )


def components_of(runs: Runs) -> Components:
    """Return what makes the losses of runs differ, in the units of the loss."""
    winners = _winners_in_logs(runs)
    # A small difference of logs is that share of the loss.
    return winners.components(float(np.exp(winners.values.mean())))


def _winners_in_logs(runs: Runs) -> Winners:
    resampled = None if runs.resampled is None else np.log(runs.resampled)
    return winners_of(np.log(runs.losses), resampled, runs.members, runs.budgets, runs.repeats)


def _slope(winners: Winners, sizes: Floats) -> Estimate:
    if len(np.unique(sizes)) < 2:
        return Estimate(value=float("nan"), low=None, high=None, se=None)
    return winners.slope(sizes)


def steps(runs: Runs) -> list[Estimate]:
    """Return the loss of each budget less that of the one before, as other searches might have it.

    A budget's loss is the mean over its searches. With fewer than four searches in all nothing
    tells how searches differ beside the line and the step, so there is no interval.
    """
    members = runs.members
    winners = winners_of(runs.losses, runs.resampled, members, runs.budgets, runs.repeats)
    sizes = runs.sizes[[rows[0] for rows in members], 0]
    shares = [(winners.budget == each) / np.sum(winners.budget == each)
              for each in np.unique(winners.budget)]  # fmt: skip
    return [
        winners.contrast(larger - smaller, sizes) for smaller, larger in itertools.pairwise(shares)
    ]


def permutation_p(sizes: Floats, values: Floats, *, seed: int = 0) -> float:
    """Return how often values dealt out to the sizes in another order give a slope as steep.

    All orders are tried where they are few, the observed one among them; else the observed one
    counts beside those that are drawn. Of equal values it is 1, of equal sizes NaN.

    Args:
        sizes: of the winners.
        values: their mean log losses.
        seed: of the orders that are drawn.
    """
    if len(np.unique(sizes)) < 2:
        return float("nan")
    x = np.log(sizes) - np.log(sizes).mean()
    centred = values - values.mean()
    if np.abs(centred).max() <= _ROUNDING * np.abs(values).max():
        return 1.0
    values = centred
    least = abs(float(x @ values)) - _ROUNDING * float(np.linalg.norm(x) * np.linalg.norm(values))
    if math.factorial(len(values)) <= _MOST_ORDERS:
        return float(np.mean(np.abs(values[_orders(len(values))] @ x) >= least))
    draw = np.random.default_rng(seed)
    dealt = draw.permuted(np.tile(values, (_N_PERMUTATIONS, 1)), axis=1)
    return float((1 + np.sum(np.abs(dealt @ x) >= least)) / (1 + _N_PERMUTATIONS))


@lru_cache(maxsize=8)
def _orders(n: int) -> np.ndarray:
    return np.array(list(itertools.permutations(range(n))))
