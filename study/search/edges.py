"""Finds values of a winner at the edge of the search space, beyond which an optimum may lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from study.results.records import TrialRecord
from study.spec.dimension import Dimension, End, parse_dimension

_NATURAL = {"n_layers": 1, "n_heads": 1, "dropout": 0.0, "weight_decay": 0.0, "ema_decay": 0.0}
"""Values at a natural bound: no search space could reach beyond them."""

_FEWEST_USABLE = 2
"""Least number of trials, or all if fewer were run, that show what lies beyond an edge; an own
choice."""


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


def searched_edges(
    params: Mapping[str, Any],
    ranges: Mapping[str, Dimension],
    described: Mapping[str, Any],
    records: Sequence[TrialRecord],
) -> list[str]:
    """Return a line for each value of a winner that lies at the end of what its search has tried.

    An end of the file stays one where trials beyond it were run, and too few of them had a usable
    result.

    Args:
        params: the configuration of the winner.
        ranges: dimensions of the file, by the name of their field.
        described: the content of the search's ``cell.yaml``.
        records: the trials of the winner's budget, usable or not.
    """
    lines = []
    for name, searched in searched_ranges(ranges, described).items():
        tried, remarks = _tried(name, ranges[name], searched, records)
        if not tried.contains(params.get(name)):
            tried, remarks = searched, {}
        for edge in find_edges(params, {name: tried}):
            lines.append(f"{name} = {tried.edge(edge.value)}{remarks.get(edge.end, '')}")
    return lines


def _tried(
    name: str, dimension: Dimension, searched: Dimension, records: Sequence[TrialRecord]
) -> tuple[Dimension, dict[End, str]]:
    """Return a dimension with those of its wider parts that were tried, and a remark by the end."""
    remarks: dict[End, str] = {}
    for end in get_args(End):
        # Each edge that the search has passed is one step of the dimension.
        while dimension != searched and (wider := dimension.wider(end, searched.contains)):
            there = [r for r in records if wider.contains(r.params.get(name))]
            new = [r for r in there if not dimension.contains(r.params.get(name))]
            n_usable = sum(record.is_rankable for record in new)
            if n_usable < max(1, min(_FEWEST_USABLE, len(new))):
                if new:
                    remarks[end] = f"; tried beyond it, {n_usable or 'none'} of {len(new)} usable"
                break
            dimension = wider
    return dimension, remarks
