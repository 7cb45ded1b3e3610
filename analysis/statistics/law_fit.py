"""The fit of a scaling law to runs, and again to resampled ones.

A law is fitted on logs: the sum of Huber losses of ``log L - log L_hat`` is least (Hoffmann et al.
2022, section 3.3).
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

_RESTART_FLOORS = (0.3, 0.9, 0.99)
"""Floors from which a fit to resampled runs begins again, as shares of the smallest loss."""

_REACHED = 1e-6
"""Relative distance to the best objective at which a start has found it."""

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
    """Fit a law from many starts.

    Args:
        law: the form.
        sizes: positive, shape (n, n_terms).
        losses: positive, shape (n,).
        delta: where Huber's loss turns from a square into a line.
    """
    centre = np.log(sizes).mean(axis=0)
    x, y = np.log(sizes) - centre, np.log(losses)
    starts = _starts(law, x, losses)
    theta, objectives, converged = minimise(law, x, y, starts, delta=delta)
    best = int(np.argmin(objectives))
    reached = _is_optimal(objectives, objectives[best], len(y))
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
    places = np.concatenate([places, _other_floors(best, float(np.min(losses)))])
    found = [
        minimise(law, x, y, np.tile(place, (n_resamples, 1)), weights=weights, delta=delta)[:2]
        for place in places
    ]
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

    def holds(parameters: NDArray[np.int_], moves: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        starts = np.tile(best.theta, (len(moves), 1))
        starts[np.arange(len(moves)), parameters] += moves
        starts = bounded(best.law, starts)
        theta, objectives, _ = minimise(best.law, x, y, starts, held=parameters, delta=delta)
        return theta, _is_optimal(objectives, best.objective, len(y))

    parameters = np.repeat(np.arange(len(best.theta)), 2)
    moves = np.repeat(steps, 2) * np.tile([-1.0, 1.0], len(best.theta))
    ends, is_flat = holds(parameters, moves)
    parameters, moves, ends = parameters[is_flat], moves[is_flat], ends[is_flat]
    for factor in _END_FACTORS:
        # As far as it goes by ever shorter steps.
        open_ends = np.arange(len(moves))
        while open_ends.size:
            theta, is_flat = holds(parameters[open_ends], moves[open_ends] * factor)
            is_flat &= np.abs(moves[open_ends] * factor) <= _FARTHEST_END
            open_ends = open_ends[is_flat]
            moves[open_ends] *= factor
            ends[open_ends] = theta[is_flat]
    return ends


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


def _other_floors(best: Fit, least: float) -> Floats:
    """Return where a resample may also have its optimum: with another floor."""
    places = np.tile(best.theta, (len(_RESTART_FLOORS), 1))
    places[:, -1] = np.log(np.multiply(_RESTART_FLOORS, least))
    return places if best.law.has_floor and best.law.n_terms else places[:0]


def _is_optimal(objectives: Floats, least: Floats | float, n: int) -> NDArray[np.bool_]:
    """Are these objectives of ``n`` runs the least one, but for rounding?"""
    return np.asarray(objectives <= least * (1 + _REACHED) + 1e-18 * n)
