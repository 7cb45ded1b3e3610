"""Noise of the winners of searches: what days and seeds explain of it, and what is left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, ndtr, stdtrit

from analysis.statistics.floats import Floats
from analysis.statistics.interval import LEVEL, Estimate

_SAME_DIRECTION = 1e-9
"""Length of what is left of a unit vector among others, below which it is one of them."""

_N_POINTS = 1000
"""Points of equal probability that stand for a variance's distribution. Of one degree of freedom,
the heaviest tail, they give Student's t to four digits."""

_N_HALVINGS = 50
"""Halvings of the range in which a quantile is sought: a double has 52 binary digits."""

_ROUNDING = 1e-9
"""Spread of values, as a share of the largest, that is no more than rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Components:
    """What makes losses differ, as standard deviations in the units of the values."""

    days: Estimate | None
    """Deviation of a winner's mean against that of the others, by the days on which they were
    judged; None where days were not resampled."""
    seeds: Estimate | None
    """Deviation of a winner's run, by its seed alone; None where no winner was trained twice."""
    winners: Estimate | None
    """Deviation of a winner, by its search alone; None where no budget was searched twice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Winners:
    """Mean values of the winners of independent searches, and what is known of their noise.

    A winner is what one search of one budget found. Its runs share it, so only winners are
    exchangeable between budgets, and they are what is counted here; runs tell how far a mean of
    theirs is known.
    """

    budget: np.ndarray
    """Number of the budget of each winner, shape (n_winners,)."""
    values: Floats
    """Mean over the runs of each winner, whatever they were trained on, shape (n_winners,)."""
    n_runs: Floats
    """Number of runs of each winner."""
    days: Floats | None
    """Covariance of the means by resampled days, shape (n_winners, n_winners); None without."""
    squares: float
    """Sum over all runs of the squared differences to the mean of their repeats."""
    freedom: int
    """Degrees of freedom of ``squares``: runs less sets of repeats."""
    own_days: float
    """Variance by which days move single repeats apart."""

    @property
    def seed_variance(self) -> float:
        """Variance between runs of a winner that single days do not explain, pooled over all."""
        return max(self.squares / self.freedom - self.own_days, 0.0) if self.freedom else 0.0

    @property
    def known(self) -> Floats:
        """Covariance of the means by days and seeds, shape (n_winners, n_winners)."""
        seeds = np.diag(self.seed_variance / self.n_runs)
        return seeds if self.days is None else seeds + self.days

    @property
    def day_variance(self) -> float:
        """Variance by which days move one winner against the others."""
        if self.days is None or len(self.values) < 2:
            return 0.0
        return float(np.trace(self.days) - self.days.mean() * len(self.days)) / (len(self.days) - 1)

    def contrast(self, weights: Floats, sizes: Floats) -> Estimate:
        """Return a sum of weighted means, as far as other days, seeds and searches would move it.

        The scatter of the means about their line on log size holds everything that varies from
        search to search, measured or not. Two degrees of freedom go to the line, and one to the
        sum unless it is the line's slope; with what is left the interval is Student's t. Days may
        weigh more on this sum than on the scatter, where they tell small from large models; the
        excess, which is known, is added.

        Args:
            weights: sum to zero, shape (n_winners,).
            sizes: of the winners, positive.
        """
        value = float(weights @ self.values)
        noise = self.noise(sizes)
        residual, freedom = _residual_maker(sizes, noise, weights)
        if freedom < 1:
            return Estimate(value=value, low=None, high=None, se=None)
        # Of equal values rounding may make it negative.
        scatter = max(float(self.values @ residual @ self.values), 0.0) / freedom
        days = self._days_of_winners
        length = float(weights**2 @ noise)
        seen = float(np.sum(residual * days)) / freedom
        excess = max(float(weights @ days @ weights) - seen * length, 0.0)
        se = float(np.sqrt(scatter * length + excess))
        size = np.abs(self.values).max()
        if np.ptp(self.values) <= _ROUNDING * size or se <= _ROUNDING * size * np.ptp(weights):
            return Estimate(value=value, low=None, high=None, se=None)
        half = _half_width(scatter * length, freedom, excess)
        return Estimate(value=value, low=value - half, high=value + half, se=se)

    def slope(self, sizes: Floats) -> Estimate:
        """Return the slope of the means on log size, each with the weight that its runs give it.

        Args:
            sizes: of the winners, positive, two at least.
        """
        precision = 1 / self.noise(sizes)
        x = np.log(sizes) - np.average(np.log(sizes), weights=precision)
        return self.contrast(precision * x / (precision @ x**2), sizes)

    def noise(self, sizes: Floats) -> Floats:
        """Return how noisy each mean is relative to the others, shape (n_winners,), mean 1.

        The variance of a mean is that of single runs over their number, and that of winners, which
        is what the means scatter about their line on log size beyond it (moments).
        """
        own = np.zeros(len(self.values))
        if self.freedom:
            own = self.squares / self.freedom / self.n_runs
        residual, freedom = _residual_maker(sizes, np.ones(len(self.values)))
        winners = 0.0
        if freedom:
            scatter = float(self.values @ residual @ self.values)
            winners = max(scatter - float(np.diag(residual) @ own), 0.0) / freedom
        total = own + winners
        return np.asarray(total / total.mean()) if total.min() > 0 else np.ones(len(total))

    @property
    def _days_of_winners(self) -> Floats:
        """Covariance of the means by days, without what days do to single runs."""
        if self.days is None:
            return np.zeros((len(self.values), len(self.values)))
        return np.asarray(self.days - np.diag(self.own_days / self.n_runs))

    def components(self, unit: float) -> Components:
        """Return the standard deviations of days, seeds and winners, as far as they are measured.

        Intervals are those of a variance of normal values, less what the other components add.

        Args:
            unit: size of one of the values, in the units of the deviations that are returned.
        """
        same = (self.budget[:, None] == self.budget) / 1.0
        within = np.eye(len(self.values)) - same / same.sum(axis=1)
        freedom = round(float(np.trace(within)))
        seen = float(np.sum(within * self.known))
        days = None
        if self.days is not None and len(self.values) > 1:
            deviation = unit * float(np.sqrt(max(self.day_variance, 0.0)))
            days = Estimate(value=deviation, low=None, high=None, se=None)
        scatter = float(self.values @ within @ self.values)
        return Components(
            days=days,
            seeds=_deviation(self.squares, self.freedom, self.own_days, unit),
            winners=_deviation(scatter, freedom, seen / max(freedom, 1), unit),
        )


def winners_of(
    values: Floats,
    resampled: Floats | None,
    members: Sequence[np.ndarray],
    budget: np.ndarray,
    repeats: Sequence[np.ndarray],
) -> Winners:
    """Return the winners of runs; the mean of one is that of the means of its repeats.

    Args:
        values: of the runs, shape (n_runs,).
        resampled: values of the same runs on resampled days, shape (n_resamples, n_runs).
        members: rows of the runs of each winner.
        budget: number of the budget of each run.
        repeats: rows of the runs that differ in their seed alone; each winner has one set of them,
            or one for each amount of training data.
    """
    own_repeats = repeats_of(members, repeats)
    n_runs = np.array([len(rows) for rows in members], dtype=np.float64)
    means = group_means(values, repeats)
    repeat = np.empty(len(values), dtype=np.intp)
    for index, rows in enumerate(repeats):
        repeat[rows] = index
    freedom = len(values) - len(repeats)
    days, own_days = None, 0.0
    if resampled is not None and len(resampled) > 1:
        on_days = group_means(resampled, repeats)
        days = np.atleast_2d(np.cov(group_means(on_days, own_repeats), rowvar=False))
        if freedom:
            own = resampled - on_days[:, repeat]
            own_days = float(((own - own.mean(axis=0)) ** 2).sum()) / (len(own) - 1) / freedom
    return Winners(
        budget=budget[[rows[0] for rows in members]],
        values=group_means(means, own_repeats),
        n_runs=n_runs,
        days=days,
        squares=float(((values - means[repeat]) ** 2).sum()),
        freedom=freedom,
        own_days=own_days,
    )


def repeats_of(members: Sequence[np.ndarray], repeats: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the numbers of the sets of repeats that each winner has.

    Args:
        members: rows of the runs of each winner.
        repeats: rows of the runs of each set, all of one winner.
    """
    winner = {int(row): index for index, rows in enumerate(members) for row in rows}
    owner = np.array([winner[int(rows[0])] for rows in repeats])
    return [np.flatnonzero(owner == index) for index in range(len(members))]


def group_means(values: Floats, groups: Sequence[np.ndarray]) -> Floats:
    """Return the mean of each group of values along the last axis, shape (..., n_groups)."""
    return np.stack([values[..., rows].mean(axis=-1) for rows in groups], axis=-1)


def _residual_maker(
    sizes: Floats, noise: Floats, weights: Floats | None = None
) -> tuple[Floats, int]:
    """Return the matrix of the weighted sum of squares about the line on log size.

    Args:
        sizes: of the winners.
        noise: relative variances of the means.
        weights: of a sum of the means which the sum of squares shall know nothing of.

    Returns: it, shape (n_winners, n_winners), and its degrees of freedom.
    """
    scale = 1 / np.sqrt(noise)
    x = np.log(sizes) - np.average(np.log(sizes), weights=1 / noise)
    columns = [scale, scale * x] if len(np.unique(sizes)) > 1 else [scale]
    columns += [] if weights is None else [weights / scale]
    basis = np.stack([column / np.linalg.norm(column) for column in columns], axis=1)
    directions, lengths, _ = np.linalg.svd(basis, full_matrices=False)
    directions = directions[:, lengths > _SAME_DIRECTION]
    residual = np.eye(len(sizes)) - directions @ directions.T
    return np.asarray(scale[:, None] * residual * scale), len(sizes) - directions.shape[1]


def _half_width(variance: float, freedom: int, excess: float) -> float:
    """Return half the interval of a normal value of which one part of the variance is estimated.

    Args:
        variance: estimated, with so many degrees of freedom: alone it gives Student's t.
        freedom: of the estimate.
        excess: variance that is known and comes in addition.
    """
    tail = (1 - LEVEL) / 2
    points = (np.arange(_N_POINTS) + 0.5) / _N_POINTS
    deviations = np.sqrt(variance * freedom / chdtri(freedom, points) + excess)
    low, high = 0.0, 2 * float(stdtrit(freedom, 1 - tail) * np.sqrt(variance + excess))
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        if float(np.mean(ndtr(-middle / deviations))) > tail:
            low = middle
        else:
            high = middle
    return high


def _deviation(squares: float, freedom: int, explained: float, unit: float) -> Estimate | None:
    """Return a standard deviation from a sum of squares, less the variance that is explained."""
    if freedom < 1:
        return None
    tail = (1 - LEVEL) / 2
    value, low, high = (
        unit * float(np.sqrt(max(squares / by - explained, 0.0)))
        for by in (freedom, chdtri(freedom, tail), chdtri(freedom, 1 - tail))
    )
    return Estimate(value=value, low=low, high=high, se=None)
