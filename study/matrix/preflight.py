"""What must be said of a machine and a plan before the first trial of a sweep."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from study.cluster.thermal import Temperature
from study.errors import quoted, require

_GIB = 2**30

_DRIVER_BYTES = 512 * 2**20
"""Resident size of a process that searches a cell: 493 MiB measured, 313 of them its own."""

_LEFT_BY_RAY = 0.1
"""Share of the free memory that a Ray started here leaves (``study.cluster.runtime``)."""


_NEEDED = (
    "cell", "budget", "horizon", "trials", "feasible", "problem", "folder_state", "folder_problem",
    "capacity", "concurrency", "exclusive", "estimate", "running_checkpoint_bytes",
    "kept_checkpoint_bytes",
)  # fmt: skip
"""Keys of a planned cell that a sweep reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What speaks against a sweep, and what is merely worth knowing."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str]
    """Cells that cannot run because nothing of them fits a node, and why, by name."""


def planned_cells(raw: object, where: str) -> Sequence[Mapping[str, Any]]:
    """Return the cells of a plan, as ``study.plan --json`` writes it.

    Raises:
        SpecError: it is another thing.
    """
    cells = raw.get("cells") if isinstance(raw, dict) else None
    require(
        isinstance(cells, list)
        and all(isinstance(cell, dict) and set(_NEEDED) <= set(cell) for cell in cells),
        where,
        "must be a plan, as study.plan --json of this version writes it",
        got=quoted(cells),
        remedy="Leave it out, or write it anew.",
    )
    assert isinstance(cells, list)
    return cells


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
        f"{_gib(psutil.virtual_memory().available)} of memory free, {_gib(free)} on the disk; "
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
    left = psutil.virtual_memory().available * _LEFT_BY_RAY
    return max(1, int(left / _DRIVER_BYTES))


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
