"""Reads the final runs of a winner on one asset, with what their predictions must hold."""

from collections import Counter
from pathlib import Path

import pandas as pd

from study.errors import StudyError, quoted, require
from study.results.finals.final_records import (
    ORACLE,
    FinalRecord,
    read_final,
    read_predictions,
)
from study.storage.layout import PREDICTIONS_FILE


def read_final_runs(folder: Path) -> tuple[FinalRecord | None, pd.DataFrame | None]:
    """Return what there is of a winner's runs: None twice if they have not ended.

    Raises:
        StudyError: a record cannot be read, no run has a usable result, or there is nothing that a
            winner is compared with.
    """
    final, path = read_final(folder), folder / PREDICTIONS_FILE
    if final is None:
        return None, None
    table = read_predictions(path)
    ends = Counter(run.reason for run in final.runs)
    require(
        final.model in _models(table, "test"),
        folder.name,
        "some final run must have a usable result, or nothing is said of its test days",
        got=", ".join(f"{n} {reason}" for reason, n in sorted(ends.items())),
        remedy="It is left out.",
        error=StudyError,
    )
    _require_rivals(final, table, path)
    _require_both_labels(table, path)
    return final, table


def _require_rivals(final: FinalRecord, table: pd.DataFrame, path: Path) -> None:
    """Refuse predictions in which what a winner is compared with is missing.

    Raises:
        StudyError: there is no baseline, or one on the days of one part alone.
    """
    own = {final.model, ORACLE}
    baselines = [set(_models(table, part)) - own for part in ("validation", "test")]
    require(
        bool(baselines[0]) and baselines[0] == baselines[1],
        str(path),
        "must hold the same baselines on validation and test days",
        got=quoted([sorted(names) for names in baselines]),
        remedy="Remove its folder below final/ and run study.train again.",
        error=StudyError,
    )


def _require_both_labels(table: pd.DataFrame, path: Path) -> None:
    """Refuse days with one kind of label alone, on which no skill and no AUC is defined.

    Raises:
        StudyError: all labels of a part are 0, or all are 1.
    """
    for part, own in table.groupby("part", sort=False):
        kinds = own["y"].unique()
        require(
            len(kinds) > 1,
            str(path),
            f"{part} days must have days with a positive and days with a negative label",
            got=f"{own['date'].nunique()} days, all with label {kinds[0]}",
            remedy="It is left out: give a longer history, or a task whose answer varies more.",
            error=StudyError,
        )


def _models(table: pd.DataFrame, part: str) -> list[str]:
    return list(table.loc[table["part"] == part, "model"].unique())
