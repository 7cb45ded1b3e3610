"""Trains the winners of a study again and opens the test days: python -m study.train."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from study.command import Exit, command_parser, exit_code
from study.data.data_share import DATA_CHOICES
from study.errors import StudyError, quoted, require
from study.interruptions import Interruptions, interruptible
from study.output import lasting_output, open_console
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
from study.spec.selection import further_searches, searches_made
from study.spec.spec_file import load_study
from study.spec.specification import Cell, Study
from study.spec.variants import Variant, read_variants

if TYPE_CHECKING:
    # At run time it would cost a wrong flag and --help the seconds that torch takes.
    from study.final.finalists import Chosen
    from study.final.outcomes import FinalOutcomes, FinalSettings

_MOST_RUNS = 1_000
"""Most runs of one configuration; the bases from which seeds are counted lie further apart."""

_ON_FOLDS = (
    "search and fresh seeds are judged on the folds of the search, by networks that learned from "
    "later days too"
)
_FOLDED = {
    False: f"{_ON_FOLDS}; final runs on its latest days alone: these losses cannot be compared",
    True: f"{_ON_FOLDS}: their scores are no forecasts, only the test days show one",
}
"""Line below the table where a search trained on folds; is it of a panel?"""

_EXAMPLES = """examples:
  python -m study.train                                   # every cell that has been searched
  python -m study.train --budgets 2M 20M --horizons 1
  python -m study.train --search smoke --seeds 3
  python -m study.train --search two_phase             # the winners of phase 2
  python -m study.train --search two_phase --phase 1   # of every budget
  python -m study.train --data-shares 0.25 0.5 1       # also on less of the past
  python -m study.train --variants weight_decay=0      # also with one setting changed

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
    add_selection_flags(flags, searches="all that were made")
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
    add_data_share_flag(flags)
    add("--data-choice", choices=DATA_CHOICES, default="recent",
        help="days of a share: the latest ones, or blocks of days drawn from all of the past "
        "(default: %(default)s)")  # fmt: skip
    add("--variants", nargs="+", default=[], metavar="SETTING=VALUE",
        help="train winners with one setting of training changed too, at the seeds of their final "
        "runs, as optimizer=adabelief rank_weight=0")  # fmt: skip
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
    _require_counts(arguments)
    variants = _variants(arguments)
    study = load_study(arguments.search)
    # A wrong flag is answered before the results folder is read.
    selected = selected_cells(_with(arguments, first=None))
    shares = _data_shares(arguments)
    for cell in selected:
        for variant in variants:
            variant.require_read(cell.data)
    phases = selected_phases(arguments, study)
    at_once = concurrency(arguments.concurrency)
    results = _results_folder(arguments)
    cells = _cells(arguments, results)
    chosen = _chosen(arguments, study, cells, phases, results)
    for line in further_searches(cells, results):
        print(line)
    for line in chosen.notes:
        print(line)
    for problem in chosen.problems:
        _report(problem)
    require(
        bool(chosen.finalists or chosen.problems),
        str(results),
        "must hold a search of one of the selected cells",
        got=f"none of {len(cells)}",
        remedy="Run study.tune or study.sweep first, with the same flags.",
        error=StudyError,
    )
    if not chosen.finalists:
        return Exit.USER_ERROR
    # Ray and torch take seconds to import, so flags are checked and --help is printed before.
    from study.cluster.runtime import cluster
    from study.final.seed_runs import Place
    from study.final.train_cell import train_cells

    console = open_console()

    def say(line: str) -> None:
        console.print(line, soft_wrap=True)

    settings = _settings(arguments, results, shares, variants)
    with cluster(arguments.address, use_accelerators=arguments.device != "cpu") as nodes:
        # Ray has replaced the handler of SIGTERM.
        interruptions.install()
        place = Place(
            nodes=nodes,
            device=arguments.device,
            capture=arguments.capture == "auto",
            concurrency=at_once,
        )
        ended = train_cells(chosen.finalists, settings, place, interruptions, say, _report)
    return _conclude(
        ended,
        console,
        results,
        has_problems=bool(chosen.problems or ended.problems),
        is_folded=any(each.cell.data.has_search_folds for each in chosen.finalists),
    )


def _conclude(
    ended: "FinalOutcomes",
    console: Console,
    results: Path,
    *,
    has_problems: bool,
    is_folded: bool,
) -> int:
    """Print a line per cell that has ended, and return the exit code."""
    # final_tables imports pandas, which takes seconds.
    from study.terminal.final_tables import final_table, share_table
    from study.terminal.panel_final_table import panel_final_table, panel_share_table
    from study.terminal.variant_table import variant_notes, variant_table

    if ended.records:
        console.print()
        table = panel_final_table if ended.records[0].is_panel else final_table
        console.print(table(ended.records, results))
    if ended.records and is_folded:
        console.print(f"\n{_FOLDED[ended.records[0].is_panel]}", soft_wrap=True)
    if ended.shares:
        console.print()
        of_shares = panel_share_table if ended.records[0].is_panel else share_table
        console.print(of_shares(ended.shares, ended.records, results))
    if ended.variants:
        console.print()
        console.print(variant_table(ended.variants, ended.records, results))
        for line in variant_notes(ended.records):
            console.print(line, soft_wrap=True)
    unfinished = ended.unfinished
    if unfinished is not None:
        console.print(
            f"\nended before its time: {unfinished.reason}. Go on with the same command.",
            soft_wrap=True,
        )
        return Exit.FAILED if unfinished.is_fault else Exit.INTERRUPTED
    without = [record.cell for record in ended.records if not record.is_usable]
    without += [f"{each.cell} on {each.share:g}" for each in ended.shares if not each.is_usable]
    without += [f"{each.cell} with {each.name}" for each in ended.variants if not each.is_usable]
    if without:
        console.print(
            f"\nno usable final run of {', '.join(without)}: every one failed or collapsed",
            soft_wrap=True,
        )
    return Exit.FAILED if has_problems or without else Exit.OK


def _report(problem: str) -> None:
    print(f"error: {problem}", file=sys.stderr)


def _require_counts(arguments: argparse.Namespace) -> None:
    """Refuse a number of runs that is too small or too large.

    Raises:
        StudyError: a number is refused.
    """
    for name in ("seeds", "candidates", "selection_seeds"):
        flag, value = f"--{name.replace('_', '-')}", getattr(arguments, name)
        require(
            1 <= value <= _MOST_RUNS,
            flag,
            f"must be at least 1 and at most {_MOST_RUNS:,}",
            got=str(value),
            remedy="Leave it out.",
        )


def _data_shares(arguments: argparse.Namespace) -> tuple[float, ...]:
    """Return the shares of the training days, below 1, on which winners are trained too.

    Raises:
        StudyError: a share is refused, or winners are trained on the validation days too.
    """
    shares = data_shares(arguments)
    _require_no_refit(arguments, "--data-shares", bool(shares))
    return shares


def _variants(arguments: argparse.Namespace) -> tuple[Variant, ...]:
    """Return the settings with which winners are trained too.

    Raises:
        StudyError: a variant is refused, or winners are trained on the validation days too.
    """
    variants = read_variants(arguments.variants)
    _require_no_refit(arguments, "--variants", bool(variants))
    return variants


def _require_no_refit(arguments: argparse.Namespace, flag: str, is_given: bool) -> None:
    require(
        not is_given or arguments.refit == "none",
        flag,
        "needs validation days that no run is trained on",
        got=f"--refit {arguments.refit}",
        remedy="Leave out one of the two.",
    )


def _settings(
    arguments: argparse.Namespace,
    results: Path,
    shares: Sequence[float],
    variants: Sequence[Variant],
) -> "FinalSettings":
    """Return the settings that the flags name."""
    from study.final.outcomes import FinalSettings

    return FinalSettings(
        results=results,
        n_candidates=arguments.candidates,
        n_selection_seeds=arguments.selection_seeds,
        n_seeds=arguments.seeds,
        with_validation=arguments.refit == "train+validation",
        may_differ=arguments.allow_differences,
        data_shares=shares,
        data_choice=arguments.data_choice,
        variants=variants,
    )


def _results_folder(arguments: argparse.Namespace) -> Path:
    """Return the results folder.

    Raises:
        StudyError: the storage is not a folder.
    """
    results, store = places(arguments.storage)
    require(
        store is None,
        "--storage",
        "final runs need a results folder",
        got=quoted(arguments.storage),
        remedy="Copy the results of the search from the store into a folder.",
    )
    return results


def _cells(arguments: argparse.Namespace, results: Path) -> list[Cell]:
    """Return the selected cells, without ``--searches`` once for each search that was made."""
    if arguments.searches is not None:
        return selected_cells(arguments)
    once = selected_cells(_with(arguments, first=None))
    made = {cell.of_search(n).name for cell in once for n in searches_made(cell, results)}
    most = max((n for cell in once for n in searches_made(cell, results)), default=1)
    cells = selected_cells(_with(arguments, searches=most))
    return [cell for cell in cells if cell.name in made or cell.search_number == 1]


def _with(arguments: argparse.Namespace, **changes: object) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(arguments), **changes})


def _chosen(
    arguments: argparse.Namespace,
    study: Study,
    cells: Sequence[Cell],
    phases: tuple[int | None, ...],
    results: Path,
) -> "Chosen":
    """Return the searches and budgets whose winners are trained."""
    from study.final.finalists import finalists_across_budgets, ordinary_finalists

    if not study.across_budgets:
        return ordinary_finalists(cells, results)
    budgets = arguments.budgets
    if budgets is not None and not any((results / cell.name).is_dir() for cell in cells):
        # No search has exactly these budgets: their winners are taken from the search of all.
        cells = _cells(argparse.Namespace(**{**vars(arguments), "budgets": None}), results)
    return finalists_across_budgets(
        study,
        cells,
        results,
        phases=phases,
        budgets=budgets,
        trials=arguments.trials,
        metric=arguments.metric,
        may_differ=arguments.allow_differences,
    )


if __name__ == "__main__":
    sys.exit(main())
