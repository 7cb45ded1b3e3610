"""Whether a winner lies at the edge of what was searched: then its optimum may lie beyond."""

import math
from collections.abc import Mapping
from typing import Any

from study.dimension import Choice, Range
from study.search.space import SearchSpace

_EDGE_SHARE = 0.02
"""Of a range, from either end: where a uniform draw comes to lie once in 25."""

_FEWEST_CHOICES = 4
"""With fewer, one in two or more lies at an end whatever is true."""


def edges(params: Mapping[str, Any], space: SearchSpace) -> list[str]:
    """Return a line for each searched value of ``params`` that lies at the end of its range."""
    found = []
    for name, position in (("d_model", 0), ("n_layers", 1)):
        found += _of_choices(name, params[name], sorted({row[position] for row in space.shapes}))
    for name, dimension in {**space.model, **space.train}.items():
        if isinstance(dimension, Range):
            found += _of_range(name, params[name], dimension)
        elif isinstance(dimension, Choice):
            numbers = [v for v in dimension.values if isinstance(v, int | float)]
            if len(numbers) == len(dimension.values):
                found += _of_choices(name, params[name], sorted(set(numbers)))
    return found


def _of_choices(name: str, value: float, choices: list[float]) -> list[str]:
    if len(choices) < _FEWEST_CHOICES or value not in (choices[0], choices[-1]):
        return []
    end = "least" if value == choices[0] else "most"
    return [f"{name} = {value:g} is the {end} of {len(choices)} choices"]


def _of_range(name: str, value: float, dimension: Range) -> list[str]:
    scale = math.log if dimension.log else float
    low, high = scale(dimension.low), scale(dimension.high)
    place = (scale(value) - low) / (high - low)
    if _EDGE_SHARE < place < 1 - _EDGE_SHARE:
        return []
    end = dimension.low if place < 0.5 else dimension.high
    return [f"{name} = {value:.3g} is at the end {end:g} of its range"]
