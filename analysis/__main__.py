"""What a study found, and what follows from any table: python -m analysis [COMMAND FILE]."""

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
  python -m analysis judge predictions.csv --study small --horizon 1
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

_JUDGE_EXAMPLES = """examples:
  python -m analysis judge predictions.csv
  python -m analysis judge predictions.csv --study small --storage results --horizon 3
  python -m analysis judge predictions.csv --part validation --json
  python -m analysis judge predictions.csv --horizon 1 \\
      --against ray_results/final/baselines/0123456789abcdef.parquet

A table has a row per day: date (2013-01-31, the last day whose close the answer knows), p (the
probability of a positive label) and, if there are several, model and seed. Days that the file and
the study have in common count, and all models are judged on the same ones.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "analysis",
        "Write the report of a study, fit scaling laws to any table of runs, replay a search, or "
        "judge anybody's probabilities.",
        _EXAMPLES,
    )
    _add_report_flags(flags)
    flags.set_defaults(run=_write_report)
    commands = flags.add_subparsers(dest="command", metavar="fit|replay|judge")
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
    others = commands.add_parser(
        "judge",
        help="judge anybody's probabilities",
        description="Compare anybody's probabilities for a study's days with its winners and "
        "baselines, in the words and with the intervals of its report.",
        epilog=_JUDGE_EXAMPLES,
    )
    _add_judge_flags(others)
    others.set_defaults(run=_judge)
    return flags


def _add_report_flags(flags: argparse.ArgumentParser) -> None:
    add = flags.add_argument
    add("--study", metavar="NAME", help="of the study (default: the only one there is)")
    add("--storage", type=Path, default=Path("ray_results"), metavar="FOLDER",
        help="results folder (default: %(default)s)")  # fmt: skip
    add("--json", action="store_true", help="print what report.json holds")


def _add_judge_flags(flags: argparse.ArgumentParser) -> None:
    add = flags.add_argument
    add("file", type=Path, metavar="FILE.csv", help="columns date, p and perhaps model and seed")
    # Without defaults, which would undo what stands before the command's name.
    add("--study", metavar="NAME", default=argparse.SUPPRESS,
        help="of the study (default: the only one there is)")  # fmt: skip
    add("--storage", type=Path, metavar="FOLDER", default=argparse.SUPPRESS,
        help="results folder (default: ray_results)")  # fmt: skip
    add("--horizon", type=int, metavar="DAYS", help="of the labels (default: the only one)")
    add("--part", choices=("validation", "test"), default="test",
        help="days that are judged (default: %(default)s)")  # fmt: skip
    add("--against", type=Path, metavar="FILE.parquet",
        help="in place of a study: a table of predictions that study.train wrote")  # fmt: skip
    add("--json", action="store_true", default=argparse.SUPPRESS, help="print everything as JSON")


def _write_report(arguments: argparse.Namespace) -> int:
    # Two seconds to import, which fit and replay need not wait for.
    from analysis import report

    return report.run(arguments)


def _judge(arguments: argparse.Namespace) -> int:
    # The same two seconds.
    from analysis import judge

    return judge.run(arguments)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""

    def work() -> int:
        arguments = parser().parse_args(argv)
        code: int = arguments.run(arguments)
        return code

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
