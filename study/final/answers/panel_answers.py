"""Scores that final runs and baselines give to a panel's assets on the days that were held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from study.data.arrays import IndexArray, SampleArray
from study.data.data_config import DataConfig
from study.data.panel.panel import MaskArray
from study.data.panel.panel_baselines import SeenPanel, panel_baseline_scores
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_holdout import PanelHoldout, open_panel_holdout
from study.final.run_plan import RunPlan
from study.final.searched_cell import SearchedCell
from study.results.finals.final_records import ORACLE
from study.results.finals.panel_predictions import panel_rows
from study.results.records import TrialRecord
from study.search.space import TrialConfig
from study.storage.layout import CHECKPOINTS_FOLDER
from study.training.checkpoint import CheckpointFolder
from study.training.device import is_present, resolve_device
from study.training.panel.panel_prediction import predict_scores


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelAnswers:
    """Scores of the final runs of a panel's cell and of its baselines."""

    tables: Sequence[pd.DataFrame]
    """Rows of the runs of every seed that has one of each fold, then those of the baselines and, of
    a simulated panel, of the best possible scores."""
    of_runs: Mapping[str, pd.DataFrame]
    """Rows of each run for the days of its own fold, by trial id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _OpenedFold:
    """A fold of the test days, or all of them, with its own validation days."""

    data: PanelDataset
    holdout: PanelHoldout

    def days(self, parts: Sequence[str]) -> IndexArray:
        """Return the rows of the days of parts, one after the other."""
        own = {"validation": self.holdout.validation_days, "test": self.holdout.test_days}
        return np.concatenate([own[part] for part in parts])

    def rows(
        self, model: str, seed: int | None, scores: SampleArray, parts: Sequence[str]
    ) -> pd.DataFrame:
        """Return the rows of a model, given its scores on the days of parts, (n, n_assets)."""
        ends = np.cumsum([len(self.days([part])) for part in parts])
        tables = [
            panel_rows(
                model,
                seed,
                part,
                self.holdout.dates[self.days([part])],
                self.data.assets,
                own,
                self.holdout.returns[self.days([part])],
                self.labelled(self.days([part])),
            )
            for part, own in zip(parts, np.split(scores, ends[:-1]), strict=True)
        ]
        return _joined(tables)

    def labelled(self, days: IndexArray) -> MaskArray:
        """Return which assets of the days are ranked and have a return, (n, n_assets)."""
        known = np.isfinite(self.holdout.returns[days])
        mask: MaskArray = self.holdout.present[days] & known
        return mask

    def baselines(self, parts: Sequence[str]) -> dict[str, SampleArray]:
        """Return the scores of the baselines, and the best possible ones if known, by name."""
        holdout, days = self.holdout, self.days(parts)
        first = len(holdout.panel.dates) - len(holdout.dates)
        seen = SeenPanel(
            inputs=holdout.inputs.values,
            present=holdout.present,
            closes=holdout.panel.close,
        )
        found = panel_baseline_scores(self.data, days, seen)
        oracle = holdout.panel.oracle.get(self.data.horizon)
        if oracle is not None:
            found[ORACLE] = oracle[first:][days].astype(np.float32)
        return found


def predict_panel(
    search: SearchedCell,
    plan: RunPlan,
    runs: Sequence[TrialRecord],
    runs_folder: Path,
    results: Path,
    *,
    with_baselines: bool = True,
) -> PanelAnswers:
    """Open the test days of a panel and return the scores of the runs and of the baselines there.

    The baselines of a fold are fitted on the training days of its runs.

    Args:
        search: the search of the winner.
        plan: how its runs were trained.
        runs: its runs that have a usable result.
        runs_folder: the folder of the runs.
        results: the results folder.
        with_baselines: are the baselines wanted?
    """
    config = search.finalist.cell.data
    own: dict[str, pd.DataFrame] = {}
    baselines: list[pd.DataFrame] = []
    parts = ("validation", "test") if plan.holds_out_validation else ("test",)
    for number, data in enumerate(plan.folds):
        assert isinstance(data, PanelDataset)
        fold = number if search.data.n_folds > 1 else None
        opened = _open(config, data, results, fold)
        for run in runs:
            if plan.fold_of(run.number) == number:
                scores = _scores_of(run, runs_folder, opened, opened.days(parts))
                family = str(run.params["family"])
                own[run.trial_id] = opened.rows(family, run.seed, scores, parts)
        if with_baselines:
            # Validation days are those that the search saw.
            shown = parts if number == 0 else ("test",)
            baselines += [
                opened.rows(name, None, scores, shown)
                for name, scores in opened.baselines(shown).items()
            ]
    seeds = [_of_series(series, own) for series in plan.whole_series(runs)]
    return PanelAnswers(tables=[*seeds, *baselines], of_runs=own)


def _open(config: DataConfig, data: PanelDataset, results: Path, fold: int | None) -> _OpenedFold:
    holdout = open_panel_holdout(config, data, import_folder=results / "data", fold=fold)
    return _OpenedFold(data=data, holdout=holdout)


def _scores_of(run: TrialRecord, runs: Path, opened: _OpenedFold, days: IndexArray) -> SampleArray:
    """Return the scores of the network of a run for the horizon of its cell, (n, n_assets)."""
    state = CheckpointFolder(runs / run.folder / CHECKPOINTS_FOLDER).load_best()
    # Another machine, with another device, may have trained it.
    name = run.device if run.device is not None and is_present(run.device) else "cpu"
    scores = predict_scores(
        TrialConfig.from_flat(run.params).model,
        state["weights"],
        opened.holdout.inputs.values,
        opened.holdout.present,
        opened.data.sectors,
        days,
        device=resolve_device(0.0, name),
    )
    return scores[..., 0]


def _of_series(series: Sequence[TrialRecord], own: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of the runs of one seed, one of each fold, under the first one's."""
    first, *later = (own[run.trial_id] for run in series)
    tables = [first, *(table[table["part"] == "test"] for table in later)]
    return _joined(tables).assign(seed=first["seed"].iloc[0])


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables one below the other; texts of different categories become plain."""
    return pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
