"""Train the winners of a study again and open the test days: python -m study.train."""

import argparse
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from study.command import Exit, command_parser, exit_code
from study.errors import StudyError, require
from study.flags import (
    add_cluster_flags,
    add_selection_flags,
    add_study_flags,
    concurrency,
    places,
    selected_cells,
)
from study.results.output import lasting_output, open_console
from study.search.stop import Interruptions, interruptible

if TYPE_CHECKING:
    # At run time it would cost a wrong flag and --help the seconds that torch takes.
    from study.final.cell import FinalOutcome

_EXAMPLES = """examples:
  python -m study.train                                   # every cell that has been searched
  python -m study.train --budgets 2M 20M --horizons 1
  python -m study.train --search smoke --seeds 3

The flags that define a study (--search, --trials, --source, ...) must be those of its search. What
has ended is not trained again, so the same command goes on after an interruption.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "study.train",
        "Train the winners of a search again with fresh seeds, and judge them on the "
        "test days beside what a sceptic would use instead.",
        _EXAMPLES,
    )
    add_selection_flags(flags)
    add_study_flags(flags)
    add_cluster_flags(flags)
    add = flags.add_argument
    add("--seeds", type=int, default=5, help="runs of the winner (default: %(default)s)")
    add("--candidates", type=int, default=5, metavar="N",
        help="best trials of the search that are trained again (default: %(default)s)")  # fmt: skip
    add("--selection-seeds", type=int, default=2, metavar="N",
        help="fresh seeds for each of them (default: %(default)s)")  # fmt: skip
    add("--refit", choices=("none", "train+validation"), default="none",
        help="train the winner, and the baselines, on the validation days too")  # fmt: skip
    add("--allow-differences", action="store_true",
        help="go on although code, data or settings have changed since the search")  # fmt: skip
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""

    def work() -> int:
        with lasting_output(), interruptible() as interruptions:
            return run(parser().parse_args(argv), interruptions)

    return exit_code(work)


def run(arguments: argparse.Namespace, interruptions: Interruptions) -> int:
    """Check the flags, then train cell after cell."""
    for name in ("seeds", "candidates", "selection_seeds"):
        flag, value = f"--{name.replace('_', '-')}", getattr(arguments, name)
        require(value >= 1, flag, "must be at least 1", got=str(value), remedy="Leave it out.")
    cells = selected_cells(arguments)
    at_once = concurrency(arguments.concurrency)
    results, store = places(arguments.storage)
    require(
        store is None,
        "--storage",
        "final runs need a results folder",
        got=arguments.storage,
        remedy="Copy the results of the search from the store into a folder.",
    )
    searched = [cell for cell in cells if (results / cell.name).is_dir()]
    for cell in cells:
        if cell not in searched:
            print(f"{cell.name}: not searched, left out")
    require(
        bool(searched),
        str(results),
        "must hold a search of one of the selected cells",
        got=f"none of {len(cells)}",
        remedy="Run study.tune or study.sweep first, with the same flags.",
        error=StudyError,
    )
    # Ray and torch take seconds to import: a wrong flag and --help are answered before.
    from study.cluster.runtime import cluster
    from study.final.cell import FinalSettings, train_cell
    from study.final.runs import Place
    from study.results.final_view import final_table

    console = open_console()

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False)

    settings = FinalSettings(
        results=results,
        n_candidates=arguments.candidates,
        n_selection_seeds=arguments.selection_seeds,
        n_seeds=arguments.seeds,
        with_validation=arguments.refit == "train+validation",
        may_differ=arguments.allow_differences,
    )
    outcomes: list[FinalOutcome] = []
    problems: list[str] = []
    with ExitStack() as held:
        nodes = held.enter_context(
            cluster(arguments.address, use_accelerators=arguments.device != "cpu")
        )
        # Ray has taken SIGTERM for itself.
        interruptions.install()
        place = Place(nodes=nodes, device=arguments.device, concurrency=at_once)
        for cell in searched:
            try:
                outcome = train_cell(cell, settings, place, interruptions, say)
            except StudyError as error:
                # The other cells have their own winners.
                problems.append(str(error))
                print(f"error: {error}", file=sys.stderr)
                continue
            outcomes.append(outcome)
            if outcome.record is None:
                break
    console.print()
    console.print(final_table([o.record for o in outcomes if o.record is not None], results))
    unfinished = [outcome for outcome in outcomes if outcome.record is None]
    if unfinished:
        say(f"\nended before its time: {unfinished[0].reason}. Go on with the same command.")
        return Exit.FAILED if unfinished[0].is_fault else Exit.INTERRUPTED
    return Exit.FAILED if problems else Exit.OK


if __name__ == "__main__":
    sys.exit(main())
