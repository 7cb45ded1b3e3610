"""The grid of exponents on which a law's optimum is certified, by variable projection.

For given exponents the losses of a law are linear in its floor and its coefficients, which are then
found with ease (Golub and Pereyra 1973). What is left has one or two dimensions, few enough to see
all of it; starts of all parameters at once see only where they lead.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.floats import Floats
from analysis.statistics.law import Law, log_losses_and_derivatives
from analysis.statistics.minimiser import huber, minimise

_LEAST_EXPONENT, _GREATEST_EXPONENT = -0.5, 2.0
_FINE = 0.05
"""Exponent below which the grid is evenly spaced, and above which its steps grow in proportion."""
_POINTS_PER_AXIS = {1: 301, 2: 29}
"""Points of an axis of the grid, by the number of power terms."""
_FLOORS = (0.3, 0.95)
"""Floors from which those of a point of the grid are sought, as shares of the smallest loss. From
both, 1 or 2 % of the points of a difficult law stay above their least objective, by 2 % at most."""

_MOST_COMPARISONS = 2_000_000
"""Most losses of resampled runs that are compared with the grid, about 30 ms: of more, only some
points of the grid are looked at."""
_SIDE_BY_SIDE = 500_000
"""Losses that are compared at a time: 4 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExponentGrid:
    """The best fit of a law to runs at each point of a grid of exponents."""

    theta: Floats
    """Parameters, shape (n_points, n_parameters); no point of a law without a power term."""
    objectives: Floats
    """Sums of Huber losses, shape (n_points,)."""
    minima: NDArray[np.int_]
    """Numbers of the points that none of their neighbours is below."""

    @property
    def least(self) -> float | None:
        """Least objective of a point; None without a point."""
        return float(self.objectives.min()) if len(self.objectives) else None


def project(law: Law, x: Floats, losses: Floats, *, delta: float) -> ExponentGrid:
    """Fit floor and coefficients at each point of the grid.

    Args:
        law: the form.
        x: centred log sizes, shape (n, n_terms).
        losses: shape (n,).
        delta: Huber's.
    """
    if law.n_terms == 0:
        none = np.empty((0, law.n_parameters))
        return ExponentGrid(theta=none, objectives=none[:, 0], minima=np.empty(0, dtype=int))
    n_points = _POINTS_PER_AXIS[law.n_terms]
    first, last = np.arcsinh(_LEAST_EXPONENT / _FINE), np.arcsinh(_GREATEST_EXPONENT / _FINE)
    axis = _FINE * np.sinh(np.linspace(first, last, n_points))
    exponents = np.array(list(itertools.product(axis, repeat=law.n_terms)))
    least, mean = float(losses.min()), float(losses.mean())
    floors = [share * least for share in _FLOORS] if law.has_floor else [law.floor or 0.0]
    held = np.zeros(law.n_parameters, dtype=bool)
    held[1 : 2 * law.n_terms : 2] = True
    found = []
    for floor in floors:
        starts = np.empty((len(exponents), law.n_parameters))
        above = np.log(max(mean - floor, 1e-6 * mean) / law.n_terms)
        for term, column in enumerate(exponents.T):
            starts[:, 2 * term] = above - np.log(np.exp(-column[:, None] * x[:, term]).mean(axis=1))
            starts[:, 2 * term + 1] = column
        if law.has_floor:
            starts[:, -1] = np.log(floor)
        found.append(
            minimise(law, x, np.log(losses), starts, held=np.tile(held, (len(starts), 1)),
                     delta=delta)[:2]
        )  # fmt: skip
    values = np.stack([objectives for _, objectives in found])
    chosen = (values.argmin(axis=0), np.arange(len(exponents)))
    objectives = values[chosen]
    return ExponentGrid(
        theta=np.stack([theta for theta, _ in found])[chosen],
        objectives=objectives,
        minima=_minima(objectives.reshape((n_points,) * law.n_terms)),
    )


def best_points(
    grid: ExponentGrid, law: Law, x: Floats, y: Floats, weights: Floats | None, *, delta: float
) -> Floats:
    """Return for each resample the point of the grid that fits it best, as it fits all runs.

    Args:
        grid: of all runs as they are.
        law: the form.
        x: centred log sizes, shape (n, n_terms).
        y: log losses, shape (n,), or (n_resamples, n) where each resample has its own.
        weights: how often each run is in each resample, shape (n_resamples, n).
        delta: Huber's.

    Returns: parameters, shape (n_resamples, n_parameters).
    """
    theta = grid.theta
    if weights is not None:
        expected, _ = log_losses_and_derivatives(law, x, theta, None)
        chosen: NDArray[np.int_] = (weights @ huber(y - expected, delta).T).argmin(axis=1)
        return np.asarray(theta[chosen])
    n_resamples, n = y.shape
    n_points = max(1, min(len(theta), _MOST_COMPARISONS // (n_resamples * n)))
    # Any points: every second or later one of a grid could hold one exponent where it is.
    theta = theta[np.random.default_rng(0).permutation(len(theta))[:n_points]]
    expected, _ = log_losses_and_derivatives(law, x, theta, None)
    size = max(1, _SIDE_BY_SIDE // expected.size)
    best = [
        huber(y[first : first + size, None] - expected, delta).sum(axis=2).argmin(axis=1)
        for first in range(0, n_resamples, size)
    ]
    return np.asarray(theta[np.concatenate(best)])


def _minima(surface: Floats) -> NDArray[np.int_]:
    """Return the flat indices of the points of a surface that no neighbour along an axis is below.

    Of equal neighbours, which are a plateau, the first and the last count.
    """
    is_least = np.isfinite(surface)
    for axis in range(surface.ndim):
        rise = np.diff(surface, axis=axis, prepend=np.inf, append=np.inf)
        below, above = (np.take(rise, np.arange(n, n + surface.shape[axis]), axis) for n in (0, 1))
        is_least &= (below <= 0) & (above >= 0) & ~((below == 0) & (above == 0))
    return np.flatnonzero(is_least)
