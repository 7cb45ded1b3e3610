"""Runs one cell from its specification to its summary, as the search command does."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from study.cluster.thermal import measure, require_cool
from study.errors import require
from study.interruptions import Interruptions
from study.output import open_console
from study.planning.cell_plan import CellPlan
from study.planning.early_ray import RayUse
from study.planning.plan_summary import plan_summary
from study.planning.prepared_cell import PlanOptions, prepare
from study.results.records import best_trial
from study.search.known.earlier_trials import Imported
from study.search.known.neighbours import NOT_ASKED, Neighbours, find_neighbours
from study.spec.specification import Cell
from study.storage.driver_status import DriverState
from study.storage.place import place_of
from study.terminal.overview import (
    RAY_START,
    print_plan,
    print_summary,
    start_line,
    training_start,
)
from study.tuner.claim import Claim, claim, shown
from study.tuner.experiment import SearchOutcome, search_cell
from study.tuner.trainable import CellTrainable


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """Options of a run that do not change its results."""

    planning: PlanOptions
    """Options of the plan, and the machine on which the cell runs."""
    resume: bool = False
    """Resume the search that is there."""
    fresh: bool = False
    """Move aside the search that is there."""
    sweep: Path | None = None
    """The folder of the sweep that grants slots; None outside of one."""
    storage: str | None = None
    """The URI of a store to which the results folder is copied; None without one."""
    resume_command: str
    """The command that is printed to a user who interrupts the search."""


class RunStatus(Enum):
    """The end of a command."""

    DONE = "every trial ended, one of them with a usable result"
    FAILED = "no usable result, or something broke"
    INTERRUPTED = "the user ended it"


def run_cell(
    cell: Cell,
    options: RunOptions,
    interruptions: Interruptions,
    *,
    trainable: type[CellTrainable] = CellTrainable,
    ray: RayUse | None = None,
) -> RunStatus:
    """Prepare, claim, plan, begin and search a cell, and print what happens.

    An existing folder is resumed or, without ``resume``, moved aside: nothing is deleted.

    Args:
        cell: the cell to search.
        options: the options of the run.
        interruptions: the signals and files with which the user ends the search.
        trainable: the class that a worker runs.
        ray: a use of a Ray that has been started early; None starts one once the cell is claimed.

    Raises:
        StudyError: the data, the space, the folder or the cluster cannot serve the cell.
        TooHotError: the machine is too hot to begin.
    """
    require_cool(measure())
    prepared = prepare(cell, options.planning, is_resumed=options.resume)
    place = place_of(options.storage, options.planning.results / cell.name)
    console = open_console()

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    def say_start(part: str) -> None:
        say(start_line(part))

    with claim(place, cell, prepared.data, resume=options.resume, fresh=options.fresh) as claimed:
        prepared = prepared.resuming(claimed.earlier, claimed.continued)
        if ray is None:
            say_start(RAY_START)
        with (ray or options.planning.cluster)() as nodes:
            # Ray has installed its own handler of SIGTERM.
            interruptions.install()
            plan = prepared.plan(nodes, say_start)
            imported = prepared.imported_by(plan)
            neighbours = known_neighbours(cell, plan, place.path.parent, imported, claimed.earlier)
            print_header(console, plan, imported, neighbours)
            for state in sorted({node.mps for node in nodes if node.mps is not None}):
                say(f"  MPS     {state}")
            if (note := place.note(shown(place.path))) is not None:
                say(note)
            require_disk_room(place.checkpoint_disk, plan)
            slots_file = options.sweep and options.sweep / f"{cell.name}.slots"
            opened = claimed.begin(
                plan, imported=imported, neighbours=neighbours, slots_file=slots_file, say=say
            )
            say_start(training_start(plan.concurrency))
            began = time.monotonic()
            outcome = search_cell(opened, interruptions, trainable=trainable)
            if outcome.is_fault or not outcome.is_complete:
                return _end_early(outcome, plan, claimed, console, options.resume_command)
            return _end(outcome, plan, claimed, console, time.monotonic() - began)


def known_neighbours(
    asked: Cell,
    plan: CellPlan,
    results: Path,
    imported: Imported | None = None,
    earlier: Mapping[str, Any] | None = None,
) -> Neighbours | None:
    """Return what a search knows of other cells; None if it looks at none.

    Args:
        asked: the cell as file and flags have it now.
        plan: the cell, ready to run.
        results: the results folder.
        imported: trials of an earlier search, the best of which are trained again.
        earlier: the description with which a search that is resumed was begun: it knows what it
            knew then.
    """
    if earlier is not None:
        known = Neighbours.of_cell(earlier)
        return NOT_ASKED if known is None and asked.search.neighbours else known
    n_first = sum(slot.config is not None for slot in plan.forced)
    n_first += 0 if imported is None else len(imported.again)
    return find_neighbours(
        results, plan.cell, plan.data, plan.space, most=plan.cell.search.trials - n_first
    )


def print_header(
    console: Console, plan: CellPlan, imported: Imported | None, neighbours: Neighbours | None
) -> None:
    """Print the plan, and what is known of an earlier search and of other cells."""
    print_plan(console, plan_summary(plan))
    if imported is not None:
        console.print(Text(f"  import  {imported.describe()}"), soft_wrap=True)
    if neighbours is not None:
        console.print(Text(f"  knows   {neighbours.describe()}"), soft_wrap=True)


def require_disk_room(results: Path, plan: CellPlan) -> None:
    """Refuse to start if the disk is too full for the first trials.

    Raises:
        SpecError: the checkpoints of the trials that run at once do not fit.
    """
    above = next(folder for folder in (results, *results.parents) if folder.exists())
    free, needed = shutil.disk_usage(above).free, plan.running_checkpoint_bytes
    require(
        free >= needed,
        str(results),
        f"must have room for the checkpoints of {plan.concurrency} trials at once, "
        f"{needed / 2**20:,.0f} MiB",
        got=f"{free / 2**20:,.0f} MiB free",
        remedy="Free some, choose another --storage, or lower --concurrency.",
    )


def _end_early(
    outcome: SearchOutcome, plan: CellPlan, claimed: Claim, console: Console, resume_command: str
) -> RunStatus:
    """Record that the search ended early, and print how it is resumed."""
    what = "stopped" if outcome.is_fault else "interrupted"
    console.print(
        f"\n{what}: {outcome.stopped}\n{len(outcome.records)} of "
        f"{plan.cell.search.trials + outcome.n_beyond} trials ended and are kept. Go on with:\n  "
        f"{resume_command}",
        soft_wrap=True,
        markup=False,
    )
    state: DriverState = "stopped" if outcome.is_fault else "interrupted"
    claimed.end("failed" if outcome.is_failing else state, outcome.stopped)
    return RunStatus.FAILED if outcome.is_fault else RunStatus.INTERRUPTED


def _end(
    outcome: SearchOutcome, plan: CellPlan, claimed: Claim, console: Console, seconds: float
) -> RunStatus:
    """Record that the search is complete, and print its result."""
    best = best_trial(outcome.records)
    converged = None
    if outcome.converged is not None:
        converged = (
            f"converged after {len(outcome.records) - outcome.n_beyond} of "
            f"{plan.cell.search.trials} trials: "
            f"{outcome.converged}"
        )
        console.print(f"\n{converged}", soft_wrap=True, markup=False)
    print_summary(
        console,
        records=outcome.records,
        best=best,
        plan=plan_summary(plan),
        folder=str(shown(claimed.place.path)),
        baseline_name=plan.simple.to_beat.name,
        seconds=seconds,
    )
    if best is None:
        claimed.end("failed", "no trial learnt more than the base rate")
        return RunStatus.FAILED
    claimed.end("complete", converged)
    return RunStatus.DONE
