"""Reads the runs of a winner on shares of the training days, with their predictions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from study.errors import StudyError, quoted, require
from study.results.finals.final_records import (
    FinalRecord,
    ShareRecord,
    read_predictions,
    read_share,
    share_folder,
    share_names,
)
from study.storage.layout import PREDICTIONS_FILE

_REMEDY = "Remove its folder and run study.train with the same --data-shares again."


@dataclass(frozen=True, kw_only=True)
class ShareRuns:
    """The runs of a winner on a share of the training days."""

    record: ShareRecord
    table: pd.DataFrame | None
    """Predictions of the runs; None if no seed has a usable result."""


def read_share_runs(
    folder: Path, final: FinalRecord, table: pd.DataFrame
) -> tuple[list[ShareRuns], list[str]]:
    """Return the runs on each share that have ended, and why others cannot be judged.

    Args:
        folder: the folder of the cell's final runs.
        final: their record.
        table: their predictions.
    """
    found: list[ShareRuns] = []
    problems: list[str] = []
    for name in share_names(folder):
        try:
            record = read_share(folder, name)
            if record is not None:
                own = _predictions(share_folder(folder, name), record, final, table)
                found.append(ShareRuns(record=record, table=own))
        except StudyError as error:
            problems.append(str(error))
    return sorted(found, key=lambda each: (each.record.choice, each.record.share)), problems


def _predictions(
    folder: Path, record: ShareRecord, final: FinalRecord, table: pd.DataFrame
) -> pd.DataFrame | None:
    """Return the predictions of the runs on a share; None if no seed has a usable result.

    Raises:
        StudyError: they are of another winner, cannot be read, or are of other days.
    """
    require(
        record.winner == final.winner,
        str(folder),
        f"must hold runs of the winner, trial {final.winner}",
        got=f"those of trial {record.winner}",
        remedy=_REMEDY,
        error=StudyError,
    )
    path = folder / PREDICTIONS_FILE
    if not record.is_usable or not path.exists():
        return None
    own = read_predictions(path)
    models = sorted(own["model"].unique())
    require(
        models == [final.model]
        and all(_has_days_of(own[own["seed"] == seed], table) for seed in own["seed"].unique()),
        str(path),
        f"must hold answers of {final.model} on the days of the runs on all training days",
        got=f"those of {quoted(models)} or of other days",
        remedy=_REMEDY,
        error=StudyError,
    )
    return own


def _has_days_of(own: pd.DataFrame, table: pd.DataFrame) -> bool:
    """Are these the test days, and their labels, of another table?"""
    days = [
        each[each["part"] == "test"][["date", "y"]].drop_duplicates().sort_values("date")
        for each in (own, table)
    ]
    return np.array_equal(days[0].to_numpy(), days[1].to_numpy())
