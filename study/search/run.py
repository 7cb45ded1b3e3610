"""One cell from its specification to its summary: what the search command does after its checks."""

import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from study.cluster.resources import require_capacity
from study.cluster.runtime import cluster
from study.data.dataset import build_dataset
from study.results.overview import print_plan, print_summary
from study.results.records import best_trial
from study.results.store import read_trials
from study.search.plan import CellPlan, plan_cell
from study.search.space import build_space
from study.search.tuner import check_resumable, search_cell
from study.spec import Cell
from study.training.device import resolve_device


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """How a cell is run; what it is stands in the cell."""

    results: Path
    """The results folder, absolute."""
    resume: bool
    """Go on with the search that is there."""
    dry_run: bool
    """Print the plan and stop."""
    as_json: bool
    """Print the plan for programs."""
    concurrency: int | None
    """Trials at once; None takes as many as fit."""
    device: str | None
    """``cpu``, ``cuda`` or ``mps``; None follows what Ray assigns."""
    address: str | None
    """Of a running Ray cluster; None starts one."""
    resume_command: str
    """What to tell a user who interrupts."""

    def shown(self, folder: Path) -> Path:
        """Return the folder as seen from where the user stands, if it lies below."""
        here = Path.cwd()
        return folder.relative_to(here) if folder.is_relative_to(here) else folder


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What a caller needs for its exit code."""

    is_interrupted: bool
    has_best: bool


def run_cell(cell: Cell, options: RunOptions) -> RunResult:
    """Plan the cell, and search it unless it is a dry run.

    An existing folder is resumed or, without ``resume``, moved aside: nothing is deleted.

    Raises:
        StudyError: the data, the space, the folder or the cluster cannot serve the cell.
    """
    folder = options.results / cell.name
    data = build_dataset(cell.data, import_folder=options.results / "data")
    space = build_space(cell, n_features=len(data.feature_names))
    concurrency, request = options.concurrency, None
    if options.resume and not options.dry_run:
        before = check_resumable(cell, data, folder, concurrency=concurrency)
        concurrency, request = before["concurrency"], before["trial_resources"]
    if options.device is not None and options.address is None:
        resolve_device(0.0, options.device)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    with cluster(options.address, use_accelerators=options.device != "cpu") as nodes:
        if request is not None:
            require_capacity(nodes, request, concurrency or 1, label=str(options.shown(folder)))
        plan = plan_cell(cell, data, space, nodes, device=options.device, concurrency=concurrency)
        if options.dry_run and options.as_json:
            print(json.dumps(plan.describe(), indent=2, allow_nan=False))
            return RunResult(is_interrupted=False, has_best=True)
        print_plan(console, plan.describe())
        if options.dry_run:
            return RunResult(is_interrupted=False, has_best=True)
        return _search(plan, folder, options, console)


def _search(plan: CellPlan, folder: Path, options: RunOptions, console: Console) -> RunResult:
    if folder.exists() and not options.resume:
        # Outside the results folder, where TensorBoard would show it among the current ones.
        replaced = options.results.with_name(f"{options.results.name}_replaced")
        replaced.mkdir(exist_ok=True)
        aside = replaced / f"{folder.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        folder.rename(aside)
        console.print(f"  moved   the earlier search to {options.shown(aside)}", soft_wrap=True)
    began = time.monotonic()
    asked = plan.cell.search.trials
    records, is_interrupted = read_trials(folder), False
    if len(records) < asked:
        try:
            outcome = search_cell(plan, options.results, resume=options.resume)
            records, is_interrupted = outcome.records, outcome.is_interrupted
        except KeyboardInterrupt:
            # The second Ctrl+C: Ray's last snapshot and our records are on disk.
            records, is_interrupted = read_trials(folder), True
    best = best_trial(records)
    if is_interrupted and len(records) < asked:
        console.print(
            f"\ninterrupted: {len(records)} of {asked} trials ended and are kept. Go on with:\n"
            f"  {options.resume_command}",
            soft_wrap=True,
        )
        return RunResult(is_interrupted=True, has_best=best is not None)
    print_summary(
        console,
        records=records,
        best=best,
        plan=plan.describe(),
        folder=str(options.shown(folder)),
        baseline_name=plan.baseline.name,
        seconds=time.monotonic() - began,
    )
    return RunResult(is_interrupted=False, has_best=best is not None)
