"""Search one cell: python -m study.tune --budget 2M --horizon 3."""

import argparse
import dataclasses
import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.cluster.lifeline import end_with
from study.command import Exit, command_parser, exit_code
from study.errors import SpecError, require
from study.interruptions import Interruptions, interruptible
from study.output import lasting_output, open_console
from study.results.independence import dependent_first
from study.spec.command_flags import (
    add_cluster_flags,
    add_study_flags,
    concurrency,
    one_cell,
    places,
)
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.storage.layout import CELL_FILE
from study.storage.place import place_of
from study.storage.search_place import require_place
from study.terminal.overview import RAY_START, start_line

if TYPE_CHECKING:
    # At run time it would cost a wrong flag and --help the seconds that torch takes.
    from study.cluster.resources import Node
    from study.planning.early_ray import RayUse
    from study.planning.prepared_cell import PlanOptions
    from study.results.plans.plan_record import PlanSummary
    from study.tuner.run_cell import RunOptions
    from study.tuner.trainable import CellTrainable

_OF_A_START = ("--import-trials", "--estimate", "--sweep")
"""Flags with a value that a resumed search does not repeat."""

_OF_A_START_JOINED = tuple(f"{flag}=" for flag in _OF_A_START)

_EXAMPLES = """examples:
  python -m study.tune --budget 2M --horizon 3
  python -m study.tune --budget 2M --horizon 3 --trials 20
  python -m study.tune --budget 2M --horizon 3 --trials 40 --resume   # 20 more
  python -m study.tune --budget 2M --horizon 3 --search-number 2      # an independent one
  python -m study.tune --budget 20M --horizon 1 --dry-run
  python -m study.tune --search smoke --budget 2M --horizon 1
  python -m study.tune --budget 2M --horizon 3 --fresh \\
      --import-trials ray_results/phase6a_2M_h3_threshold_1pct

across budgets, in two phases:
  python -m study.tune --search two_phase --dry-run
  python -m study.tune --search two_phase --budgets 2M 20M --metric auc
  python -m study.tune --search two_phase --budgets 2M 20M --supplementary
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "study.tune",
        "Search the best architecture and training settings of one budget and horizon.",
        _EXAMPLES,
    )
    add = flags.add_argument
    add("--budget", help="label of a parameter budget in the search space, as 2M")
    add("--budgets", nargs="+", metavar="BUDGET",
        help="those of a search across budgets (default: all of the search space)")  # fmt: skip
    add("--horizon", type=int, help="trading days ahead, as 1, 3 or 5")
    add(
        "--supplementary",
        action="store_true",
        help="phase 2 of a search across budgets: a closer look at the two best of phase 1",
    )
    add(
        "--param-budget",
        metavar="BUDGET",
        help="with --supplementary: look at this budget in place of the two best",
    )
    add("--search-number", type=int, default=1, metavar="N",
        help="which of several independent searches of the cell; further ones have a seed and a "
        "folder of their own (default: %(default)s)")  # fmt: skip
    add_study_flags(flags)
    add_cluster_flags(flags)
    estimate = "seconds per epoch that study.plan --json has measured; default: measure now"
    add("--estimate", type=Path, metavar="FILE", help=estimate)
    add(
        "--resume",
        action="store_true",
        help="go on with an interrupted search, or with an ended one that shall have more --trials"
        " or longer schedules (--max-epochs)",
    )
    add("--fresh", action="store_true", help="start anew; an existing cell is moved aside")
    add("--import-trials", type=Path, metavar="FOLDER",
        help="folder of an earlier search whose trials a new one shall know")  # fmt: skip
    add("--sweep", type=Path, metavar="FOLDER",
        help="of the sweep that this search belongs to (set by study.sweep)")  # fmt: skip
    add("--dry-run", action="store_true", help="print what would run, train nothing, write nothing")
    add("--json", action="store_true", help="with --dry-run: print the plan as JSON")
    return flags


def main(argv: list[str] | None = None, *, trainable: "type[CellTrainable] | None" = None) -> int:
    """Run the command and return its exit code; a ``trainable`` replaces what a worker runs."""
    argv = sys.argv[1:] if argv is None else argv

    def work() -> int:
        arguments = parser().parse_args(argv)
        # A dry run is nothing but its output.
        output = nullcontext() if arguments.dry_run else lasting_output()
        with output, interruptible() as interruptions:
            return run(arguments, argv, interruptions, trainable)

    return exit_code(work)


def run(
    arguments: argparse.Namespace,
    argv: list[str],
    interruptions: Interruptions,
    trainable: "type[CellTrainable] | None",
) -> int:
    """Check the flags, then plan or search the cells that they name."""
    _check_flags(arguments)
    if arguments.sweep is not None:
        end_with(os.getppid())
    at_once = concurrency(arguments.concurrency)
    results, storage = places(arguments.storage)
    cells, evidence = [one_cell(arguments)], None
    if arguments.supplementary:
        cells, evidence = _phase_two(arguments, cells[0], results, storage)
    dependent = dependent_first(cells[0].name, cells[0].search_number, results)
    if dependent is not None:
        raise SpecError(dependent)
    if not arguments.dry_run:
        for cell in cells:
            require_place(
                place_of(storage, results / cell.name),
                resume=arguments.resume,
                fresh=arguments.fresh,
                # Of several searches the later ones may not have begun.
                may_be_new=cell is not cells[0],
            )
    # Ray and torch take seconds to import: a wrong flag and --help are answered before.
    if arguments.dry_run:
        planning = _planning(arguments, results, at_once)
        plans = [_dry_run(cell, planning, arguments, interruptions) for cell in cells]
        if arguments.json:
            rows = [plan.to_json() for plan in plans]
            shown = rows[0] if evidence is None else {"phase_1": evidence, "cells": rows}
            print(json.dumps(shown, indent=2, allow_nan=False))
        return Exit.FAILED if any(plan.problem is not None for plan in plans) else Exit.OK
    with _early_ray(arguments, interruptions) as ray:
        from study.tuner.run_cell import RunOptions

        options = RunOptions(
            planning=_planning(arguments, results, at_once),
            resume=arguments.resume,
            fresh=arguments.fresh,
            sweep=arguments.sweep,
            storage=storage,
            resume_command=_resume_command(argv),
        )
        return _search(cells, options, interruptions, trainable, ray)


def _planning(arguments: argparse.Namespace, results: Path, at_once: int | None) -> "PlanOptions":
    from study.planning.prepared_cell import PlanOptions

    return PlanOptions(
        results=results,
        concurrency=at_once,
        device=arguments.device,
        capture=arguments.capture == "auto",
        address=arguments.address,
        estimate=arguments.estimate,
        import_trials=arguments.import_trials,
        may_write=not arguments.dry_run,
    )


@contextmanager
def _early_ray(
    arguments: argparse.Namespace, interruptions: Interruptions
) -> Iterator["RayUse | None"]:
    """Start Ray while the libraries of a search are imported; None if they have been already."""
    if "torch" in sys.modules:
        yield None
        return
    open_console().print(start_line(RAY_START))
    from study.cluster.runtime import cluster
    from study.planning.early_ray import early_ray

    @contextmanager
    def ray() -> Iterator[list["Node"]]:
        with cluster(arguments.address, use_accelerators=arguments.device != "cpu") as nodes:
            # Ray has taken SIGTERM for itself, and the imports may last for seconds more.
            interruptions.install()
            yield nodes

    with early_ray(ray(), _import_search) as use:
        yield use


def _import_search() -> None:
    """Import what a search needs: torch and Ray Tune are most of it."""
    import study.tuner.run_cell  # noqa: F401


def _check_flags(arguments: argparse.Namespace) -> None:
    """Refuse flags that exclude or need each other."""
    require(
        not (arguments.resume and arguments.fresh),
        "flags",
        "--resume and --fresh exclude each other",
        got="both",
        remedy="Give one of them.",
    )
    require(
        arguments.import_trials is None or not arguments.resume,
        "flags",
        "--import-trials belongs to a new search",
        got="it with --resume",
        remedy="Leave one of them out.",
    )
    require(
        arguments.dry_run or not arguments.json,
        "flags",
        "--json belongs to --dry-run",
        got="--json alone",
        remedy="Read ray_results/<cell>/best_params.json after a search.",
    )
    require(
        arguments.supplementary or arguments.param_budget is None,
        "flags",
        "--param-budget belongs to --supplementary",
        got="it alone",
        remedy="Choose budgets of phase 1 with --budgets.",
    )


def _dry_run(
    cell: Cell,
    options: "PlanOptions",
    arguments: argparse.Namespace,
    interruptions: Interruptions,
) -> "PlanSummary":
    """Plan a cell as a search would, and print it unless JSON is asked for."""
    from study.planning.feasibility import InfeasibleError
    from study.planning.plan_summary import plan_summary
    from study.planning.prepared_cell import prepare
    from study.terminal.overview import print_plan
    from study.tuner.run_cell import known_neighbours, print_header

    prepared = prepare(cell, options, is_resumed=arguments.resume)
    console = open_console()

    def say_start(part: str) -> None:
        console.print(start_line(part))

    with options.cluster() as nodes:
        # Ray has taken SIGTERM for itself.
        interruptions.install()
        try:
            plan = prepared.plan(nodes) if arguments.json else prepared.plan(nodes, say_start)
        except InfeasibleError as error:
            described = prepared.describe_infeasible(error, nodes)
            if not arguments.json:
                print_plan(console, described)
            return described
        imported = prepared.imported_by(plan)
        if not arguments.json:
            earlier = _described(options.results / cell.name) if arguments.resume else None
            neighbours = known_neighbours(cell, plan, options.results, imported, earlier)
            print_header(console, plan, imported, neighbours)
        return plan_summary(plan)


def _described(folder: Path) -> dict[str, Any]:
    """Return the ``cell.yaml`` with which a search was begun; empty if there is none yet."""
    from study.results.store import read_cell

    return read_cell(folder) if (folder / CELL_FILE).exists() else {}


def _search(
    cells: Sequence[Cell],
    options: "RunOptions",
    interruptions: Interruptions,
    trainable: "type[CellTrainable] | None",
    ray: "RayUse | None",
) -> Exit:
    """Search cells one after the other; return how that ended. The first may use an early Ray."""
    from study.tuner.run_cell import RunStatus, run_cell
    from study.tuner.trainable import CellTrainable

    status = RunStatus.DONE
    for cell in cells:
        is_new = not (options.planning.results / cell.name).exists() and len(cells) > 1
        own = dataclasses.replace(options, resume=options.resume and not is_new)
        ended = run_cell(cell, own, interruptions, trainable=trainable or CellTrainable, ray=ray)
        ray = None
        status = status if ended is RunStatus.DONE else ended
        # A budget without a usable result says nothing of the next one.
        if ended is RunStatus.INTERRUPTED:
            break
    return {
        RunStatus.DONE: Exit.OK,
        RunStatus.FAILED: Exit.FAILED,
        RunStatus.INTERRUPTED: Exit.INTERRUPTED,
    }[status]


def _phase_two(
    arguments: argparse.Namespace, cell: Cell, results: Path, storage: str | None
) -> tuple[list[Cell], list[dict[str, Any]]]:
    """Return the cells of phase 2 and what they follow from; say it unless JSON is asked for."""
    from study.search.phase_two import PhaseTwo

    study = load_study(arguments.search)
    require(
        study.supplementary is not None,
        "--supplementary",
        "needs a search space with a section of that name",
        got=study.path,
        remedy="Use --search two_phase.",
    )
    require(
        storage is None,
        "--storage",
        "phase 2 needs a results folder",
        got=str(storage),
        remedy="Copy the results of phase 1 from the store into a folder.",
    )
    second = PhaseTwo.read(study, cell, results, trials=arguments.trials, metric=arguments.metric)
    phase_one = second.phase_one
    chosen = phase_one.choose(arguments.param_budget)
    if not arguments.json:
        print(f"phase 1 ({phase_one.progress}): {results / cell.name}")
        for line in phase_one.lines(chosen):
            print(f"  {line}")
    cells = second.cells(chosen)
    evidence = [{**each.describe(), "is_chosen": each in chosen} for each in phase_one.budgets]
    return cells, evidence


def _resume_command(argv: list[str]) -> str:
    """Return the command that goes on, with the Python that runs now."""
    python, here = Path(sys.executable), Path.cwd()
    if shutil.which("python") == sys.executable:
        name = "python"
    else:
        name = str(python.relative_to(here) if python.is_relative_to(here) else python)
    flags, rest = [], iter(argv)
    for flag in rest:
        if flag in _OF_A_START:
            next(rest)
        elif flag not in ("--resume", "--fresh") and not flag.startswith(_OF_A_START_JOINED):
            flags.append(flag)
    return shlex.join([name, "-m", "study.tune", *flags, "--resume"])


if __name__ == "__main__":
    sys.exit(main())
