"""Search one cell: python -m study.tune --budget 2M --horizon 3."""

import argparse
import dataclasses
import json
import os
import shlex
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.cluster.lifeline import end_with
from study.command import Exit, command_parser, exit_code
from study.errors import require
from study.interruptions import Interruptions, interruptible
from study.output import lasting_output
from study.spec.command_flags import (
    add_cluster_flags,
    add_study_flags,
    concurrency,
    one_cell,
    places,
)
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.storage.layout import JOURNAL_FILES
from study.storage.mirror import Mirror

if TYPE_CHECKING:
    # At run time it would cost a wrong flag and --help the seconds that torch takes.
    from study.tuner.trainable import CellTrainable

_OF_A_START = ("--import-trials", "--estimate", "--sweep")
"""Flags with a value that a resumed search does not repeat."""

_OF_A_START_JOINED = tuple(f"{flag}=" for flag in _OF_A_START)

_EXAMPLES = """examples:
  python -m study.tune --budget 2M --horizon 3
  python -m study.tune --budget 2M --horizon 3 --trials 20
  python -m study.tune --budget 2M --horizon 3 --trials 40 --resume   # 20 more
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
    add_study_flags(flags)
    add_cluster_flags(flags)
    estimate = "seconds per epoch that study.plan --json has measured; default: measure now"
    add("--estimate", type=Path, metavar="FILE", help=estimate)
    add(
        "--resume",
        action="store_true",
        help="go on with an interrupted search, or with an ended one that shall have more --trials",
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
    """Check the flags, then run the cell."""
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
    if arguments.sweep is not None:
        end_with(os.getppid())
    require(
        arguments.supplementary or arguments.param_budget is None,
        "flags",
        "--param-budget belongs to --supplementary",
        got="it alone",
        remedy="Choose budgets of phase 1 with --budgets.",
    )
    at_once = concurrency(arguments.concurrency)
    results, storage = places(arguments.storage)
    cells, evidence = [one_cell(arguments)], None
    if arguments.supplementary:
        cells, evidence = _phase_two(arguments, cells[0], results, storage)
    if not arguments.dry_run:
        for cell in cells:
            folder = results / cell.name
            mirror = None if storage is None else Mirror(storage, cell.name, folder)
            # Of several searches the later ones may not have begun.
            _check_folder(folder, arguments, mirror, may_be_new=cell is not cells[0])
    # Ray and torch take seconds to import: a wrong flag and --help are answered before.
    from study.tuner.run_cell import RunOptions, RunStatus, run_cell

    plans: list[dict[str, Any]] = []
    options = RunOptions(
        results=results,
        resume=arguments.resume,
        fresh=arguments.fresh,
        dry_run=arguments.dry_run,
        show_plan=plans.append if arguments.json else None,
        concurrency=at_once,
        estimate=arguments.estimate,
        device=arguments.device,
        address=arguments.address,
        import_trials=arguments.import_trials,
        sweep=arguments.sweep,
        storage=storage,
        resume_command=_resume_command(argv),
    )
    status = RunStatus.DONE
    for cell in cells:
        is_new = not (results / cell.name).exists() and len(cells) > 1
        own = dataclasses.replace(options, resume=options.resume and not is_new)
        ended = run_cell(cell, own, interruptions, trainable=trainable)
        status = status if ended is RunStatus.DONE else ended
        # A budget without a usable result says nothing of the next one.
        if ended is RunStatus.INTERRUPTED:
            break
    if arguments.json:
        shown = plans[0] if evidence is None else {"phase_1": evidence, "cells": plans}
        print(json.dumps(shown, indent=2, allow_nan=False))
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


def _check_folder(
    folder: Path, arguments: argparse.Namespace, mirror: Mirror | None, *, may_be_new: bool
) -> None:
    above = next(parent for parent in folder.parents if parent.exists())
    require(
        above.is_dir() and os.access(above, os.W_OK),
        "--storage",
        "must be a folder that can be written",
        got=str(above),
        remedy="Choose another one.",
    )
    place, is_there = str(folder), folder.exists()
    if mirror is not None:
        is_there |= mirror.is_usable_with(JOURNAL_FILES[0])
        place = f"{folder} or {mirror.uri}"
    require(
        not is_there or arguments.resume or arguments.fresh,
        place,
        "a cell is searched once",
        got="an existing one" if mirror else "an existing folder",
        remedy="Go on with --resume, or start anew with --fresh (the old one is moved aside).",
    )
    require(
        is_there or may_be_new or not arguments.resume,
        place,
        "--resume needs a search to go on with",
        got="none" if mirror else "no such folder",
        remedy="Leave --resume out.",
    )


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
