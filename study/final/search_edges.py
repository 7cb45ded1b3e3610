"""Whether a winner lies at the edge of what was searched: then its optimum may lie beyond."""

import math
from collections.abc import Mapping
from typing import Any

from study.spec.dimension import Choice, Dimension, Range

_EDGE_SHARE = 0.02
"""Share of a range, from either end, that is its edge: a uniform draw lies there once in 25."""

_FEWEST_CHOICES = 4
"""Fewest choices that have an edge: one in two or more of fewer lies at an end anyway."""

_NATURAL = {"n_layers": 1, "n_heads": 1, "dropout": 0.0, "weight_decay": 0.0, "ema_decay": 0.0}
"""Values below which there is nothing that a search could have left out."""


def edges(params: Mapping[str, Any], ranges: Mapping[str, Dimension]) -> list[str]:
    """Return a line for each searched value of ``params`` that lies at the end of its range."""
    found = []
    for name, dimension in ranges.items():
        value = params.get(name)
        if not isinstance(value, int | float) or value == _NATURAL.get(name):
            continue
        if isinstance(dimension, Range):
            found += _of_range(name, value, dimension)
        elif isinstance(dimension, Choice):
            found += _of_choices(name, value, dimension)
    return found


def _of_choices(name: str, value: float, dimension: Choice) -> list[str]:
    numbers = sorted({v for v in dimension.values if isinstance(v, int | float)})
    if len(numbers) < _FEWEST_CHOICES or value not in (numbers[0], numbers[-1]):
        return []
    end = "least" if value == numbers[0] else "most"
    return [f"{name} = {value:g} is the {end} of {len(numbers)} choices"]


def _of_range(name: str, value: float, dimension: Range) -> list[str]:
    scale = math.log if dimension.log else float
    low, high = scale(dimension.low), scale(dimension.high)
    place = (scale(value) - low) / (high - low)
    if _EDGE_SHARE < place < 1 - _EDGE_SHARE:
        return []
    end = dimension.low if place < 0.5 else dimension.high
    return [f"{name} = {value:.3g} is at the end {end:g} of its range"]
