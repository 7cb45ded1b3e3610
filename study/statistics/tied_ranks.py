"""Ranks along the last axis, where equal values share theirs."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

FEWEST_ASSETS = 3
"""Fewest assets of a day that are ranked, a number: two have one order or the other, and every
correlation of two is 1 or -1."""

_Number = TypeVar("_Number", bound=np.floating)


def tie_spans(
    values: npt.NDArray[_Number],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the first and the last place, from 0, of each value and its equals, ascending.

    NaN comes last, and its places mean nothing.

    Args:
        values: shape (..., n), n >= 1.
    """
    order = np.argsort(values, axis=-1)
    ascending = np.take_along_axis(values, order, axis=-1)
    place = np.arange(values.shape[-1], dtype=np.int32)
    differs = ascending[..., 1:] != ascending[..., :-1]
    first = np.zeros(values.shape, np.int32)
    first[..., 1:] = np.where(differs, place[1:], 0)
    np.maximum.accumulate(first, axis=-1, out=first)
    last = np.full(values.shape, place[-1], np.int32)
    last[..., :-1] = np.where(differs, place[:-1], place[-1])
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    spans = np.empty((2, *values.shape), np.int32)
    np.put_along_axis(spans[0], order, first, axis=-1)
    np.put_along_axis(spans[1], order, last, axis=-1)
    return spans[0], spans[1]


def average_ranks(values: npt.NDArray[_Number]) -> npt.NDArray[np.float64]:
    """Return ranks from 1, the lowest, equal values with the mean of theirs; NaN where a value is.

    Args:
        values: shape (..., n), n >= 1.
    """
    first, last = tie_spans(values)
    ranks = (first + last) / 2 + 1
    ranks[np.isnan(values)] = np.nan
    return ranks
