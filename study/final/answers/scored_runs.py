"""Writes a winner's runs into the table of all runs, with their scores on the test days."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from study.data.evaluation.probability_scores import auc
from study.results.finals.panel_predictions import days_by_assets
from study.results.records import TrialRecord
from study.results.scores import HoldoutScores, PanelHoldoutScores
from study.results.store import CellStore
from study.search.cell_folder import identity_in_records
from study.spec.specification import Cell
from study.statistics.rank_scores import daily_rank_ic


def write_scored_runs(
    cell: Cell, folder: Path, records: Sequence[TrialRecord],
    scores: Mapping[str, HoldoutScores | PanelHoldoutScores], fingerprint: str, results: Path, *,
    n_folds: int,
) -> None:  # fmt: skip
    """Write the rows of a winner's runs, those of their folder included.

    Args:
        cell: the cell that was searched, with the winner's budget alone.
        folder: the folder of the runs.
        records: the runs.
        scores: the scores of each usable run on the test days, by trial id.
        fingerprint: sha256 of the prices.
        results: the results folder.
        n_folds: number of folds of test days; 1 where days are cut by shares.
    """
    identity = identity_in_records(cell, fingerprint)
    CellStore(folder, identity, n_folds=n_folds).write_final_runs(records, scores, results)


def test_scores(answers: pd.DataFrame) -> HoldoutScores:
    """Return the scores of a run's predictions on the test days."""
    days = answers[answers["part"] == "test"]
    p, y = days["p"].to_numpy(np.float64), days["y"].to_numpy(np.float64)
    return HoldoutScores(
        accuracy=float(np.mean((p >= 0.5) == (y == 1))),
        loss=float(-np.mean(np.where(y == 1, np.log(p), np.log1p(-p)))),
        auc=auc(p, y),
    )


def panel_test_scores(rows: pd.DataFrame) -> PanelHoldoutScores:
    """Return the scores of a run's rows on the test days of a panel."""
    days = rows[rows["part"] == "test"]
    return PanelHoldoutScores(rank_ic=float(np.nanmean(daily_rank_ic(*days_by_assets(days)))))
