"""The fit of a scaling law to runs, and again to resampled ones.

A law is fitted on logs: the sum of Huber losses of ``log L - log L_hat`` is least (Hoffmann et al.
2022, section 3.3).
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.exponent_grid import ExponentGrid, best_points, project
from analysis.statistics.floats import Floats
from analysis.statistics.law import (
    Law,
    bounded,
    coefficients,
    floors,
    log_losses_and_derivatives,
    log_predictions,
)
from analysis.statistics.minimiser import HUBER_DELTA, minimise

_START_EXPONENTS = (-0.5, -0.1, 0.02, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0)
_START_FLOORS = (0.02, 0.3, 0.6, 0.8, 0.9, 0.95, 0.98, 0.995)
"""Floors of the starts, as shares of the smallest loss."""
_START_SHARES = (0.2, 0.5, 0.8)
"""Shares of the first of two terms in what is above the floor, one per start."""

_RESTART_FLOOR = 0.3
"""Floor from which a fit to resampled runs begins again, as a share of the smallest loss. With it
and the grid 80 to 99 % of resamples of few noisy runs find the best of more such floors, and the
others come so close that no interval is another."""

_REACHED = 1e-6
"""Relative distance to the best objective at which a start has found it."""

_MOST_MINIMA = 64
"""Most minima of the grid of exponents, the least first, from which a fit begins too."""

_END_FACTORS = (1.5, 1.1, 1.01)
"""Factors by which a step along a plateau grows, in turn: its ends are then known to a
hundredth."""
_FARTHEST_END = 20.0
"""Farthest end of a plateau from its middle, in logs or exponents: farther away there is no end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A law fitted to runs."""

    law: Law
    theta: Floats
    """Parameters: per term its log coefficient at the mean log size and its exponent; then the log
    floor."""
    centre: Floats
    """Mean log size, per term."""
    objective: float
    """Sum of Huber losses."""
    n_starts: int
    reached: float
    """Share of the starts that reached the best objective."""
    converged: bool
    """Did the best start converge?"""
    residuals: Floats
    """Log of the measured less log of the fitted loss, per run."""
    grid: ExponentGrid
    """Best fits for given exponents: none of them is better than this fit."""
    is_of_the_grid: bool
    """Did only a minimum of the grid lead to the fit, and none of the starts?"""

    @property
    def exponents(self) -> Floats:
        """Exponents: alpha, and beta if there is a second term."""
        return self.theta[1 : 2 * self.law.n_terms : 2]

    @property
    def coefficients(self) -> Floats:
        """Coefficients at a size of one: A, and B if there is a second term."""
        return coefficients(self.theta, self.law, self.centre)

    @property
    def floor(self) -> float:
        """Floor E: fitted, given, or 0 of a law without one."""
        return float(floors(self.theta[None], self.law)[0])

    def predict(self, sizes: Floats) -> Floats:
        """Return the expected loss of each row of sizes, shape (n, n_terms)."""
        return np.asarray(
            np.exp(log_predictions(self.law, self.theta[None], self.centre, sizes)[0])
        )


def fit(law: Law, sizes: Floats, losses: Floats, *, delta: float = HUBER_DELTA) -> Fit:
    """Fit a law from many starts, and from every minimum of a grid of exponents.

    Args:
        law: the form.
        sizes: positive, shape (n, n_terms).
        losses: positive, shape (n,).
        delta: where Huber's loss turns from a square into a line.
    """
    centre = np.log(sizes).mean(axis=0)
    x, y = np.log(sizes) - centre, np.log(losses)
    starts = _starts(law, x, losses)
    grid = project(law, x, losses, delta=delta)
    minima = grid.minima[np.argsort(grid.objectives[grid.minima], kind="stable")][:_MOST_MINIMA]
    places = np.concatenate([starts, grid.theta[minima]])
    theta, objectives, converged = minimise(law, x, y, places, delta=delta)
    best = int(np.argmin(objectives))
    reached = _is_optimal(objectives[: len(starts)], objectives[best], len(y))
    log_loss, _ = log_losses_and_derivatives(law, x, theta[best : best + 1], None)
    return Fit(
        law=law,
        theta=theta[best],
        centre=centre,
        objective=float(objectives[best]),
        n_starts=len(starts),
        reached=float(reached.mean()),
        converged=bool(converged[best]),
        residuals=y - log_loss[0],
        grid=grid,
        is_of_the_grid=not reached.any(),
    )


def refit(
    best: Fit,
    sizes: Floats,
    losses: Floats,
    *,
    weights: Floats | None = None,
    delta: float = HUBER_DELTA,
) -> Floats:
    """Fit a law again to resampled runs, from where the first fit ended and from beside it.

    No resample is fitted worse than by any point of the grid of exponents that it is compared with.

    Args:
        best: the fit of all runs as they are.
        sizes: shape (n, n_terms).
        losses: of shape (n,), or (n_resamples, n) where each resample has its own.
        weights: how often each run is in each resample, shape (n_resamples, n).
        delta: Huber's.

    Returns: parameters, shape (n_resamples, n_parameters).
    """
    found, objectives = _refits(best, best.theta[None], sizes, losses, weights, delta)
    return np.asarray(found[objectives.argmin(axis=0), np.arange(found.shape[1])])


def refit_plateau(
    best: Fit,
    optima: Floats,
    sizes: Floats,
    losses: Floats,
    *,
    weights: Floats | None = None,
    delta: float = HUBER_DELTA,
) -> Floats:
    """Fit a law again to resampled runs from every end of a plateau: from one it would stay there.

    Args:
        best: the fit of all runs as they are.
        optima: that fit and those at the ends of its plateau, shape (n_optima, n_parameters).
        sizes: as of ``refit``.
        losses: as of ``refit``.
        weights: as of ``refit``.
        delta: Huber's.

    Returns: parameters, shape (n_optima, n_resamples, n_parameters); where an end of the plateau is
    none of a resample's optima, the best ones of that resample.
    """
    found, objectives = _refits(best, optima, sizes, losses, weights, delta)
    least = objectives.min(axis=0)
    chosen = found[objectives.argmin(axis=0), np.arange(found.shape[1])]
    is_optimal = _is_optimal(objectives[: len(optima)], least, len(sizes))
    return np.where(is_optimal[..., None], found[: len(optima)], chosen)


def _refits(
    best: Fit,
    places: Floats,
    sizes: Floats,
    losses: Floats,
    weights: Floats | None,
    delta: float,
) -> tuple[Floats, Floats]:
    """Return parameters (n_places, n_resamples, n_parameters) and objectives, place by place.

    To the places that are given come those at which a resample may have its optimum instead.
    """
    law, x, y = best.law, np.log(sizes) - best.centre, np.log(losses)
    assert (weights is None) == (losses.ndim == 2)
    n_resamples = len(losses if weights is None else weights)
    starts = [np.tile(place, (n_resamples, 1)) for place in places]
    if law.n_terms:
        starts.append(best_points(best.grid, law, x, y, weights, delta=delta))
    if law.n_terms and law.has_floor:
        other = best.theta.copy()
        other[-1] = np.log(_RESTART_FLOOR * np.min(losses))
        starts.append(np.tile(other, (n_resamples, 1)))
    found = [minimise(law, x, y, each, weights=weights, delta=delta)[:2] for each in starts]
    return np.stack([theta for theta, _ in found]), np.stack([each for _, each in found])


def plateau(
    best: Fit, sizes: Floats, losses: Floats, steps: Floats, *, delta: float = HUBER_DELTA
) -> Floats:
    """Return the ends of the region in which a law fits as well as it can.

    A sum of absolute values, which Huber's is beyond ``delta``, can be flat at its least value: as
    the median of an even number of values may be anywhere between two of them.

    Args:
        best: the fit.
        sizes: of its runs, shape (n, n_terms).
        losses: of its runs, shape (n,).
        steps: of each parameter, what is no more than rounding, shape (n_parameters,).
        delta: Huber's.

    Returns: shape (n_ends, n_parameters): of each parameter that can move by its step to either
    side while the others make up for it, how far it can; empty where the optimum is unique.
    """
    x, y = np.log(sizes) - best.centre, np.log(losses)

    def holds(parameters: NDArray[np.int_], starts: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        held = np.zeros(starts.shape, dtype=bool)
        held[np.arange(len(starts)), parameters] = True
        starts = bounded(best.law, starts)
        theta, objectives, _ = minimise(best.law, x, y, starts, held=held, delta=delta)
        return theta, _is_optimal(objectives, best.objective, len(y))

    parameters = np.repeat(np.arange(len(best.theta)), 2)
    starts = np.tile(best.theta, (len(parameters), 1))
    starts[np.arange(len(starts)), parameters] += np.repeat(steps, 2) * np.tile(
        [-1.0, 1.0], len(best.theta)
    )
    ends, is_flat = holds(parameters, starts)
    parameters, ends = parameters[is_flat], ends[is_flat]
    # Wide as it may be, a plateau is not always found by small steps.
    others = _ends_on_the_grid(best, len(y))
    parameters = np.concatenate([parameters, np.repeat(_exponents(best.law), 2)[: len(others)]])
    ends = np.concatenate([ends, others])
    for factor in _END_FACTORS:
        # As far as it goes by ever shorter steps.
        open_ends = np.arange(len(ends))
        while open_ends.size:
            rows = (open_ends, parameters[open_ends])
            middle = best.theta[rows[1]]
            starts = ends[open_ends]
            starts[np.arange(len(starts)), rows[1]] = middle + factor * (ends[rows] - middle)
            theta, is_flat = holds(rows[1], starts)
            moves = np.abs(theta[np.arange(len(theta)), rows[1]] - middle)
            # Where a bound of the exponents holds it back there is no end.
            is_flat &= (moves > np.abs(ends[rows] - middle)) & (moves <= _FARTHEST_END)
            open_ends = open_ends[is_flat]
            ends[open_ends] = theta[is_flat]
    return ends


def _ends_on_the_grid(best: Fit, n: int) -> Floats:
    """Return of each exponent the points of the grid with the least and greatest that fit as well.

    Empty unless several points fit as well as the best fit of ``n`` runs.
    """
    fitting = best.grid.theta[_is_optimal(best.grid.objectives, best.objective, n)]
    if len(fitting) < 2:
        return fitting[:0]
    columns = fitting[:, _exponents(best.law)].T
    return np.concatenate([fitting[[c.argmin(), c.argmax()]] for c in columns])


def _exponents(law: Law) -> NDArray[np.int_]:
    return np.arange(1, 2 * law.n_terms, 2)


def _starts(law: Law, x: Floats, losses: Floats) -> Floats:
    """Return starts whose levels suit the losses: for a floor and exponents given, a fair guess."""
    least, mean = float(losses.min()), float(losses.mean())
    if law.n_terms == 0:
        return np.array([[np.log(mean)], [np.log(least)]])
    if law.has_floor:
        floor_values = [share * least for share in _START_FLOORS]
    else:
        floor_values = [law.floor or 0.0]
    shares = _START_SHARES if law.n_terms == 2 else (1.0,)
    starts = []
    for floor, share in itertools.product(floor_values, shares):
        above = np.log(max(mean - floor, 1e-6 * mean))
        for exponents in itertools.product(_START_EXPONENTS, repeat=law.n_terms):
            levels = [above + np.log(s) for s in (share, 1 - share)[: law.n_terms]]
            start = [value for pair in zip(levels, exponents, strict=True) for value in pair]
            starts.append([*start, *([np.log(floor)] if law.has_floor else [])])
    return np.array(starts)


def _is_optimal(objectives: Floats, least: Floats | float, n: int) -> NDArray[np.bool_]:
    """Are these objectives of ``n`` runs the least one, but for rounding?"""
    return np.asarray(objectives <= least * (1 + _REACHED) + 1e-18 * n)
