"""Filters and counts the trials of searches, or writes one for another program: study.results."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from study.command import Exit, command_parser, exit_code
from study.errors import one_line, require
from study.results.tables.trial_query import Row, TrialRows, Value, in_order, read_trial_rows
from study.storage.layout import CELL_FILE

_RESULTS = Path("ray_results")

_SHOWN = (
    "cell", "number", "loss", "loss_se", "d_model", "n_layers", "n_heads", "dropout",
    "learning_rate", "reason",
)  # fmt: skip
"""Columns that are printed unless others are named."""

_EXAMPLES = """examples:
  python -m study.results --study small --where "d_model=192" --where "loss<0.6" --count
  python -m study.results ray_results/phase6a_2M_h3_threshold_1pct --sort loss --head 5
  python -m study.results --where state=FAIL --columns cell number reason message
  python -m study.results --where budget=2M --where "auc>=0.7" --json
  python -m study.results ray_results/phase6a_2M_h3_threshold_1pct --optuna 2M_h3.db
  optuna-dashboard sqlite:///2M_h3.db

A condition is COLUMN, one of = != < <= > >=, and a value; trials hold all that are given. A value
that is missing holds only COLUMN=none. A wrong name is answered with the columns that there are.

A FILE that ends in .db, .sqlite or .sqlite3 becomes an SQLite database, any other a journal of
Optuna. Reads the records alone: it may be called while the search runs, and changes nothing of it.
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "study.results",
        "Filter and count the trials of searches, or write those of one for another program.",
        _EXAMPLES,
    )
    add = flags.add_argument
    add("folder", type=Path, metavar="FOLDER", nargs="?", default=_RESULTS,
        help="of a search, or with all searches (default: %(default)s)")  # fmt: skip
    add("--study", metavar="NAME", help="trials of this study alone")
    add("--where", action="append", metavar="CONDITION", default=[],
        help="as 'loss<0.6'; give it again for each further one")  # fmt: skip
    add("--sort", metavar="COLUMN", help="order of the rows, ascending")
    add("--descending", action="store_true", help="with --sort: the largest first")
    add("--head", type=int, metavar="N", help="print the first N rows alone")
    add("--columns", nargs="+", metavar="COLUMN", help=f"printed (default: {' '.join(_SHOWN)})")
    add("--count", action="store_true", help="print the number of trials alone")
    add("--json", action="store_true", help="print all columns as JSON")
    add("--optuna", type=Path, metavar="FILE", help="new file for an Optuna storage of a search")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code(lambda: run(parser().parse_args(argv)))


def run(arguments: argparse.Namespace) -> int:
    """Check the flags, then print trials or write the file."""
    if arguments.optuna is not None:
        return _export(arguments)
    _check(arguments)
    table = read_trial_rows(arguments.folder, arguments.study)
    found = table.holding(arguments.where)
    if arguments.sort is not None:
        table.require_column(arguments.sort, "--sort")
        found = in_order(found, arguments.sort, descending=arguments.descending)
    shown = found[: arguments.head]
    if arguments.count:
        print(len(found))
    elif arguments.json:
        print(json.dumps(shown, indent=1, allow_nan=False))
    else:
        columns = arguments.columns or [name for name in _SHOWN if name in table.columns]
        for name in columns:
            table.require_column(name, "--columns")
        _print(shown, columns)
        print(_summary(len(shown), len(found), table))
    return Exit.OK


def _check(arguments: argparse.Namespace) -> None:
    require(
        arguments.head is None or arguments.head >= 1,
        "--head",
        "must be at least 1",
        got=str(arguments.head),
        remedy="Leave it out for all rows.",
    )
    require(
        arguments.sort is not None or not arguments.descending,
        "--descending",
        "must come with --sort",
        got="no column",
        remedy="Add --sort loss.",
    )
    given = [name for name in ("count", "json", "columns") if getattr(arguments, name)]
    require(
        len(given) < 2,
        ", ".join(f"--{name}" for name in given),
        "must not be given together",
        got=f"{len(given)} forms of output",
        remedy="Choose one.",
    )
    require(
        not (arguments.count and (arguments.head or arguments.sort)),
        "--count",
        "must stand without --head and --sort, which change no number",
        got="them",
        remedy="Leave them out.",
    )


def _export(arguments: argparse.Namespace) -> int:
    others = ("study", "where", "sort", "descending", "head", "columns", "count", "json")
    given = [f"--{name}" for name in others if getattr(arguments, name)]
    require(
        not given,
        "--optuna",
        "must stand alone: it writes every trial of a search",
        got=", ".join(given),
        remedy="Leave them out.",
    )
    require(
        (arguments.folder / CELL_FILE).is_file(),
        "FOLDER",
        f"must be the folder of a search, which has a {CELL_FILE}",
        got=str(arguments.folder),
        remedy="Give a folder that study.tune made, as ray_results/phase6a_2M_h3_threshold_1pct.",
    )
    # Optuna takes a second to import, so flags are checked and --help is printed before.
    from study.results.optuna_export import export

    n_trials = export(arguments.folder, arguments.optuna)
    print(f"{n_trials} trials written to {arguments.optuna}")
    return Exit.OK


def _print(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Print rows under their columns; numbers stand to the right."""
    if not rows:
        return
    cells = [list(columns), *([_shown(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    is_text = [any(isinstance(row[name], str) for row in rows) for name in columns]
    for line in cells:
        padded = (
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, is_text, strict=True)
        )  # fmt: skip
        print("  ".join(padded).rstrip())
    print()


def _shown(value: Value) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value))


def _summary(n_shown: int, n_found: int, table: TrialRows) -> str:
    first = f"{n_shown} shown; " if n_shown < n_found else ""
    cells = "search" if table.n_cells == 1 else "searches"
    return f"{first}{n_found} of {len(table.rows)} trials in {table.n_cells} {cells}"


if __name__ == "__main__":
    sys.exit(main())
