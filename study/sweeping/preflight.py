"""Checks of a machine and a plan before the first trial of a sweep."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.cluster.thermal import Temperature
from study.cluster.usable_memory import available_memory_bytes
from study.results.independence import dependent_first
from study.results.plans.plan_file import PlannedCell
from study.text.byte_text import gib

_DRIVER_BYTES = 512 * 2**20
"""Resident bytes of a process that searches a cell: 493 MiB measured, 313 of them its own."""

_LEFT_BY_RAY = 0.1
"""Share of the free memory that a Ray started here leaves (``study.cluster.runtime``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What speaks against a sweep, and what is merely worth knowing."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str]
    """Cells that cannot run because nothing of them fits a node, and why, by name."""


def inspect(cells: Sequence[PlannedCell], results: Path, temperature: Temperature) -> Findings:
    """Hold a plan against the machine.

    Args:
        cells: of the plan.
        results: the results folder; need not exist.
        temperature: of the machine.
    """
    left = [cell for cell in cells if cell.folder_state != "complete"]
    left_out = {cell.cell: str(cell.problem) for cell in left if cell.feasible is False}
    problems = [
        f"{cell.cell}: {problem}"
        for cell in left
        if cell.cell not in left_out
        for problem in filter(None, (cell.problem, cell.folder_problem))
    ]
    dependent = (dependent_first(cell.cell, cell.search_number, results) for cell in left)
    # Every further search of a cell says the same.
    problems += dict.fromkeys(filter(None, dependent))
    if len(left_out) == len(cells):
        problems = [f"{name}: {problem}" for name, problem in left_out.items()]
    demands = [cell.demand for cell in cells if cell.demand is not None]
    above = next(folder for folder in (results, *results.parents) if folder.exists())
    free = shutil.disk_usage(above).free
    running = max((each.running_checkpoint_bytes for each in demands), default=0)
    kept = sum(each.kept_checkpoint_bytes for each in demands)
    if running > free:
        problems.append(
            f"{results}: must have room for the checkpoints of the trials at work, "
            f"{gib(running)}, but got {gib(free)} free. Free some, or choose another --storage."
        )
    notes = [
        f"{gib(available_memory_bytes())} of memory free, {gib(free)} on the disk; "
        f"temperature {temperature.state} ({temperature.said})"
    ]
    if running + kept > free:
        notes.append(
            f"the disk may become full: {gib(running)} while trials run and {gib(kept)} of best "
            f"weights in the end, {gib(free)} free; a full disk pauses a search without loss"
        )
    return Findings(problems=tuple(problems), notes=tuple(notes), left_out=left_out)


def most_cells() -> int:
    """Return for how many cells at once there is memory beside their trials, at least one."""
    left = available_memory_bytes() * _LEFT_BY_RAY
    return max(1, int(left / _DRIVER_BYTES))
