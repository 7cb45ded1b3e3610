"""Probabilities of a trained winner for the latest days: python -m study.predict --cell NAME."""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from study.command import Exit, command_parser, exit_code
from study.errors import StudyError, quoted, require
from study.spec.command_flags import WORKING_COPY
from study.storage.layout import FINAL_FOLDER, MODEL_FOLDER

_EXAMPLES = """examples:
  python -m study.predict --cell phase6a_2M_h3_threshold_1pct
  python -m study.predict --cell phase6a_2M_h3_threshold_1pct --data prices.csv --days 20 --json
"""


def parser() -> argparse.ArgumentParser:
    """Return the command's flags."""
    flags = command_parser(
        "study.predict",
        "What a trained winner says of the latest days of a price file.",
        _EXAMPLES,
    )
    add = flags.add_argument
    add("--cell", required=True, metavar="NAME", help="a cell that study.train has finished")
    add("--data", metavar="FILE", help="OHLCV as CSV or Parquet (default: what it learnt from)")
    add("--vix", metavar="NAME|FILE",
        help="volatility index, for a model of tier c (default: what it learnt from)")  # fmt: skip
    add("--accept", nargs="+", default=[], metavar="CHECK",
        help="take what a check refuses here (default: what the search accepted)")  # fmt: skip
    add("--days", type=int, default=5, metavar="N", help="latest days (default: %(default)s)")
    add("--storage", type=Path, default=Path(WORKING_COPY), metavar="FOLDER",
        help="results folder (default: %(default)s)")  # fmt: skip
    add("--json", action="store_true", help="print as JSON")
    return flags


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return exit_code(lambda: run(parser().parse_args(argv)))


def run(arguments: argparse.Namespace) -> int:
    """Check the flags, load the model, print its predictions."""
    require(
        arguments.days >= 1,
        "--days",
        "must be at least 1",
        got=str(arguments.days),
        remedy="Leave it out.",
    )
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
    if arguments.json:
        del described["seed"]
        print(json.dumps(described, indent=2, allow_nan=False))
        return Exit.OK
    task, horizon = described["task"], described["horizon"]
    print(f"{described['cell']}, seed {described['seed']}, on {described['source']}")
    print(f"probability of {task} within {horizon} trading days, given the day's bar")
    print(f"(training base rate {described['base_rate']:.3f})")
    if described["understood"]:
        print(f"read {described['understood']}")
    for warning in described["warnings"]:
        print(f"warning: {warning}")
    for row in described["predictions"]:
        print(f"  {row['date']}  {row['probability']:.3f}")
    return Exit.OK


def _describe(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the predictions for the latest days, and what they were made from."""
    # torch takes seconds to import: a wrong flag and --help are answered before.
    import torch

    from study.data.dataset import data_fingerprint, understood_files, vix_of, vix_warnings
    from study.data.sources import load_prices
    from study.final.export import load_model, predict_days

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
    source = arguments.data or model.data.source
    config = replace(
        model.data,
        source=source,
        vix=arguments.vix or model.data.vix,
        accept=(*model.data.accept, *arguments.accept),
    )
    prices = load_prices(source, arguments.storage / "data", config.accept)
    vix = vix_of(config, arguments.storage / "data")
    dates, probability = predict_days(
        model, prices, arguments.days, device=torch.device("cpu"), vix=vix
    )
    return {
        "cell": model.cell,
        "seed": model.origin["seed"],
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
