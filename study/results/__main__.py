"""Writes a search for another program: python -m study.results CELL --optuna FILE."""

import argparse
import sys
from pathlib import Path

from study.command import Exit, command_parser, exit_code
from study.errors import require
from study.storage.layout import CELL_FILE

_EXAMPLES = """examples:
  python -m study.results ray_results/phase6a_2M_h3_threshold_1pct --optuna 2M_h3.db
  optuna-dashboard sqlite:///2M_h3.db

A FILE that ends in .db, .sqlite or .sqlite3 becomes an SQLite database, any other a journal of
Optuna. Reads the records alone: it may be called while the search runs, and changes nothing of it.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "study.results", "Write the trials of a search in the form of another program.", _EXAMPLES
    )
    flags.add_argument("cell", type=Path, metavar="CELL", help="folder of a search")
    flags.add_argument(
        "--optuna", type=Path, metavar="FILE", required=True, help="new file for an Optuna storage"
    )
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code(lambda: run(parser().parse_args(argv)))


def run(arguments: argparse.Namespace) -> int:
    """Check the flags, then write the file."""
    require(
        (arguments.cell / CELL_FILE).is_file(),
        "CELL",
        f"must be the folder of a search, which has a {CELL_FILE}",
        got=str(arguments.cell),
        remedy="Give a folder that study.tune made, as ray_results/phase6a_2M_h3_threshold_1pct.",
    )
    # Optuna takes a second to import, so flags are checked and --help is printed before.
    from study.results.optuna_export import export

    n_trials = export(arguments.cell, arguments.optuna)
    print(f"{n_trials} trials written to {arguments.optuna}")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
