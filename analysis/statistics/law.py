"""The form of a scaling law: power terms over a floor, ``L = E + A N^-alpha (+ B D^-beta)``.

Its parameters are, per term, the log coefficient at the mean log size and the exponent, and then
the log of the floor if that is fitted.
"""

from dataclasses import dataclass

import numpy as np

from analysis.statistics.floats import Floats

_EXPONENT_RANGE = (-5.0, 5.0)
"""Least and greatest exponent: beyond them a term is a step at one end of the sizes, which no data
can tell from others."""


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


def coefficients(theta: Floats, law: Law, centre: Floats) -> Floats:
    """Return A (and B) of parameters of shape (..., n_parameters)."""
    terms = theta[..., : 2 * law.n_terms]
    return np.asarray(np.exp(terms[..., 0::2] + terms[..., 1::2] * centre))


def floors(theta: Floats, law: Law) -> Floats:
    """Return E of parameters of shape (..., n_parameters)."""
    if law.has_floor:
        return np.asarray(np.exp(theta[..., -1]))
    return np.full(theta.shape[:-1], law.floor or 0.0)


def bounded(law: Law, theta: Floats) -> Floats:
    """Return parameters of shape (n, n_parameters) with exponents cut to what data can tell."""
    low, high = _EXPONENT_RANGE
    exponents = slice(1, 2 * law.n_terms, 2)
    theta[:, exponents] = np.clip(theta[:, exponents], low, high)
    return theta


def log_predictions(law: Law, theta: Floats, centre: Floats, sizes: Floats) -> Floats:
    """Return log losses of sizes (n, n_terms) by parameters (m, n_parameters), shape (m, n)."""
    log_losses, _ = log_losses_and_derivatives(law, np.log(sizes) - centre, theta, None)
    return log_losses


def log_losses_and_derivatives(
    law: Law, x: Floats, theta: Floats, floor: Floats | None
) -> tuple[Floats, Floats]:
    """Return log losses, shape (n_starts, n), and their derivatives by the parameters.

    Args:
        law: the form.
        x: centred log sizes, shape (n, n_terms).
        theta: shape (n_starts, n_parameters).
        floor: given ones, shape (n_starts,), in place of the law's.

    Returns: the derivatives have the shape (n_starts, n_parameters, n).
    """
    n_starts, n = len(theta), len(x)
    logs = np.empty((law.n_terms + 1, n_starts, n))
    for term in range(law.n_terms):
        level, exponent = theta[:, 2 * term, None], theta[:, 2 * term + 1, None]
        np.subtract(level, exponent * x[None, :, term], out=logs[term])
    if law.has_floor:
        logs[-1] = theta[:, -1, None]
    elif floor is not None:
        with np.errstate(divide="ignore"):
            logs[-1] = np.log(floor)[:, None]
    elif law.floor is not None and law.floor > 0:
        logs[-1] = np.log(law.floor)
    else:
        logs = logs[:-1]
    top = logs.max(axis=0)
    shares = np.exp(np.subtract(logs, top, out=logs), out=logs)
    total = shares.sum(axis=0)
    shares /= total
    jacobian = np.empty((n_starts, law.n_parameters, n))
    for term in range(law.n_terms):
        jacobian[:, 2 * term] = shares[term]
        np.multiply(shares[term], -x[None, :, term], out=jacobian[:, 2 * term + 1])
    if law.has_floor:
        jacobian[:, -1] = shares[law.n_terms]
    return top + np.log(total), jacobian
