"""One cell from its specification to its summary: what the search command does after its checks."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from study.cluster.machine import machine
from study.cluster.runtime import cluster
from study.cluster.thermal import measure, require_cool
from study.data.dataset import build_dataset
from study.data.evaluation.power import read_power
from study.errors import StudyError, require
from study.interruptions import Interruptions
from study.output import open_console
from study.planning.cell_plan import CellPlan, describe_without_plan, plan_cell, trial_device
from study.planning.feasibility import InfeasibleError, begun_space
from study.planning.time_estimate import Estimate, read_plan
from study.results.provenance import commit, process_seconds
from study.results.records import best_trial
from study.search.cell_folder import CellFolder, create, identity, reopen
from study.search.earlier_trials import Imported, import_trials
from study.search.space import build_space
from study.spec.specification import Cell
from study.storage.driver_status import Driver, DriverState, at_work
from study.storage.layout import JOURNAL_FILES, LEASE_FILE, STOP_FILE
from study.storage.lease import Lease
from study.storage.lock import FolderLock
from study.storage.mirror import Mirror
from study.terminal.overview import print_plan, print_summary
from study.training.device import resolve_device
from study.tuner.experiment import SearchOutcome, search_cell
from study.tuner.trainable import CellTrainable


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How a cell is run; what it is stands in the cell."""

    results: Path
    """The results folder, absolute."""
    resume: bool
    """Go on with the search that is there."""
    fresh: bool
    """Move aside the search that is there."""
    dry_run: bool
    """Print the plan and stop."""
    show_plan: Callable[[dict[str, Any]], None] | None
    """Takes the plan of a dry run in place of the terminal."""
    concurrency: int | None
    """Trials at once; None takes as many as fit."""
    device: str | None
    """``cpu``, ``cuda`` or ``mps``; None follows what Ray assigns."""
    address: str | None
    """Of a running Ray cluster; None starts one."""
    import_trials: Path | None
    """Folder of an earlier search that a new one shall know."""
    sweep: Path | None
    """Folder of the sweep that grants slots; None outside of one."""
    estimate: Path | None
    """A plan whose estimate is taken; None measures a few steps."""
    storage: str | None
    """URI of a store that is kept in step with the results folder; None without one."""
    resume_command: str
    """What to tell a user who interrupts."""

    def shown(self, folder: Path) -> Path:
        """Return the folder as seen from where the user stands, if it lies below."""
        here = Path.cwd()
        return folder.relative_to(here) if folder.is_relative_to(here) else folder


class RunStatus(Enum):
    """How a command ended."""

    DONE = "every trial ended, one of them with a usable result"
    FAILED = "no usable result, or something broke"
    INTERRUPTED = "the user ended it"


def run_cell(
    cell: Cell,
    options: RunOptions,
    interruptions: Interruptions,
    *,
    trainable: type[CellTrainable] | None = None,
) -> RunStatus:
    """Plan the cell, and search it unless it is a dry run.

    An existing folder is resumed or, without ``resume``, moved aside: nothing is deleted. Workers
    run a ``trainable`` of their own if one is given.

    Raises:
        StudyError: the data, the space, the folder or the cluster cannot serve the cell.
        TooHotError: the machine is too hot to begin.
    """
    if not options.dry_run:
        require_cool(measure())
    path = options.results / cell.name
    data = build_dataset(cell.data, import_folder=options.results / "data")
    space = build_space(cell, n_features=len(data.feature_names))
    if options.device is not None and options.address is None:
        resolve_device(0.0, options.device)
    console = open_console()
    with ExitStack() as held:
        imported = None
        if options.import_trials is not None:
            # A folder that cannot be read is told before Ray starts.
            imported = import_trials(options.import_trials, cell, data, space)
        folder, driver, replaced, lease, earlier = None, None, None, None, None
        if options.estimate is not None and not options.resume:
            earlier = read_plan(options.estimate, cell.name)
        if options.storage is not None and not options.dry_run:
            lease = held.enter_context(_lease(options.storage, path))
        if options.resume and not options.dry_run:
            folder = reopen(path, cell, data, lease)
            held.callback(folder.lock.release)
            cell = folder.continued or cell
            driver = held.enter_context(at_work(path))
            # Measured when the search began: a resumed one starts at once.
            earlier = folder.journal.first["cell"]
            space = begun_space(space, earlier)
        elif options.fresh and path.exists() and not options.dry_run:
            # Not from under another process. Held until the folder has been moved aside.
            replaced = held.enter_context(FolderLock(path))
        nodes = held.enter_context(
            cluster(options.address, use_accelerators=options.device != "cpu")
        )
        # Ray has taken SIGTERM for itself.
        interruptions.install()
        try:
            plan = plan_cell(
                cell,
                data,
                space,
                nodes,
                device=options.device,
                concurrency=options.concurrency,
                estimate=None
                if earlier is None
                else Estimate.from_json(earlier["estimate"], str(path)),
                power=None if earlier is None else read_power(earlier.get("power")),
                driver_seconds=process_seconds(),
                is_begun=folder is not None,
            )
        except InfeasibleError as error:
            if not options.dry_run:
                raise
            where = trial_device(nodes, options.device)
            shown = describe_without_plan(cell, str(error), data, space, where, feasible=False)
            if options.show_plan is not None:
                options.show_plan(shown)
            else:
                print_plan(console, shown)
            return RunStatus.DONE
        if options.import_trials is not None and plan.space.left_out is not None:
            imported = import_trials(options.import_trials, cell, data, plan.space)
        if options.dry_run and options.show_plan is not None:
            options.show_plan(plan.describe())
            return RunStatus.DONE
        print_plan(console, plan.describe())
        if imported is not None:
            console.print(Text(f"  import  {imported.describe()}"), soft_wrap=True)
        if options.dry_run:
            return RunStatus.DONE
        if lease is not None:
            console.print(
                Text(f"  store   {lease.mirror.uri}, working copy in {options.shown(path)}"),
                soft_wrap=True,
            )
        # With a store, checkpoints are written into temporary folders first.
        require_disk_room(options.results if lease is None else Path(tempfile.gettempdir()), plan)
        if folder is None or driver is None:
            if replaced is not None:
                _move_aside(path, options, console)
            if lease is not None:
                _move_objects_aside(lease.mirror, console)
            place = path if lease is None else lease.mirror.uri
            folder = create(path, describe(plan, place), lease)
            held.callback(folder.lock.release)
            driver = held.enter_context(at_work(path))
        search = partial(search_cell, trainable=trainable or CellTrainable)
        return _search(plan, folder, driver, options, console, interruptions, imported, search)


def describe(plan: CellPlan, place: Path | str) -> dict[str, Any]:
    """Return what the folder of a search says about it: what must stay equal, and where it ran."""
    described = {
        **identity(plan.cell, plan.data, place),
        "commit": commit(),
        "machine": machine(),
        **plan.describe(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(described, allow_nan=False))
    return plain


def require_disk_room(results: Path, plan: CellPlan) -> None:
    """Refuse to start on a disk that the first trials would fill.

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


def _lease(storage: str, path: Path) -> Lease:
    """Take the cell in a store."""
    mirror = Mirror(storage, path.name, path)
    try:
        return Lease(mirror, path / STOP_FILE)
    except OSError as error:
        raise _unusable(mirror, error) from error


def _move_objects_aside(mirror: Mirror, console: Console) -> None:
    """Move what a store holds of an earlier search; without --fresh there is nothing."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    try:
        aside = mirror.move_aside(stamp, last=JOURNAL_FILES[0], skip=(LEASE_FILE,))
    except OSError as error:
        raise _unusable(mirror, error) from error
    if aside is not None:
        console.print(f"  moved   the earlier search to {aside}", soft_wrap=True)


def _unusable(mirror: Mirror, error: OSError) -> StudyError:
    return StudyError(
        f"{mirror.uri}: must be a place that can be read and written, but got "
        f"{error.strerror or error}. Check the AWS_ variables and what they permit."
    )


def _move_aside(path: Path, options: RunOptions, console: Console) -> None:
    # Outside the results folder, where TensorBoard would show it among the current ones.
    replaced = options.results.with_name(f"{options.results.name}_replaced")
    aside = replaced / f"{path.name}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    try:
        replaced.mkdir(exist_ok=True)
        path.rename(aside)
    except OSError as error:
        raise StudyError(
            f"{path}: must be moved to {aside} by --fresh, but got {error.strerror}. "
            "Move it away yourself."
        ) from error
    console.print(f"  moved   the earlier search to {options.shown(aside)}", soft_wrap=True)


def _search(
    plan: CellPlan,
    folder: CellFolder,
    driver: Driver,
    options: RunOptions,
    console: Console,
    interruptions: Interruptions,
    imported: Imported | None,
    search: Callable[..., SearchOutcome],
) -> RunStatus:
    began = time.monotonic()
    slots_file = None if options.sweep is None else options.sweep / f"{plan.cell.name}.slots"
    outcome = search(plan, folder, interruptions, imported=imported, slots_file=slots_file)
    best = best_trial(outcome.records)
    if outcome.is_fault or not outcome.is_complete:
        what = "stopped" if outcome.is_fault else "interrupted"
        console.print(
            f"\n{what}: {outcome.stopped}\n{len(outcome.records)} of {plan.cell.search.trials} "
            f"trials ended and are kept. Go on with:\n  {options.resume_command}",
            soft_wrap=True,
            markup=False,
        )
        state: DriverState = "stopped" if outcome.is_fault else "interrupted"
        driver.end("failed" if outcome.is_failing else state, outcome.stopped)
        return RunStatus.FAILED if outcome.is_fault else RunStatus.INTERRUPTED
    converged = None
    if outcome.converged is not None:
        converged = (
            f"converged after {len(outcome.records)} of {plan.cell.search.trials} trials: "
            f"{outcome.converged}"
        )
        console.print(f"\n{converged}", soft_wrap=True, markup=False)
    print_summary(
        console,
        records=outcome.records,
        best=best,
        plan=plan.describe(),
        folder=str(options.shown(folder.path)),
        baseline_name=plan.baseline.name,
        seconds=time.monotonic() - began,
    )
    if best is None:
        driver.end("failed", "no trial learnt more than the base rate")
        return RunStatus.FAILED
    driver.end("complete", converged)
    return RunStatus.DONE
