"""What must be said of a machine and a plan before the first trial of a sweep."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from study.cluster.thermal import Temperature
from study.cluster.usable_memory import available_memory_bytes
from study.errors import SpecError, quoted, require, shortened
from study.fields import is_folder_name, require_type
from study.results.records import EstimateDescription
from study.storage.documents import load_json

_GIB = 2**30

_OF_A_CELL_THAT_CAN_RUN = (
    "estimate", "capacity", "concurrency", "exclusive", "running_checkpoint_bytes",
    "kept_checkpoint_bytes",
)  # fmt: skip

_DRIVER_BYTES = 512 * 2**20
"""Resident size of a process that searches a cell: 493 MiB measured, 313 of them its own."""

_LEFT_BY_RAY = 0.1
"""Share of the free memory that a Ray started here leaves (``study.cluster.runtime``)."""


class PlannedCell(TypedDict):
    """What a sweep reads of a cell of a plan; those after ``problem`` are None where it has one."""

    cell: str
    budget: str
    horizon: int
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


class Plan(TypedDict):
    """What ``study.plan --json`` prints."""

    cells: Sequence[PlannedCell]


def read_plan(path: Path) -> dict[str, Any]:
    """Return a plan that ``study.plan --json`` has written.

    Raises:
        SpecError: it is none, or lacks something that the sweep reads.
    """
    where, remedy = f"--plan {path}", "Leave it out, or write it anew: python -m study.plan --json."
    raw = load_json(path, remedy, SpecError)
    require_type(raw, Plan, f"{where}: must be what study.plan --json writes", remedy, SpecError)
    for cell in raw["cells"]:
        require(
            is_folder_name(cell["cell"]),
            where,
            "each cell must have the name of a folder",
            got=quoted(cell["cell"]),
            remedy=remedy,
        )
        holes = [name for name in _OF_A_CELL_THAT_CAN_RUN if cell[name] is None]
        require(
            cell["problem"] is not None or not holes,
            f"{where}: {shortened(cell['cell'])}",
            "must have a value where the cell has no problem",
            got=f"null for {', '.join(holes)}",
            remedy=remedy,
        )
    plan: dict[str, Any] = raw
    return plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What speaks against a sweep, and what is merely worth knowing."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str]
    """Cells that cannot run because nothing of them fits a node, and why, by name."""


def inspect(
    cells: Sequence[Mapping[str, Any]], results: Path, temperature: Temperature
) -> Findings:
    """Hold a plan against the machine.

    Args:
        cells: as ``study.plan --json`` describes them.
        results: the results folder; need not exist.
        temperature: of the machine.
    """
    left = [cell for cell in cells if cell["folder_state"] != "complete"]
    left_out = {cell["cell"]: cell["problem"] for cell in left if cell["feasible"] is False}
    problems = [
        f"{cell['cell']}: {problem}"
        for cell in left
        if cell["cell"] not in left_out
        for problem in filter(None, (cell["problem"], cell["folder_problem"]))
    ]
    if len(left_out) == len(cells):
        problems = [f"{name}: {problem}" for name, problem in left_out.items()]
    usable = [cell for cell in cells if cell["feasible"]]
    above = next(folder for folder in (results, *results.parents) if folder.exists())
    free = shutil.disk_usage(above).free
    running = max((cell["running_checkpoint_bytes"] for cell in usable), default=0)
    kept = sum(cell["kept_checkpoint_bytes"] for cell in usable)
    if running > free:
        problems.append(
            f"{results}: must have room for the checkpoints of the trials at work, "
            f"{_gib(running)}, but got {_gib(free)} free. Free some, or choose another --storage."
        )
    notes = [
        f"{_gib(available_memory_bytes())} of memory free, {_gib(free)} on the disk; "
        f"temperature {temperature.state} ({temperature.said})"
    ]
    if running + kept > free:
        notes.append(
            f"the disk may become full: {_gib(running)} while trials run and {_gib(kept)} of best "
            f"weights in the end, {_gib(free)} free; a full disk pauses a search without loss"
        )
    return Findings(problems=tuple(problems), notes=tuple(notes), left_out=left_out)


def most_cells() -> int:
    """Return for how many cells at once there is memory beside their trials, at least one."""
    left = available_memory_bytes() * _LEFT_BY_RAY
    return max(1, int(left / _DRIVER_BYTES))


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
