"""What a study found, and scaling laws of any table: python -m analysis [fit FILE.csv]."""

import argparse
import sys

from analysis import fit_table, report
from study.command import command_parser, exit_code

_EXAMPLES = """examples:
  python -m analysis                                  # report/report.html of ray_results/
  python -m analysis --study small --storage results
  python -m analysis fit runs.csv --n parameters --loss test_loss
  python -m analysis fit runs.csv --n parameters --d tokens --loss loss --json
  python -m analysis fit runs.csv --n parameters --loss loss --group family --floor 0.45
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "analysis",
        "Write the report of a study, or fit scaling laws to any table of runs.",
        _EXAMPLES,
    )
    report.add_flags(flags)
    flags.set_defaults(run=report.run)
    commands = flags.add_subparsers(dest="command", metavar="fit")
    fit = commands.add_parser(
        "fit",
        help="fit scaling laws to a table",
        description="Fit constant, power and saturating laws to a table of runs.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    fit_table.add_flags(fit)
    fit.set_defaults(run=fit_table.run)
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""

    def work() -> int:
        arguments = parser().parse_args(argv)
        code: int = arguments.run(arguments)
        return code

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
