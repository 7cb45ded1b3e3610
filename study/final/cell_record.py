"""The record of a cell's final runs: what was chosen, what was trained, and on which days."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.data.data_config import DataConfig
from study.data.inputs import STANDARDISED
from study.data.panel.panel_dataset import PanelDataset
from study.final.candidates import Candidate
from study.final.run_plan import RunPlan
from study.final.searched_cell import SearchedCell
from study.planning.cell_series import AnyDataset
from study.results.finals.final_records import FinalRecord, RunRecord, SelectionRecord
from study.results.finals.fold_records import FoldRecord
from study.results.provenance import commit, versions
from study.results.records import TrialRecord
from study.search.edges import searched_edges
from study.text.short_forms import architecture


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The trials that were trained again with fresh seeds, and the best of them."""

    candidates: Sequence[Candidate]
    best: Candidate


@dataclass(frozen=True, kw_only=True, slots=True)
class WinnerRuns:
    """The winner, trained with more fresh seeds."""

    plan: RunPlan
    folder: Path
    records: Sequence[TrialRecord]

    @property
    def usable(self) -> list[TrialRecord]:
        """The runs that have a result; one that collapsed answers for the days of its fold."""
        may_collapse = len(self.plan.folds) > 1
        return [
            record
            for record in self.records
            if record.is_rankable or (may_collapse and record.reason == "collapsed")
        ]


def final_record(
    search: SearchedCell, selection: Selection, runs: WinnerRuns, opened: str
) -> FinalRecord:
    """Return the record of a cell's final runs.

    Args:
        search: the search of the winner.
        selection: the trials among which it was chosen.
        runs: its runs.
        opened: UTC time at which test labels were first read.
    """
    finalist, trial, data = search.finalist, selection.best.trial, search.data
    cell = finalist.cell
    assert trial.value is not None
    return FinalRecord(
        cell=finalist.name,
        study=cell.study,
        budget=finalist.budget.label,
        budget_parameters=finalist.budget.target,
        horizon=cell.data.horizon,
        task=cell.data.task,
        source=cell.data.source,
        data_sha256=data.fingerprint,
        feature_hash=data.feature_hash,
        commit=commit(),
        versions=versions(),
        search_number=cell.search_number,
        metric=cell.search.metric,
        winner=trial.number,
        params=trial.params,
        param_count=trial.param_count,
        search_value=trial.value,
        selection=[_selection_record(candidate) for candidate in selection.candidates],
        runs=[
            RunRecord.of(record, fold=runs.plan.fold_of(record.number)) for record in runs.records
        ],
        folds=[_fold_record(data, cell.data) for data in runs.plan.folds]
        if data.n_folds > 1
        else [],
        splits=search.described["splits"],
        search=search.end,
        edges=searched_edges(trial.params, finalist.ranges, search.described, search.records),
        differences=list(search.differences),
        test_opened=opened,
        with_validation=not runs.plan.holds_out_validation,
    )


def _fold_record(data: AnyDataset, config: DataConfig) -> FoldRecord:
    # A refit has learnt from the validation days too, of which the summary of a part knows nothing.
    days = data.dates[data.train_days]
    moved_most = max(data.shift, key=lambda name: abs(data.shift[name]))
    return FoldRecord(
        first_train_day=str(days[0]),
        last_train_day=str(days[-1]),
        n_train=len(days),
        n_validation=data.splits["validation"].rows,
        first_test_day=data.splits["test"].first_day,
        last_test_day=data.splits["test"].last_day,
        n_test=data.splits["test"].rows,
        first_validation_day=data.splits["validation"].first_day,
        last_validation_day=data.splits["validation"].last_day,
        largest_shift=data.shift[moved_most],
        largest_shift_input=moved_most,
        max_shift=config.max_shift if config.normalization in STANDARDISED else None,
        **_positives(data),
    )


def _positives(data: AnyDataset) -> dict[str, Any]:
    """Return the fields of a fold's record that speak of positives, of which a panel has none."""
    if isinstance(data, PanelDataset):
        return {"base_rate": None}
    return {
        "base_rate": data.base_rate,
        "train_positives": int(data.labels[data.train_days].sum()),
        "validation_positives": data.splits["validation"].positives,
        "test_positives": data.splits["test"].positives,
    }


def _selection_record(candidate: Candidate) -> SelectionRecord:
    trial = candidate.trial
    assert trial.value is not None
    return SelectionRecord(
        trial=trial.number,
        search_value=trial.value,
        values=[record.value for record in candidate.again if record.value is not None],
        n_asked=candidate.n_asked,
        mean_value=candidate.mean_value,
        architecture=architecture(trial.params),
    )
