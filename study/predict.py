"""Answers of a trained winner for the latest days: python -m study.predict --cell NAME.

The winner of a market's cell answers with probabilities, that of a panel's with ranks of assets.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from study.command import Exit, command_parser, exit_code
from study.errors import DataError, StudyError, quoted, require
from study.spec.command_flags import WORKING_COPY
from study.storage.files import write_text
from study.storage.layout import FINAL_FOLDER, MODEL_FOLDER
from study.text.short_forms import counted

if TYPE_CHECKING:
    from study.final.export import ExportedModel

Series = TypeVar("Series")

_STDOUT = "-"
"""Name of the file that stands for standard output."""

_DAYS, _PANEL_DAYS = 5, 1
"""Number of latest days without ``--days``, of a market and of a panel."""

_SHOWN = 5
"""Number of assets at the top, and at the bottom, of a day that is printed."""

_EXAMPLES = """examples:
  python -m study.predict --cell phase6a_2M_h3_threshold_1pct
  python -m study.predict --cell phase6a_2M_h3_threshold_1pct --data prices.csv --days 20 --json
  python -m study.predict --cell panel_200k_h5_ranking_stocks20_closes --csv ranks.csv
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "study.predict",
        "What a trained winner says of the latest days of a price file: probabilities of a market, "
        "ranks of a panel's assets.",
        _EXAMPLES,
    )
    add = flags.add_argument
    add("--cell", required=True, metavar="NAME", help="a cell that study.train has finished")
    add("--data", metavar="FILE",
        help="OHLCV, or a panel, as CSV or Parquet (default: what it learnt from)")  # fmt: skip
    add("--vix", metavar="NAME|FILE",
        help="volatility index, for a model of tier c (default: what it learnt from)")  # fmt: skip
    add("--accept", nargs="+", default=[], metavar="CHECK",
        help="take what a check refuses here (default: what the search accepted)")  # fmt: skip
    add("--days", type=int, metavar="N",
        help=f"latest days (default: {_DAYS}, of a panel {_PANEL_DAYS})")  # fmt: skip
    add("--storage", type=Path, default=Path(WORKING_COPY), metavar="FOLDER",
        help="results folder (default: %(default)s)")  # fmt: skip
    add("--csv", metavar="FILE", help="write a table of all days, to stdout if it is -")
    add("--json", action="store_true", help="print as JSON")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code(lambda: run(parser().parse_args(argv)))


def run(arguments: argparse.Namespace) -> int:
    """Check the flags, load the model, print its predictions."""
    require(
        arguments.days is None or arguments.days >= 1,
        "--days",
        "must be at least 1",
        got=str(arguments.days),
        remedy="Leave it out.",
    )
    require(
        not arguments.json or arguments.csv != _STDOUT,
        "--csv",
        "must be a file where --json prints",
        got=_STDOUT,
        remedy="Leave out one of the two.",
    )
    _require_file(arguments.csv)
    trained = _trained_cells(arguments.storage)
    require(
        arguments.cell in trained,
        "--cell",
        "must be a cell whose winner has been trained",
        got=f"{quoted(arguments.cell)}; there are {', '.join(trained) or 'none'}",
        remedy="Run study.train for it.",
        error=StudyError,
    )
    described = _describe(arguments)
    if arguments.csv is not None:
        _write_table(described, arguments.csv)
    if arguments.json:
        del described["seed"]
        print(json.dumps(described, indent=2, allow_nan=False))
    elif arguments.csv != _STDOUT:
        _print(described)
    return Exit.OK


def _require_file(file: str | None) -> None:
    """Refuse a path that no table can be written to, before anything is computed.

    Raises:
        SpecError: it is a folder, or in none.
    """
    path = Path(_STDOUT if file is None else file)
    require(
        path.parent.is_dir() and not path.is_dir(),
        "--csv",
        "must be a file in a folder that exists",
        got=quoted(file),
        remedy=f"Give a file such as ranks.csv, or {_STDOUT} for stdout.",
    )


def _describe(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the predictions for the latest days, and what they were made from."""
    # torch takes seconds to import: a wrong flag and --help are answered before.
    from study.final.export import load_model

    folder = arguments.storage / FINAL_FOLDER / arguments.cell / MODEL_FOLDER
    model = load_model(folder)
    require(
        model.cell == arguments.cell,
        str(folder),
        f"must hold the model of {arguments.cell}",
        got=f"that of {quoted(model.cell)}",
        remedy="Put back the folder that study.train has made.",
        error=StudyError,
    )
    found = _ranks(model, arguments) if model.data.is_panel else _probabilities(model, arguments)
    return {"cell": model.cell, "seed": model.origin["seed"], **found}


def _probabilities(model: "ExportedModel", arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the probabilities of a market's latest days, and what they were made from."""
    import torch

    from study.data.dataset import data_fingerprint, understood_files, vix_of, vix_warnings
    from study.data.panel.panel_sources import load_panel
    from study.data.sources import load_prices
    from study.final.export import predict_days

    source = arguments.data or model.data.source
    config = replace(
        model.data,
        source=source,
        vix=arguments.vix or model.data.vix,
        accept=(*model.data.accept, *arguments.accept),
    )
    imported = arguments.storage / "data"
    prices = _loaded(
        lambda: load_prices(source, imported, config.accept),
        lambda: load_panel(source, imported, config.accept),
        "must be a market of one asset, as the one that the model learnt from",
        f"{quoted(source)}, a panel of many",
    )
    vix = vix_of(config, imported)
    dates, probability = predict_days(
        model, prices, arguments.days or _DAYS, device=torch.device("cpu"), vix=vix
    )
    return {
        "task": config.task,
        "horizon": config.horizon,
        "source": source,
        "data_sha256": data_fingerprint(prices, vix),
        "base_rate": model.origin["base_rate"],
        "understood": understood_files(prices, vix),
        "warnings": prices.warnings + vix_warnings(config, vix, prices),
        "predictions": [
            {"date": str(date), "probability": float(p)}
            for date, p in zip(dates, probability, strict=True)
        ],
    }


def _ranks(model: "ExportedModel", arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the ranks of a panel's assets on its latest days, and what they were made from."""
    import torch

    from study.data.panel.panel_sources import load_panel
    from study.data.sources import load_prices
    from study.final.panel_ranks import rank_days

    require(
        arguments.vix is None,
        "--vix",
        "a panel has no inputs made of a volatility index",
        got=quoted(arguments.vix),
        remedy="Leave it out.",
    )
    source = arguments.data or model.data.source
    config = replace(model.data, accept=(*model.data.accept, *arguments.accept))
    imported = arguments.storage / "data"
    panel = _loaded(
        lambda: load_panel(source, imported, config.accept),
        lambda: load_prices(source, imported, config.accept),
        "must be a panel of many assets, as the one that the model learnt from",
        f"{quoted(source)}, a market of one",
    )
    ranks = rank_days(model, panel, arguments.days or _PANEL_DAYS, device=torch.device("cpu"))
    return {
        "task": config.task,
        "horizon": config.horizon,
        "source": source,
        "data_sha256": panel.fingerprint,
        "understood": panel.understood,
        "warnings": list(panel.warnings),
        "notes": list(ranks.notes),
        "ranks": ranks.rows(),
    }


def _loaded(load: Callable[[], Series], other: Callable[[], object], rule: str, got: str) -> Series:
    """Return prices, or say that they are of the other kind where they are.

    Args:
        load: reads them.
        other: reads those of the other kind.
        rule: what ``--data`` must be.
        got: what it is if ``other`` can read it.

    Raises:
        StudyError: they are of the other kind, or break a rule.
    """
    try:
        return load()
    except DataError:
        try:
            other()
        except DataError:
            is_other = False
        else:
            is_other = True
        require(
            not is_other,
            "--data",
            rule,
            got=got,
            remedy="Give such data, or a --cell that was trained on that kind.",
            error=StudyError,
        )
        raise


def _write_table(described: Mapping[str, Any], file: str) -> None:
    """Write the rows of all days as CSV."""
    rows = described["ranks" if "ranks" in described else "predictions"]
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    if file == _STDOUT:
        print(text.getvalue(), end="")
    else:
        write_text(Path(file), text.getvalue())


def _print(described: Mapping[str, Any]) -> None:
    """Print the predictions, for a reader at a terminal."""
    task, horizon = described["task"], described["horizon"]
    print(f"{described['cell']}, seed {described['seed']}, on {described['source']}")
    if "ranks" in described:
        days = counted(horizon, "trading day")
        print(f"scores of assets for the next {days}, given the day's prices;")
        print("rank 1 is expected to rise most, and a score orders the assets of its day alone")
    else:
        print(f"probability of {task} within {horizon} trading days, given the day's bar")
        print(f"(training base rate {described['base_rate']:.3f})")
    if described["understood"]:
        print(f"read {described['understood']}")
    for warning in described["warnings"]:
        print(f"warning: {warning}")
    if "ranks" in described:
        _print_ranks(described)
        return
    for row in described["predictions"]:
        print(f"  {row['date']}  {row['probability']:.3f}")


def _print_ranks(described: Mapping[str, Any]) -> None:
    """Print the top and the bottom of the last day."""
    for note in described["notes"]:
        print(f"note: {note}")
    rows = described["ranks"]
    last = [row for row in rows if row["date"] == rows[-1]["date"]]
    n_days = len({row["date"] for row in rows})
    others = f"; --csv FILE or --json has all {n_days} days" if n_days > 1 else ""
    print(f"{last[0]['date']}, {len(last)} assets{others}")
    is_cut = len(last) > 2 * _SHOWN
    width = max(len(row["asset"]) for row in last)
    for row in last[:_SHOWN] if is_cut else last:
        _print_rank(row, width)
    if is_cut:
        print("   ...")
        for row in last[-_SHOWN:]:
            _print_rank(row, width)


def _print_rank(row: Mapping[str, Any], width: int) -> None:
    sector = "" if row["sector"] is None else f"  {row['sector']}"
    print(f"{row['rank']:>6}  {row['asset']:<{width}}  {row['score']:+.4f}{sector}")


def _trained_cells(storage: Path) -> list[str]:
    """Return the cells that a model was exported of."""
    try:
        return sorted(path.parent.name for path in (storage / FINAL_FOLDER).glob("*/model"))
    except OSError as error:
        raise StudyError(
            f"--storage: must be a results folder that can be read, but got {quoted(str(storage))} "
            f"({error.strerror}). Give the one of the search."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
