"""What must be said of a machine and a plan before the first trial of a sweep."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.cluster.memory import available_memory_bytes
from study.cluster.thermal import Temperature

_GIB = 2**30

_DRIVER_BYTES = 512 * 2**20
"""Resident size of a process that searches a cell: 493 MiB measured, 313 of them its own."""

_LEFT_BY_RAY = 0.1
"""Share of the free memory that a Ray started here leaves (``study.cluster.runtime``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What speaks against a sweep, and what is merely worth knowing."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


def inspect(
    cells: Sequence[Mapping[str, Any]], results: Path, temperature: Temperature
) -> Findings:
    """Hold a plan against the machine.

    Args:
        cells: as ``study.plan --json`` describes them.
        results: the results folder; need not exist.
        temperature: of the machine.
    """
    problems = [
        f"{cell['cell']}: {problem}"
        for cell in cells
        for problem in filter(None, (cell["problem"], cell["folder_problem"]))
    ]
    usable = [cell for cell in cells if not cell["problem"]]
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
    return Findings(problems=tuple(problems), notes=tuple(notes))


def most_cells() -> int:
    """Return for how many cells at once there is memory beside their trials, at least one."""
    left = available_memory_bytes() * _LEFT_BY_RAY
    return max(1, int(left / _DRIVER_BYTES))


def _gib(count: int) -> str:
    return f"{count / _GIB:.1f} GiB"
