"""What a study found, and what follows from any table: python -m analysis [fit|replay FILE]."""

import argparse
import sys
from pathlib import Path

from analysis import fit_table, replay
from study.command import command_parser, exit_code

_EXAMPLES = """examples:
  python -m analysis                                  # report/report.html of ray_results/
  python -m analysis --study small --storage results
  python -m analysis fit runs.csv --n parameters --loss test_loss
  python -m analysis fit runs.csv --n parameters --d tokens --loss loss --json
  python -m analysis fit runs.csv --n parameters --loss loss --group family --floor 0.45
  python -m analysis replay ray_results/small_60k_h1_threshold_1pct
"""

_REPLAY_EXAMPLES = """examples:
  python -m analysis replay ray_results/small_60k_h1_threshold_1pct
  python -m analysis replay all_trials.json --metric auc --positives 76 --negatives 346
  python -m analysis replay trials.csv --metric log_loss --value-se 0.02 --se-share 0.2
  python -m analysis replay trials.csv --metric auc --early-stop-threshold 0.01 --json
  python -m analysis replay optuna.db --study resnet --value values_0
  python -m analysis replay ray_tune_results.csv --metric log_loss --value loss

A table has a row per trial: number, value, perhaps state and value_se, and a column per parameter
(where some begin with params_, as Optuna writes them, only those are parameters), separated by
commas, semicolons, tabs or bars. Of Ray Tune's table of results (trial_id, config/...) the last row
of each trial counts. A JSON file is a list of objects, or holds one under "trials", with number,
value, params and perhaps state. A storage of Optuna is its SQLite file or its journal.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "analysis",
        "Write the report of a study, fit scaling laws to any table of runs, or replay a search.",
        _EXAMPLES,
    )
    _add_report_flags(flags)
    flags.set_defaults(run=_write_report)
    commands = flags.add_subparsers(dest="command", metavar="fit|replay")
    fit = commands.add_parser(
        "fit",
        help="fit scaling laws to a table",
        description="Fit constant, power and saturating laws to a table of runs.",
        epilog=_EXAMPLES,
    )
    fit_table.add_flags(fit)
    fit.set_defaults(run=fit_table.run)
    again = commands.add_parser(
        "replay",
        help="say where a search would have stopped",
        description="Say at which trial of a search a convergence rule would have stopped it, and "
        "what would have been lost.",
        epilog=_REPLAY_EXAMPLES,
    )
    replay.add_flags(again)
    again.set_defaults(run=replay.run)
    return flags


def _add_report_flags(flags: argparse.ArgumentParser) -> None:
    add = flags.add_argument
    add("--study", metavar="NAME", help="of the study (default: the only one there is)")
    add("--storage", type=Path, default=Path("ray_results"), metavar="FOLDER",
        help="results folder (default: %(default)s)")  # fmt: skip
    add("--json", action="store_true", help="print what report.json holds")


def _write_report(arguments: argparse.Namespace) -> int:
    # Two seconds to import, which fit and replay need not wait for.
    from analysis import report

    return report.run(arguments)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""

    def work() -> int:
        arguments = parser().parse_args(argv)
        code: int = arguments.run(arguments)
        return code

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
