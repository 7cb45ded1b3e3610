"""The sweep command, which searches every cell of a study: python -m study.sweep."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live

from study.cluster.machine import describe_machine
from study.cluster.thermal import ThermalGuard, measure, require_cool
from study.command import Exit, command_parser, exit_code
from study.errors import SpecError, require
from study.interruptions import Interruptions, Stop, interruptible
from study.output import lasting_output, open_console
from study.results.plans.plan_file import PlannedCell, StoredPlan
from study.results.status_snapshot import read_status
from study.spec.command_flags import (
    add_cluster_flags,
    add_selection_flags,
    add_study_flags,
    concurrency,
    places,
    selected_cells,
    selected_phases,
)
from study.spec.selection import further_searches
from study.spec.spec_file import load_study
from study.spec.specification import Study
from study.storage.driver_status import Driver, at_work
from study.storage.files import write_json
from study.storage.layout import PLAN_FILE
from study.storage.lock import FolderLock
from study.sweeping.cell_process import CellRun
from study.sweeping.preflight import inspect, most_cells
from study.sweeping.runner import Sweep, SweepSettings
from study.sweeping.summary_table import summary_table
from study.sweeping.sweep_log import SweepLog
from study.terminal.status_tables import view

_VIEW_SECONDS = 2.0
"""Seconds between two looks at the records: one takes a quarter of a second with 600 trials."""

DRIVER = (sys.executable, "-m", "study.tune")

_EXAMPLES = """examples:
  python -m study.sweep                                   # every cell of phase6a
  python -m study.sweep --budgets 2M 20M --horizons 1 3
  python -m study.sweep --search smoke --budgets 50k 750k   # minutes
  python -m study.sweep --from 20M_h3                     # that cell and those after it
  python -m study.sweep --searches 3                      # three independent searches of each cell
  python -m study.sweep --search search_spaces/two_phase.yaml   # phase 1, then phase 2
  python -m study.sweep --address auto --storage /mnt/shared/ray_results       # on a Ray cluster

Ctrl+C, q and SIGTERM let running trials save themselves, and so does, from another shell,
`touch <storage>/<study>_sweep/stop`; the same command goes on. `python -m study.status` says how it
stands.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "study.sweep",
        "Search every cell of a study, side by side on one Ray cluster.",
        _EXAMPLES,
    )
    add_selection_flags(flags)
    add_study_flags(flags)
    add_cluster_flags(flags)
    add = flags.add_argument
    add("--plan", type=Path, metavar="FILE",
        help="what study.plan --json has written (default: plan now)")  # fmt: skip
    add("--cells-at-once", type=int, metavar="N",
        help="most cells at work (default: as many as have a slot and memory)")  # fmt: skip
    return flags


def main(argv: list[str] | None = None, *, driver: Sequence[str] = DRIVER) -> int:
    """Run the command and return its exit code; ``driver`` is what searches a cell."""

    def work() -> int:
        with lasting_output(), interruptible() as interruptions:
            return run(parser().parse_args(argv), interruptions, driver)

    return exit_code(work)


def run(arguments: argparse.Namespace, interruptions: Interruptions, command: Sequence[str]) -> int:
    """Plan the cells, print what speaks against them, run them, and print how they ended."""
    study = load_study(arguments.search)
    # A wrong flag is answered before anything starts.
    selected = selected_cells(arguments)
    phases = selected_phases(arguments, study)
    concurrency(arguments.concurrency)
    given = None if arguments.plan is None else StoredPlan.read(arguments.plan)
    results, store = places(arguments.storage)
    folder = _sweep_folder(results, study)
    with ExitStack() as held:
        lock = held.enter_context(FolderLock(folder))
        driver = held.enter_context(at_work(folder))
        stop = Stop(folder / "stop")
        stop.file.unlink(missing_ok=True)
        console = open_console()
        log = SweepLog(console, folder)
        log.say(*(further_searches(selected, results) if given is None else ()))
        arguments = _independent(arguments, study, log)
        temperature = measure()
        require_cool(temperature)
        guard = held.enter_context(ThermalGuard())
        settings = _settings(arguments, results, store, folder, command)
        sweep = Sweep(settings, stop, lock, guard, log.say)
        held.callback(sweep.close)
        ran: list[CellRun] = []
        missing: list[str] = []
        # The cells of phase 2 follow from the records of phase 1.
        for phase in phases:
            planned = given
            if planned is None or not planned.holds_phase(phase):
                log.say(f"planning {_named(study, phase)}: some steps of each budget are timed")
                planned = _plan(arguments, sweep.start_ray(), phase)
            if planned is None:
                driver.end("failed", "the plan was refused")
                return Exit.USER_ERROR
            plans = [plan for plan in planned.cells if plan.phase == phase]
            findings = inspect(plans, results, temperature)
            log.say(*findings.notes)
            if findings.problems:
                driver.end("failed", findings.problems[0])
                _say_problems(findings.problems, _named(study, phase))
                return Exit.USER_ERROR
            log.say(*(f"left out: {reason}" for reason in findings.left_out.values()))
            cells = [_cell_run(plan, phase, arguments, findings.left_out) for plan in plans]
            write_json(folder / PLAN_FILE, planned.to_json([c.plan for c in [*ran, *cells]]))
            if phase == 2:
                missing = list(planned.waiting or ())
                log.say(*missing)
            interruptions.attach(stop)
            with _live(console, results, study.name):
                sweep.run(cells)
            interruptions.detach()
            ran += cells
            if stop.is_requested:
                break
        console.print()
        console.print(summary_table(ran))
        return _end(ran, missing, stop, driver, console)


def _independent(arguments: argparse.Namespace, study: Study, log: SweepLog) -> argparse.Namespace:
    """Return the flags with which several searches of a cell know nothing of other cells."""
    if (arguments.searches or 1) == 1 or not study.search.get("neighbours"):
        return arguments
    log.say("neighbours: off, for several searches of a cell find their winners independently")
    return argparse.Namespace(**{**vars(arguments), "neighbours": False})


def _sweep_folder(results: Path, study: Study) -> Path:
    folder = results / f"{study.name}_sweep"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(
            f"--storage: must be a folder that can be written, but got {folder}: "
            f"{error.strerror}. Choose another one."
        ) from error
    return folder


def _say_problems(problems: Sequence[str], what: str) -> None:
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(
        f"Nothing of {what} was started. Mend it, or leave cells out with --budgets and "
        "--horizons.",
        file=sys.stderr,
    )


def _end(
    cells: Sequence[CellRun],
    missing: Sequence[str],
    stop: Stop,
    driver: Driver,
    console: Console,
) -> int:
    """Write down how the sweep ended, and return its exit code."""
    if stop.is_requested:
        driver.end("stopped" if stop.is_fault else "interrupted", stop.reason)
        console.print(f"\nended before its time: {stop.reason}. Go on with the same command.")
        return Exit.FAILED if stop.is_fault else Exit.INTERRUPTED
    failed = [cell.name for cell in cells if cell.end not in ("pass", "skip", "left out")]
    if failed or missing:
        reasons = [f"{len(failed)} cells failed: {', '.join(failed)}"] if failed else []
        driver.end("failed", "; ".join([*reasons, *missing]))
        return Exit.FAILED
    left_out = [cell.name for cell in cells if cell.end == "left out"]
    if left_out:
        driver.end("complete", f"but for what does not fit: {', '.join(left_out)}")
        return Exit.FAILED
    driver.end("complete", None)
    return Exit.OK


def _named(study: Study, phase: int | None) -> str:
    return f"the cells of {study.name}" if phase is None else f"phase {phase} of {study.name}"


def _cell_run(
    plan: PlannedCell,
    phase: int | None,
    arguments: argparse.Namespace,
    left_out: Mapping[str, str],
) -> CellRun:
    """Return a cell of a round, with the flags that name it and, if it shall not run, its end."""
    flags = ["--horizon", str(plan.horizon)]
    if phase is None:
        flags += ["--budget", plan.budget]
    else:
        flags += _given(arguments, ["budgets"])
    if phase == 2:
        flags += ["--supplementary", "--param-budget", plan.budget]
    if plan.search_number > 1:
        flags += ["--search-number", str(plan.search_number)]
    cell = CellRun(name=plan.cell, plan=plan, flags=tuple(flags))
    if plan.folder_state == "complete":
        cell.end, cell.reason = "skip", "complete before"
    elif cell.name in left_out:
        cell.end, cell.reason = "left out", left_out[cell.name]
    return cell


@contextmanager
def _live(console: Console, results: Path, study: str) -> Iterator[None]:
    """Show the tables of study.status below the lines, if the output is a terminal."""
    if not console.is_terminal:
        yield
        return

    def current() -> Group:
        return view(read_status(results, [study]), describe_machine())

    with Live(
        get_renderable=current,
        console=console,
        refresh_per_second=1 / _VIEW_SECONDS,
        transient=True,
    ):
        yield


def _settings(
    arguments: argparse.Namespace,
    results: Path,
    store: str | None,
    folder: Path,
    command: Sequence[str],
) -> SweepSettings:
    most = arguments.cells_at_once
    require(
        most is None or most >= 1,
        "--cells-at-once",
        "must be at least 1",
        got=f"--cells-at-once {most}",
        remedy="Leave it out.",
    )
    return SweepSettings(
        results=results,
        store=store,
        folder=folder,
        address=arguments.address,
        use_accelerators=arguments.device != "cpu",
        most_cells=most or most_cells(),
        driver=tuple(command),
        flags=(*_given(arguments, _OF_A_CELL), "--estimate", str(folder / PLAN_FILE)),
    )


_OF_A_CELL = (
    "search", "trials", "max_epochs", "metric", "early_stop_patience", "early_stop_threshold",
    "beyond_edges", "neighbours", "seed", "source", "tier", "vix", "without", "model", "task",
    "label", "normalization", "splits", "search_splits", "accept",
    "concurrency", "device", "capture", "storage",
)  # fmt: skip

_OF_A_SELECTION = ("budgets", "horizons", "from", "searches")


def _given(arguments: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Return the flags of these names as they were given."""
    words: list[str] = []
    for name in names:
        value = getattr(arguments, "first" if name == "from" else name)
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{name.replace('_', '-')}")
        elif value is not None:
            values = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def _plan(arguments: argparse.Namespace, address: str, phase: int | None) -> StoredPlan | None:
    """Return the plan of the cells; None if it was refused, with a line from the planner.

    It is made in a process of its own, whose memory (torch, Ray) is gone when the first cell
    begins.
    """
    flags = _given(arguments, (*_OF_A_CELL, *_OF_A_SELECTION))
    flags += [] if phase is None else ["--phase", str(phase)]
    command = [sys.executable, "-m", "study.plan", "--json", "--address", address, *flags]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    try:
        output, _ = child.communicate()
    finally:
        child.kill()
        child.wait()
    # A cell that cannot run is exit code 1, and a row with its problem.
    if child.returncode not in (Exit.OK, Exit.FAILED) or not output:
        return None
    return StoredPlan.from_json(json.loads(output), "study.plan")


if __name__ == "__main__":
    sys.exit(main())
