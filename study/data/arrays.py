"""The array types that the package passes around, and the fingerprint of their content."""

import hashlib
from typing import TypeVar

import numpy as np
import numpy.typing as npt

SampleArray = npt.NDArray[np.float32]
"""Model inputs, labels and targets."""
PriceArray = npt.NDArray[np.float64]
"""Prices, indicators and statistics before they become model inputs."""
IndexArray = npt.NDArray[np.int64]
"""Row positions of days."""
DayArray = npt.NDArray[np.datetime64]
"""Calendar days, datetime64[D]."""


_Scalar = TypeVar("_Scalar", bound=np.generic)


def frozen(values: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    """Forbid writing: one array serves every trial of a cell."""
    values.setflags(write=False)
    return values


def fingerprint_of(days: DayArray, values: PriceArray) -> str:
    """Return the sha256 of days and their values, the same whatever file they came from.

    Args:
        days: datetime64[D] of shape (n_days,).
        values: float64 of shape (n_days,) or (n_days, n_columns).
    """
    digest = hashlib.sha256(days.astype("<i8").tobytes())
    digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return digest.hexdigest()
