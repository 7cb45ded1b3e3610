"""Say what cells would take: python -m study.plan --budgets 2M 20M --horizons 1 3."""

import argparse
import json
import sys
from itertools import groupby

from study.command import Exit, command_parser, exit_code
from study.flags import (
    add_cluster_flags,
    add_selection_flags,
    add_study_flags,
    concurrency,
    places,
    selected_cells,
)
from study.results.output import open_console
from study.search.stop import Interruptions, interruptible

_EXAMPLES = """examples:
  python -m study.plan
  python -m study.plan --budgets 2M 20M --horizons 1 3
  python -m study.plan --from 20M_h3 --trials 20
  python -m study.plan --search smoke --json > plan.json
  python -m study.tune --budget 2M --horizon 3 --estimate plan.json

Trains nothing but a few timed steps, and writes nothing. Exit code 1 if a cell cannot run here.
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
    cells = selected_cells(arguments)
    at_once = concurrency(arguments.concurrency)
    # Ray and torch take seconds to import: a wrong flag and --help are answered before.
    from study.cluster.runtime import cluster
    from study.results.outlook import print_budget, print_power, print_total
    from study.search.outlook import plan_cells, total
    from study.search.plan import process_seconds
    from study.training.device import resolve_device

    if arguments.device is not None and arguments.address is None:
        resolve_device(0.0, arguments.device)
    console = open_console()
    outlooks = []
    with cluster(arguments.address, use_accelerators=arguments.device != "cpu") as nodes:
        # Ray has taken SIGTERM for itself.
        interruptions.install()
        planned = plan_cells(
            cells,
            nodes,
            places(arguments.storage)[0],
            device=arguments.device,
            concurrency=at_once,
            driver_seconds=process_seconds(),
        )
        for _, group in groupby(planned, key=lambda outlook: outlook.cell.budget_label):
            of_budget = list(group)
            outlooks += of_budget
            if not arguments.json:
                print_budget(console, [outlook.describe() for outlook in of_budget])
                console.print()
    described, sums = [outlook.describe() for outlook in outlooks], total(outlooks)
    if arguments.json:
        print(json.dumps({"cells": described, "total": sums}, indent=2, allow_nan=False))
    else:
        print_total(console, sums)
        console.print()
        print_power(console, described)
    return Exit.FAILED if sums["cells_with_problem"] else Exit.OK


if __name__ == "__main__":
    sys.exit(main())
