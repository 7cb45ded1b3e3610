"""Finds values of a winner at the edge of the search space, beyond which an optimum may lie."""

from collections.abc import Mapping
from typing import Any

from study.spec.dimension import Dimension

_NATURAL = {"n_layers": 1, "n_heads": 1, "dropout": 0.0, "weight_decay": 0.0, "ema_decay": 0.0}
"""Values at a natural bound: no search space could reach beyond them."""


def edges(params: Mapping[str, Any], ranges: Mapping[str, Dimension]) -> list[str]:
    """Return a line for each searched value of ``params`` that lies at the end of its range."""
    found = []
    for name, dimension in ranges.items():
        value = params.get(name)
        if not isinstance(value, int | float) or value == _NATURAL.get(name):
            continue
        edge = dimension.edge(value)
        if edge is not None:
            found.append(f"{name} = {edge}")
    return found
