"""Reads the values that later commands need from plans that ``study.plan --json`` has written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from study.errors import SpecError, quoted, require, shortened
from study.fields import fits, is_folder_name, require_type
from study.results.records import EstimateDescription
from study.storage.documents import load_json

_REMEDY = "Leave it out, or write it anew: python -m study.plan --json."

_OF_A_CELL_THAT_CAN_RUN = (
    "estimate", "capacity", "concurrency", "exclusive", "running_checkpoint_bytes",
    "kept_checkpoint_bytes",
)  # fmt: skip
"""Keys of a cell that are null if it cannot run."""


class _Cell(TypedDict):
    cell: str
    budget: str
    horizon: int
    phase: NotRequired[int | None]
    search_number: NotRequired[int]
    metric: NotRequired[str]
    trials: int
    feasible: bool | None
    problem: str | None
    folder_problem: str | None
    folder_state: str
    estimate: EstimateDescription | None
    capacity: int | None
    concurrency: int | None
    exclusive: bool | None
    running_checkpoint_bytes: int | None
    kept_checkpoint_bytes: int | None


class _Plan(TypedDict):
    cells: Sequence[_Cell]


class _MeasuredCell(TypedDict):
    cell: str
    estimate: Mapping[str, Any] | None


class _MeasuredPlan(TypedDict):
    cells: Sequence[_MeasuredCell]


class _PhaseTwo(TypedDict):
    waiting: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedDemand:
    """Trials, disk space and time of a cell that can run."""

    capacity: int
    """Number of its trials that fit the cluster at once."""
    concurrency: int
    """Number of its trials that may run at once."""
    exclusive: bool
    """Does a trial take a whole node?"""
    running_checkpoint_bytes: int
    kept_checkpoint_bytes: int
    search_seconds_expected: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedCell:
    """The values of a planned cell that a sweep reads."""

    cell: str
    """Name of the cell and of its folder."""
    budget: str
    horizon: int
    phase: int | None
    search_number: int
    """Number of the search among the independent ones of the cell, from 1."""
    metric: str | None
    """Score by which its trials are ranked; None in a plan that does not say."""
    trials: int
    feasible: bool | None
    """Can a node train some of its architectures? None if that is not known."""
    problem: str | None
    """Reason why the cell cannot run."""
    folder_state: str
    folder_problem: str | None
    """Reason why its folder cannot be resumed."""
    demand: PlannedDemand | None
    """Trials, disk space and time; None if the cell cannot run."""
    raw: Mapping[str, Any]
    """All values of the cell in the plan, from which the file is written again."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "PlannedCell":
        """Return a cell of a plan; the types of its values have been checked."""
        demand = None
        if all(raw[name] is not None for name in _OF_A_CELL_THAT_CAN_RUN):
            demand = PlannedDemand(
                capacity=raw["capacity"],
                concurrency=raw["concurrency"],
                exclusive=raw["exclusive"],
                running_checkpoint_bytes=raw["running_checkpoint_bytes"],
                kept_checkpoint_bytes=raw["kept_checkpoint_bytes"],
                search_seconds_expected=raw["estimate"]["search_seconds_expected"],
            )
        return cls(
            cell=raw["cell"],
            budget=raw["budget"],
            horizon=raw["horizon"],
            phase=raw.get("phase"),
            search_number=raw.get("search_number", 1),
            metric=raw.get("metric"),
            trials=raw["trials"],
            feasible=raw["feasible"],
            problem=raw["problem"],
            folder_state=raw["folder_state"],
            folder_problem=raw["folder_problem"],
            demand=demand,
            raw=raw,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredPlan:
    """A plan of several cells that was made in another process."""

    cells: tuple[PlannedCell, ...]
    waiting: tuple[str, ...] | None
    """A line for each horizon whose phase 2 cannot begin; None if the plan has no phase 2."""
    raw: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "StoredPlan":
        """Read the file behind ``--plan``.

        Raises:
            SpecError: it holds no plan, or lacks something that a sweep reads.
        """
        return cls.from_json(load_json(path, _REMEDY, SpecError), f"--plan {path}")

    @classmethod
    def from_json(cls, raw: Any, where: str) -> "StoredPlan":
        """Return the plan that ``study.plan --json`` has printed.

        Raises:
            SpecError: it is no plan, or lacks something that a sweep reads.
        """
        rule = f"{where}: must be what study.plan --json writes"
        require_type(raw, _Plan, rule, _REMEDY, SpecError)
        for cell in raw["cells"]:
            require(
                is_folder_name(cell["cell"]),
                where,
                "each cell must have the name of a folder",
                got=quoted(cell["cell"]),
                remedy=_REMEDY,
            )
            holes = [name for name in _OF_A_CELL_THAT_CAN_RUN if cell[name] is None]
            require(
                cell["problem"] is not None or not holes,
                f"{where}: {shortened(cell['cell'])}",
                "must have a value where the cell has no problem",
                got=f"null for {', '.join(holes)}",
                remedy=_REMEDY,
            )
        phase_two = raw.get("phase_2")
        return cls(
            cells=tuple(map(PlannedCell.from_json, raw["cells"])),
            waiting=tuple(phase_two["waiting"]) if fits(phase_two, _PhaseTwo) else None,
            raw=raw,
        )

    def holds_phase(self, phase: int | None) -> bool:
        """Does the plan hold all of a phase? Phase 2 is known only once phase 1 has ended."""
        if phase == 2:
            return self.waiting == ()
        return phase is None or any(cell.phase == phase for cell in self.cells)

    def to_json(self, cells: Sequence[PlannedCell]) -> dict[str, Any]:
        """Return the plan as it was read, with these cells instead of its own."""
        return {**self.raw, "cells": [cell.raw for cell in cells]}


def read_measurements(path: Path, cell: str) -> Mapping[str, Any]:
    """Return all values of a cell in a plan, its estimate included.

    Raises:
        SpecError: the file is unreadable, or the cell is not in it or cannot run.
    """
    rule = f"must be what study.plan --json wrote, with the estimate of {cell}"
    remedy = "Plan that cell, or leave --estimate out: steps are then measured now."
    raw = load_json(path, remedy, SpecError)
    require_type(raw, _MeasuredPlan, f"{path}: {rule}", remedy, SpecError)
    found = {each["cell"]: each for each in raw["cells"] if each["estimate"] is not None}
    require(
        cell in found,
        str(path),
        rule,
        got=shortened(", ".join(found)) or "no cell",
        remedy=remedy,
    )
    measured: Mapping[str, Any] = found[cell]
    return measured
