"""The file of curves, and its cells as curves that can be played."""

import math
from pathlib import Path

import pandas as pd

from study.errors import require
from study.results.scheduling.curves import Curve, usual_begins

CURVES = Path(__file__).parent / "curves.parquet"
"""The file: ``collect`` writes it, and its docstring says what a row has."""

_LATER = ("expected_seconds", "fresh_loss")
"""Columns that a file lacks if an earlier version of ``collect`` began it."""


def read_cells(path: Path) -> dict[str, list[Curve]]:
    """Return the curves of each cell of a file that ``collect`` has written.

    Raises:
        SpecError: there is no file.
    """
    require(
        path.is_file(),
        str(path),
        "must be the file of collected curves",
        got="no file",
        remedy="Collect them: python -m tests.bench.curves.collect --cells 20k:1 20k:3.",
    )
    frame = pd.read_parquet(path)
    frame["loss"] = frame["loss"].fillna(math.inf)
    for name in _LATER:
        frame[name] = frame.get(name, math.nan)
    return {str(name): _curves(rows) for name, rows in frame.groupby("cell", sort=False)}


def _curves(frame: pd.DataFrame) -> list[Curve]:
    trials = [trial.sort_values("epoch") for _, trial in frame.groupby("number")]
    firsts = [trial.iloc[0] for trial in trials]
    begins = usual_begins(
        [float(first["begin_seconds"]) for first in firsts],
        # The first trials of a search begin with their workers.
        [bool(first["number"] < first["at_once"]) for first in firsts],
    )
    return [
        Curve(
            number=int(first["number"]),
            group=str(first["budget"]),
            epochs=int(first["epochs"]),
            losses=tuple(trial["loss"].tolist()),
            scores=tuple(
                None if math.isinf(best) else best for best in trial["loss"].cummin().tolist()
            ),
            is_collapsed=tuple((trial["best_is_collapsed"] == True).tolist()),  # noqa: E712
            epoch_seconds=tuple(trial["seconds"].astype(float).tolist()),
            begin_seconds=begin,
            last_epoch=len(trial),
            epoch_cost=float(first["expected_seconds"]),
            fresh_loss=float(first["fresh_loss"]) if first["fresh_loss"] > 0 else None,
        )
        for trial, first, begin in zip(trials, firsts, begins, strict=True)
    ]
