"""Writes what runs answer on the days that were held out, without any baseline beside them."""

from collections.abc import Sequence
from pathlib import Path

from study.final.answers.holdout_predictions import predict_runs
from study.final.answers.panel_answers import predict_panel
from study.final.run_plan import RunPlan
from study.final.searched_cell import SearchedCell
from study.results.finals.final_records import write_predictions
from study.results.finals.panel_predictions import write_panel_predictions
from study.results.records import TrialRecord


def write_answers(
    search: SearchedCell,
    plan: RunPlan,
    runs: Sequence[TrialRecord],
    runs_folder: Path,
    results: Path,
    file: Path,
) -> None:
    """Write what runs answer on the validation and test days.

    Args:
        search: the search of the winner.
        plan: how its runs were trained.
        runs: its runs that have a usable result; some seed has one of every fold.
        runs_folder: the folder of the runs.
        results: the results folder.
        file: the table that is written.
    """
    if search.finalist.cell.data.is_panel:
        ranked = predict_panel(search, plan, runs, runs_folder, results, with_baselines=False)
        write_panel_predictions(file, list(ranked.tables))
        return
    write_predictions(file, predict_runs(search, plan, runs, runs_folder, results))
