"""Say what cells would take: python -m study.plan --budgets 2M 20M --horizons 1 3."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.command import Exit, command_parser, exit_code
from study.interruptions import Interruptions, interruptible
from study.output import open_console
from study.results.plans.machine_record import BudgetNeed, NeedTable
from study.results.plans.plan_record import PhaseTwoHorizon, PhaseTwoRecord
from study.spec.command_flags import (
    add_cluster_flags,
    add_data_share_flag,
    add_selection_flags,
    add_study_flags,
    concurrency,
    data_shares,
    places,
    selected_cells,
    selected_phases,
)
from study.spec.spec_file import load_study
from study.spec.specification import Cell, Study

if TYPE_CHECKING:
    # At run time it would cost a wrong flag and --help the seconds that torch takes.
    from study.planning.study_plan import CellOutlook

_EXAMPLES = """examples:
  python -m study.plan
  python -m study.plan --budgets 2M 20M --horizons 1 3
  python -m study.plan --from 20M_h3 --trials 20
  python -m study.plan --searches 3
  python -m study.plan --memory-table
  python -m study.plan --data-shares 0.25 0.5 1
  python -m study.plan --search smoke --json > plan.json
  python -m study.tune --budget 2M --horizon 3 --estimate plan.json
  python -m study.plan --search search_spaces/two_phase.yaml   # both phases of a search of two

Trains nothing but a few timed steps, and writes nothing but their times: the next command on this
machine finds them in ray_results/data/cache, for a week at most. Exit code 1 if a cell cannot run
here, or its folder holds a search that these flags cannot go on with.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "study.plan",
        "Say what the cells of a study would take: sizes, memory, resources, time, "
        "disk, and the smallest differences that their days can show.",
        _EXAMPLES,
    )
    add_selection_flags(flags)
    add_study_flags(flags)
    add_cluster_flags(flags)
    add_data_share_flag(flags)
    flags.add_argument(
        "--memory-table",
        action="store_true",
        help="print what a trial of each budget needs, held in full and lean, and on which "
        "machines it fits; nothing is timed",
    )
    flags.add_argument("--json", action="store_true", help="print the plan for programs")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""

    def work() -> int:
        with interruptible() as interruptions:
            return run(parser().parse_args(argv), interruptions)

    return exit_code(work)


def run(arguments: argparse.Namespace, interruptions: Interruptions) -> int:
    """Check the flags, then plan the cells; blocks are printed as they are known."""
    study, second = load_study(arguments.search), None
    phases, firsts = selected_phases(arguments, study), selected_cells(arguments)
    cells = [] if phases == (2,) else list(firsts)
    results = places(arguments.storage)[0]
    if arguments.memory_table:
        return memory_table(study, firsts, results, as_json=arguments.json)
    if 2 in phases:
        later, second = phase_two(arguments, study, firsts, results)
        cells += later
    shares = data_shares(arguments)
    # Ray and torch take seconds to import: a wrong flag and --help are answered before.
    from study.terminal.plan_tables import print_budget, print_phase_two, print_power, print_total

    console = open_console()
    outlooks = []
    with closing(_outlooks(arguments, cells, results, interruptions)) as planned:
        for _, group in groupby(planned, key=lambda o: (o.cell.phase, o.cell.budget_label)):
            of_budget = list(group)
            outlooks += of_budget
            if not arguments.json:
                print_budget(console, [outlook.row for outlook in of_budget], shares)
                console.print()
    from study.planning.study_plan import total

    rows, sums = [outlook.row for outlook in outlooks], total(outlooks)
    if arguments.json:
        plan: dict[str, Any] = {
            "cells": [row.to_json() for row in rows],
            "total": dataclasses.asdict(sums),
        }
        if second is not None:
            plan["phase_2"] = dataclasses.asdict(second)
        print(json.dumps(plan, indent=2, allow_nan=False))
    else:
        if second is not None:
            print_phase_two(console, second)
            console.print()
        print_total(console, sums)
        console.print()
        print_power(console, rows)
    return Exit.FAILED if sums.cells_with_problem or sums.cells_refused else Exit.OK


def _outlooks(
    arguments: argparse.Namespace,
    cells: Sequence[Cell],
    results: Path,
    interruptions: Interruptions,
) -> "Generator[CellOutlook, None, None]":
    """Yield the plan of each cell; Ray starts while the libraries of a plan are imported."""
    at_once = concurrency(arguments.concurrency)
    if arguments.device is not None and arguments.address is None:
        from study.training.device import resolve_device

        resolve_device(0.0, arguments.device)
    from study.cluster.runtime import cluster
    from study.planning.early_ray import early_ray

    ray = cluster(arguments.address, use_accelerators=arguments.device != "cpu")
    with early_ray(ray, _import_plan) as use, use() as nodes:
        from study.planning.study_plan import plan_cells
        from study.results.provenance import process_seconds

        # Ray has taken SIGTERM for itself.
        interruptions.install()
        yield from plan_cells(
            cells,
            nodes,
            results,
            device=arguments.device,
            capture=arguments.capture == "auto",
            concurrency=at_once,
            driver_seconds=process_seconds(),
        )


def _import_plan() -> None:
    """Import what a plan needs: torch is most of it."""
    import study.planning.study_plan  # noqa: F401


def memory_table(study: Study, cells: Sequence[Cell], results: Path, *, as_json: bool) -> int:
    """Print what a trial of each budget needs in both memory modes, and where it fits."""
    from study.planning.cell_series import build_data, sample_shape
    from study.planning.feasibility import needs
    from study.search.space import build_space
    from study.terminal.memory_table import print_needs

    first = {cell.budget_label: cell for cell in reversed(cells)}
    rows: list[BudgetNeed] = []
    for cell in (first[budget] for budget in dict.fromkeys(c.budget_label for c in cells)):
        data = build_data(cell.data, results, may_write=False)
        rows += needs(cell, build_space(cell, **sample_shape(data)))
    table = NeedTable(study=study.name, rows=rows)
    if as_json:
        print(json.dumps(dataclasses.asdict(table), indent=2, allow_nan=False))
    else:
        print_needs(open_console(), table)
    return Exit.OK


def phase_two(
    arguments: argparse.Namespace, study: Study, firsts: Sequence[Cell], results: Path
) -> tuple[list[Cell], PhaseTwoRecord]:
    """Return the cells of phase 2 that are known, and all that is known of it."""
    # It imports torch, for which --help and a wrong flag do not wait.
    from study.search.phase_two import N_BUDGETS, in_order, second_phases

    assert study.supplementary is not None
    trials = arguments.trials
    found, waiting = second_phases(study, firsts, results, trials=trials, metric=arguments.metric)
    cells, horizons = [], []
    for second in found:
        chosen = second.phase_one.choose(None)
        cells += second.cells(chosen)
        horizons.append(
            PhaseTwoHorizon(
                horizon=second.first.data.horizon,
                search_number=second.first.search_number,
                lines=second.phase_one.lines(chosen),
                budgets=[each.describe() for each in second.phase_one.budgets],
            )
        )
    # Each search of phase 1 has a phase 2 of its own.
    n_firsts = max(first.search_number for first in firsts)
    return in_order(cells), PhaseTwoRecord(
        searches_per_horizon=n_firsts * min(N_BUDGETS, len(firsts[0].budgets)),
        trials=study.supplementary.trials if trials is None else trials,
        horizons=horizons,
        waiting=waiting,
    )


if __name__ == "__main__":
    sys.exit(main())
