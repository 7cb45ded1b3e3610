"""The forms of a scaling law and their fits: what error a model of a size is expected to have.

A law is a sum of power terms over a floor, ``L = E + A N^-alpha (+ B D^-beta)``, fitted on logs:
the sum of Huber losses of ``log L - log L_hat`` is least (Hoffmann et al. 2022, section 3.3). The
sum and not the mean: with the mean an optimiser stops too early (Besiroglu et al. 2024).
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HUBER_DELTA = 1e-3
"""Residual of a log loss at which Huber's loss turns from a square into a line (Hoffmann et al.
2022)."""

_MOST_STEPS = 100
_MOST_ELEMENTS = 4_000_000
"""Most elements of the derivatives of starts that are fitted side by side: 32 MB."""

_CONVERGED = 1e-9
"""Relative change of the objective between two accepted steps."""
_ROUNDING = 1e-26
"""Objective that is no more than the rounding of logs of losses: residuals of 1e-13."""

_LESS_DAMPING, _MORE_DAMPING = 0.2, 5.0
_LEAST_DAMPING, _MOST_DAMPING = 1e-9, 1e12
_LEAST_SCALE = 1e-8
"""Least scale of a parameter without effect, relative to that of the one with the greatest."""
_LONGEST_STEP = 3.0
"""Longest step of a parameter, all of which are logs or exponents."""

_EXPONENT_RANGE = (-5.0, 5.0)
"""Least and greatest exponent: beyond them a term is a step at one end of the sizes, which no data
can tell from others."""

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
class Law:
    """A form: power terms over a floor.

    Args:
        n_terms: power terms; 0 is the constant law.
        has_floor: is there a floor that is fitted?
        floor: one that is given, in the units of the loss.
    """

    n_terms: int
    has_floor: bool
    floor: float | None = None

    @property
    def n_parameters(self) -> int:
        """Number of fitted parameters."""
        return 2 * self.n_terms + self.has_floor


CONSTANT = Law(n_terms=0, has_floor=True)
POWER = Law(n_terms=1, has_floor=False)
SATURATING = Law(n_terms=1, has_floor=True)


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


def coefficients(theta: Floats, law: Law, centre: Floats) -> Floats:
    """Return A (and B) of parameters of shape (..., n_parameters)."""
    terms = theta[..., : 2 * law.n_terms]
    return np.asarray(np.exp(terms[..., 0::2] + terms[..., 1::2] * centre))


def log_predictions(law: Law, theta: Floats, centre: Floats, sizes: Floats) -> Floats:
    """Return log losses of sizes (n, n_terms) by parameters (m, n_parameters), shape (m, n)."""
    log_losses, _ = _log_prediction(law, np.log(sizes) - centre, theta, None)
    return log_losses


def floors(theta: Floats, law: Law) -> Floats:
    """Return E of parameters of shape (..., n_parameters)."""
    if law.has_floor:
        return np.asarray(np.exp(theta[..., -1]))
    return np.full(theta.shape[:-1], law.floor or 0.0)


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
    log_loss, _ = _log_prediction(law, x, theta[best : best + 1], None)
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
        starts = _bounded(best.law, starts)
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


def minimise(
    law: Law,
    x: Floats,
    y: Floats,
    starts: Floats,
    *,
    weights: Floats | None = None,
    floor: Floats | None = None,
    held: NDArray[np.int_] | None = None,
    delta: float = HUBER_DELTA,
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Minimise the sum of weighted Huber losses from many starts at once.

    Levenberg and Marquardt's steps on iteratively reweighted squares, all starts side by side.

    Args:
        law: the form.
        x: centred log sizes, shape (n, n_terms).
        y: log losses, shape (n,) or (n_starts, n).
        starts: shape (n_starts, n_parameters).
        weights: of the runs, shape (n,) or (n_starts, n).
        floor: given ones, shape (n_starts,), in place of the law's.
        held: of each start the parameter that stays as it is, shape (n_starts,).
        delta: Huber's.

    Returns: parameters, objectives, and which starts converged.
    """
    weights = np.ones(len(x)) if weights is None else weights
    size = max(1, _MOST_ELEMENTS // (len(x) * max(1, law.n_parameters)))
    parts = [
        _minimise(
            law,
            x,
            y[first : first + size] if y.ndim == 2 else y,
            starts[first : first + size],
            weights[first : first + size] if weights.ndim == 2 else weights,
            None if floor is None else floor[first : first + size],
            None if held is None else held[first : first + size],
            delta,
        )
        for first in range(0, len(starts), size)
    ]
    theta, objective, converged = (np.concatenate(each) for each in zip(*parts, strict=True))
    return theta, objective, converged


def _minimise(
    law: Law,
    x: Floats,
    y: Floats,
    starts: Floats,
    weights: Floats,
    floor: Floats | None,
    held: NDArray[np.int_] | None,
    delta: float,
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    theta = starts.copy()
    damping = np.full(len(theta), 1e-3)
    objective = np.full(len(theta), np.inf)
    active = np.arange(len(theta))
    for _ in range(_MOST_STEPS):
        own = None if floor is None else floor[active]
        y_own = y[active] if y.ndim == 2 else y
        w_own = weights[active] if weights.ndim == 2 else weights
        prediction, jacobian = _log_prediction(law, x, theta[active], own)
        if held is not None:
            jacobian[np.arange(len(active)), :, held[active]] = 0.0
        residual = y_own - prediction
        before = _objective(residual, w_own, delta)
        step = _step(residual, jacobian, w_own, damping[active], delta)
        tried = _bounded(law, theta[active] + step)
        prediction, _ = _log_prediction(law, x, tried, own)
        after = _objective(y_own - prediction, w_own, delta)
        is_better = after <= before
        theta[active[is_better]] = tried[is_better]
        objective[active] = np.minimum(before, after)
        factor = np.where(is_better, _LESS_DAMPING, _MORE_DAMPING)
        damping[active] = np.maximum(damping[active] * factor, _LEAST_DAMPING)
        # Converged when a step gains nothing, when none of any length does, or on the very runs.
        rests = is_better & (before - after <= _CONVERGED * before + _ROUNDING)
        rests |= objective[active] <= _ROUNDING
        active = active[~(rests | (damping[active] > _MOST_DAMPING))]
        if not active.size:
            break
    converged = np.ones(len(theta), dtype=bool)
    converged[active] = False
    return theta, objective, converged


def _step(
    residual: Floats, jacobian: Floats, weights: Floats, damping: Floats, delta: float
) -> Floats:
    """Return damped Gauss-Newton steps on squares reweighted so that they equal Huber's loss."""
    weighted = weights * (delta / np.maximum(np.abs(residual), delta))
    gradient = np.einsum("bnp,bn->bp", jacobian, weighted * residual)
    curvature = np.einsum("bnp,bn,bnq->bpq", jacobian, weighted, jacobian, optimize=True)
    scale = np.einsum("bpp->bp", curvature)
    # A parameter without effect must not make the system singular, nor residuals of zero.
    largest = np.maximum(scale.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    scale = np.maximum(scale, _LEAST_SCALE * largest)
    damped = curvature + (damping[:, None] * scale)[:, :, None] * np.eye(scale.shape[1])
    step = np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
    return np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)


def _log_prediction(
    law: Law, x: Floats, theta: Floats, floor: Floats | None
) -> tuple[Floats, Floats]:
    """Return log losses, shape (n_starts, n), and their derivatives by the parameters."""
    n_starts, n = len(theta), len(x)
    columns = []
    for term in range(law.n_terms):
        level, exponent = theta[:, 2 * term, None], theta[:, 2 * term + 1, None]
        columns.append(level - exponent * x[None, :, term])
    if law.has_floor:
        columns.append(np.broadcast_to(theta[:, -1, None], (n_starts, n)))
    elif floor is not None:
        with np.errstate(divide="ignore"):
            columns.append(np.broadcast_to(np.log(floor)[:, None], (n_starts, n)))
    elif law.floor is not None and law.floor > 0:
        columns.append(np.full((n_starts, n), np.log(law.floor)))
    terms = np.stack(columns)
    top = terms.max(axis=0)
    parts = np.exp(terms - top)
    total = parts.sum(axis=0)
    shares = parts / total
    jacobian = np.empty((n_starts, n, law.n_parameters))
    for term in range(law.n_terms):
        jacobian[:, :, 2 * term] = shares[term]
        jacobian[:, :, 2 * term + 1] = -shares[term] * x[None, :, term]
    if law.has_floor:
        jacobian[:, :, -1] = shares[law.n_terms]
    return top + np.log(total), jacobian


def _objective(residual: Floats, weights: Floats, delta: float) -> Floats:
    size = np.abs(residual)
    huber = np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
    return np.asarray((weights * huber).sum(axis=-1))


def _bounded(law: Law, theta: Floats) -> Floats:
    low, high = _EXPONENT_RANGE
    exponents = slice(1, 2 * law.n_terms, 2)
    theta[:, exponents] = np.clip(theta[:, exponents], low, high)
    return theta


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
