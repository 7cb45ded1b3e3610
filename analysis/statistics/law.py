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
POWER = Law(n_terms=1, has_floor=False)
SATURATING = Law(n_terms=1, has_floor=True)


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
