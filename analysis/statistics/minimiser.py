"""The minimiser of a law's Huber losses, from many starts side by side.

The sum of the losses is minimised and not their mean: with the mean an optimiser stops too early
(Besiroglu et al. 2024).
"""

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.floats import Floats
from analysis.statistics.law import Law, bounded, log_losses_and_derivatives

HUBER_DELTA = 1e-3
"""Residual of a log loss at which Huber's loss turns from a square into a line (Hoffmann et al.
2022)."""

_MOST_STEPS = 100
_MOST_ELEMENTS = 200_000
"""Most elements of the derivatives of starts that are fitted side by side: 1.6 MB, which a
processor's own memory holds."""

_CONVERGED = 1e-9
"""Relative change of the objective between two accepted steps."""
_ROUNDING = 1e-26
"""Objective that is no more than the rounding of logs of losses: residuals of 1e-13."""

_LESS_DAMPING, _MORE_DAMPING = 0.2, 5.0
_TRUST_OUTSIDE = 1e4
"""Share of the curvature of reweighted squares that a residual beyond ``delta`` keeps, per damping
and at most 1. Huber's loss is a line there, without a curvature: with all of it steps are safe and
converge by a constant factor, without it they are Newton's, which converge at once where they are
short enough."""
_LEAST_DAMPING, _MOST_DAMPING = 1e-9, 1e12
_LEAST_SCALE = 1e-8
"""Least scale of a parameter without effect, relative to that of the one with the greatest."""
_LONGEST_STEP = 3.0
"""Longest step of a parameter, all of which are logs or exponents."""


def minimise(
    law: Law,
    x: Floats,
    y: Floats,
    starts: Floats,
    *,
    weights: Floats | None = None,
    floor: Floats | None = None,
    held: NDArray[np.bool_] | None = None,
    delta: float = HUBER_DELTA,
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Minimise the sum of weighted Huber losses from many starts at once.

    Levenberg and Marquardt's steps, all starts side by side: ``scipy.optimize.least_squares`` takes
    one at a time, and a verdict needs thousands, several for each resample. The first steps are of
    iteratively reweighted squares, the last ones Newton's.

    Args:
        law: the form.
        x: centred log sizes, shape (n, n_terms).
        y: log losses, shape (n,) or (n_starts, n).
        starts: shape (n_starts, n_parameters).
        weights: of the runs, shape (n,) or (n_starts, n).
        floor: given ones, shape (n_starts,), in place of the law's.
        held: parameters of each start that stay as they are, shape (n_starts, n_parameters).
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
    held: NDArray[np.bool_] | None,
    delta: float,
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    theta = starts.copy()
    damping = np.full(len(theta), 1e-3)
    objective = np.full(len(theta), np.inf)
    active = np.arange(len(theta))
    residual, jacobian = _residuals(law, x, y, theta, floor, held)
    before = _objective(residual, weights, delta)
    for _ in range(_MOST_STEPS):
        step = _step(residual, jacobian, weights, damping[active], delta)
        tried = bounded(law, theta[active] + step)
        moved, slopes = _residuals(law, x, y, tried, floor, None if held is None else held[active])
        after = _objective(moved, weights, delta)
        is_better = after <= before
        theta[active[is_better]] = tried[is_better]
        objective[active] = np.where(is_better, after, before)
        factor = np.where(is_better, _LESS_DAMPING, _MORE_DAMPING)
        damping[active] = np.maximum(damping[active] * factor, _LEAST_DAMPING)
        # Converged when a step gains nothing, when none of any length does, or on the very runs.
        rests = is_better & (before - after <= _CONVERGED * before + _ROUNDING)
        rests |= objective[active] <= _ROUNDING
        goes_on = ~(rests | (damping[active] > _MOST_DAMPING))
        moved[~is_better], slopes[~is_better] = residual[~is_better], jacobian[~is_better]
        residual, jacobian = moved, slopes
        if not goes_on.all():
            active = active[goes_on]
            if not active.size:
                break
            residual, jacobian = residual[goes_on], jacobian[goes_on]
            y = y[goes_on] if y.ndim == 2 else y
            weights = weights[goes_on] if weights.ndim == 2 else weights
            floor = None if floor is None else floor[goes_on]
        before = objective[active]
    converged = np.ones(len(theta), dtype=bool)
    converged[active] = False
    return theta, objective, converged


def _residuals(
    law: Law,
    x: Floats,
    y: Floats,
    theta: Floats,
    floor: Floats | None,
    held: NDArray[np.bool_] | None,
) -> tuple[Floats, Floats]:
    """Return residuals and the derivatives of the log losses; 0 by a parameter that is held."""
    log_losses, jacobian = log_losses_and_derivatives(law, x, theta, floor)
    if held is not None:
        jacobian[held] = 0.0
    return y - log_losses, jacobian


def _step(
    residual: Floats, jacobian: Floats, weights: Floats, damping: Floats, delta: float
) -> Floats:
    """Return damped steps on squares that are reweighted so that their slopes are Huber's."""
    size = np.abs(residual)
    weighted = weights * (delta / np.maximum(size, delta))
    gradient = (jacobian @ (weighted * residual)[:, :, None])[:, :, 0]
    trust = np.minimum(1.0, _TRUST_OUTSIDE * damping)[:, None]
    weighted *= np.where(size <= delta, 1.0, trust)
    curvature = (jacobian * weighted[:, None, :]) @ jacobian.transpose(0, 2, 1)
    scale = np.einsum("bpp->bp", curvature)
    # A parameter without effect must not make the system singular, nor residuals of zero.
    largest = np.maximum(scale.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    scale = np.maximum(scale, _LEAST_SCALE * largest)
    damped = curvature + (damping[:, None] * scale)[:, :, None] * np.eye(scale.shape[1])
    step = np.linalg.solve(damped, gradient[:, :, None])[:, :, 0]
    return np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)


def huber(residual: Floats, delta: float) -> Floats:
    """Return Huber's loss of each residual."""
    size = np.abs(residual)
    # The square of what is below delta, and a line of what is above it.
    inner = np.minimum(size, delta)
    return np.asarray(inner * (size - 0.5 * inner))


def _objective(residual: Floats, weights: Floats, delta: float) -> Floats:
    return np.asarray((weights * huber(residual, delta)).sum(axis=-1))
