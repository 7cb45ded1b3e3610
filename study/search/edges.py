"""Finds values of a winner at the edge of the search space, beyond which an optimum may lie."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.spec.dimension import Dimension, End, parse_dimension

_NATURAL = {"n_layers": 1, "n_heads": 1, "dropout": 0.0, "weight_decay": 0.0, "ema_decay": 0.0}
"""Values at a natural bound: no search space could reach beyond them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """A value at the end of what was searched."""

    name: str
    """Field of the configuration."""
    value: float
    end: End


def find_edges(params: Mapping[str, Any], ranges: Mapping[str, Dimension]) -> list[Edge]:
    """Return each searched value of ``params`` that lies at the end of its range."""
    found = []
    for name, dimension in ranges.items():
        value = params.get(name)
        if not isinstance(value, int | float) or value == _NATURAL.get(name):
            continue
        end = dimension.end_at(value)
        if end is not None:
            found.append(Edge(name=name, value=value, end=end))
    return found


def edges(params: Mapping[str, Any], ranges: Mapping[str, Dimension]) -> list[str]:
    """Return a line for each searched value of ``params`` that lies at the end of its range."""
    found = find_edges(params, ranges)
    return [f"{edge.name} = {ranges[edge.name].edge(edge.value)}" for edge in found]


def searched_ranges(
    ranges: Mapping[str, Dimension], described: Mapping[str, Any]
) -> dict[str, Dimension]:
    """Return dimensions as a search has left them, which may be wider than those of its file.

    Args:
        ranges: dimensions of the file, by the name of their field.
        described: the content of the search's ``cell.yaml``.
    """
    wider = described.get("widened") or {}
    return {
        name: parse_dimension(wider[name], f"widened.{name}") if name in wider else dimension
        for name, dimension in ranges.items()
    }
