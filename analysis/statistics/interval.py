"""A number with its interval, and how one is made of resampled values."""

from dataclasses import dataclass

import numpy as np

from analysis.statistics.floats import Floats

LEVEL = 0.95
"""Confidence level of every interval."""

ONE_SE = 0.6827
"""Share of a normal distribution within a standard deviation of its mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number with its interval; None where none can be given."""

    value: float
    low: float | None
    high: float | None
    se: float | None


def estimate(value: float, spread: Floats) -> Estimate:
    """Return a number with its interval and standard error, from its resampled values.

    The standard error is half the central 68.3 %: as of a normal spread, and not led by the rare
    sample in which a few seeds say little.

    Args:
        value: of all days and seeds.
        spread: shape (n_resamples,); samples in which it is not defined are left out.
    """
    spread = spread[np.isfinite(spread)]
    if not len(spread) or not np.isfinite(value):
        return Estimate(value=value, low=None, high=None, se=None)
    tail, beyond = (1 - LEVEL) / 2, (1 - ONE_SE) / 2
    low, below, above, high = np.quantile(spread, [tail, beyond, 1 - beyond, 1 - tail])
    se = float(above - below) / 2
    return Estimate(value=value, low=float(low), high=float(high), se=se)
