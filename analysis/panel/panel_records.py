"""Everything that the final runs of a study's panel cells say, read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.panel.day_scores import DailyScores, DayScores, Portfolio, day_scores
from analysis.panel.epoch_terms import RunEpochs, read_run_epochs
from analysis.study_records import CellRecords, StudyRecords
from study.errors import StudyError, quoted, require
from study.names import RANKING
from study.results.finals.final_records import (
    ORACLE,
    FinalRecord,
    ShareRecord,
    read_final,
    read_share,
    share_folder,
    share_names,
)
from study.results.finals.panel_predictions import read_panel_predictions
from study.results.finals.variant_records import (
    VariantRecord,
    read_variant,
    variant_folder,
    variant_names,
)
from study.storage.layout import FINAL_FOLDER, PREDICTIONS_FILE, RECORD_FILE

_REMEDY = "Remove its folder below final/ and run study.train again."


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantRuns:
    """The runs of a winner with one setting changed."""

    record: VariantRecord
    test: DailyScores
    """Scores on the test days, which are those of the final runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShareRuns:
    """The runs of a winner on a share of the training days."""

    record: ShareRecord
    test: DailyScores
    """Scores on the test days, which are those of the final runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelCell:
    """One cell of a panel with final runs."""

    records: CellRecords
    final: FinalRecord
    portfolio: Portfolio
    test: DayScores
    """Scores of every model on the test days."""
    validation: DailyScores | None
    """Scores of the winner on the validation days, on which it was chosen; None without them."""
    epochs: Sequence[RunEpochs]
    """Epochs of its runs, of those whose reports are there."""
    variants: Sequence[VariantRuns]
    shares: Sequence[ShareRuns]
    """Runs on shares of the training days, below 1; smaller shares first."""
    problems: Sequence[str]
    """Reasons for which variants and shares that are there are not judged."""

    @property
    def label(self) -> str:
        """Label of the budget, and which search of it."""
        return self.records.label

    @property
    def horizon(self) -> int:
        """Horizon in trading days."""
        return self.records.horizon

    @property
    def own(self) -> DailyScores:
        """Scores of the winner on the test days."""
        return self.test.models[self.final.model]

    @property
    def baselines(self) -> dict[str, DailyScores]:
        """Scores of every baseline on the test days; the oracle of a simulated panel is none."""
        known = (self.final.model, ORACLE)
        return {name: own for name, own in self.test.models.items() if name not in known}


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelRecords:
    """The cells of a study of panels that have final runs, smaller budgets first."""

    study: StudyRecords
    cells: Sequence[PanelCell]
    problems: Sequence[str]
    """Reasons for which final runs, variants and shares that are there are not judged."""

    @property
    def horizons(self) -> list[int]:
        """Horizons with final runs, ascending."""
        return sorted({cell.horizon for cell in self.cells})

    def of_horizon(self, horizon: int) -> list[PanelCell]:
        """Return the cells of a horizon."""
        return [cell for cell in self.cells if cell.horizon == horizon]


def read_panel(results: Path, study: StudyRecords) -> PanelRecords:
    """Read the final runs of a study of panels.

    Args:
        results: the results folder.
        study: the study, as ``read_study`` finds it.
    """
    cells, problems = [], []
    for records in study.cells:
        folder = results / FINAL_FOLDER / records.name
        try:
            final = read_final(folder)
            if final is not None:
                cells.append(_read_cell(folder, records, final))
        except StudyError as error:
            # Other cells are none the worse.
            problems.append(str(error))
    problems += [problem for cell in cells for problem in cell.problems]
    return PanelRecords(study=study, cells=cells, problems=problems)


def _read_cell(folder: Path, records: CellRecords, final: FinalRecord) -> PanelCell:
    """Read one cell.

    Raises:
        StudyError: its predictions cannot be read, or hold no winner, or nothing beside it.
    """
    path = folder / PREDICTIONS_FILE
    require(
        final.task == RANKING,
        str(folder / RECORD_FILE),
        f"task must be {RANKING}, as that of the search",
        got=quoted(final.task),
        remedy=_REMEDY,
        error=StudyError,
    )
    portfolio = _portfolio(records)
    table = read_panel_predictions(path)
    test = day_scores(table, "test", records.name, portfolio)
    models = set() if test is None else set(test.models)
    require(
        final.model in models and len(models - {final.model, ORACLE}) > 0,
        str(path),
        f"must hold test days of {final.model} and of a baseline",
        got=quoted(sorted(models)),
        remedy="It is left out: some final run must have a usable result.",
        error=StudyError,
    )
    assert test is not None
    before = day_scores(table, "validation", records.name, portfolio, models=[final.model])
    variants, problems = _read_variants(folder, final, test, portfolio)
    shares, more_problems = _read_shares(folder, final, test, portfolio)
    return PanelCell(
        records=records,
        final=final,
        portfolio=portfolio,
        test=test,
        validation=None if before is None else before.models[final.model],
        epochs=read_run_epochs(folder, with_validation=final.with_validation),
        variants=variants,
        shares=shares,
        problems=[*problems, *more_problems],
    )


def _portfolio(records: CellRecords) -> Portfolio:
    """Return the portfolio of a cell, as the settings of its search have it.

    Raises:
        StudyError: they say nothing.
    """
    given = records.searched.get("spec", {}).get("data", {})
    missing = [name for name in ("portfolio_share", "cost_bps") if name not in given]
    require(
        not missing,
        records.name,
        "the settings of the search must say share and cost of its portfolios",
        got=f"no {' and no '.join(missing)}",
        remedy=_REMEDY,
        error=StudyError,
    )
    return Portfolio(
        horizon=records.horizon,
        share=float(given["portfolio_share"]),
        cost_basis_points=float(given["cost_bps"]),
    )


def _read_variants(
    folder: Path, final: FinalRecord, test: DayScores, portfolio: Portfolio
) -> tuple[list[VariantRuns], list[str]]:
    """Return the variants of a cell that have ended, and why others cannot be judged."""
    found: list[VariantRuns] = []
    problems: list[str] = []
    for name in variant_names(folder):
        try:
            record = read_variant(folder, name)
            if record is not None:
                own = _days_of(variant_folder(folder, name), record, final, test, portfolio)
                found.append(VariantRuns(record=record, test=own))
        except StudyError as error:
            problems.append(str(error))
    return found, problems


def _read_shares(
    folder: Path, final: FinalRecord, test: DayScores, portfolio: Portfolio
) -> tuple[list[ShareRuns], list[str]]:
    """Return the shares of a cell that have ended, and why others cannot be judged."""
    found: list[ShareRuns] = []
    problems: list[str] = []
    for name in share_names(folder):
        try:
            record = read_share(folder, name)
            if record is not None:
                own = _days_of(share_folder(folder, name), record, final, test, portfolio)
                found.append(ShareRuns(record=record, test=own))
        except StudyError as error:
            problems.append(str(error))
    return sorted(found, key=lambda each: (each.record.choice, each.record.share)), problems


def _days_of(
    folder: Path,
    record: VariantRecord | ShareRecord,
    final: FinalRecord,
    test: DayScores,
    portfolio: Portfolio,
) -> DailyScores:
    """Return the daily scores of a variant or a share on the test days.

    Raises:
        StudyError: it is of another winner, or has other days, or no seed of a final run.
    """
    path = folder / PREDICTIONS_FILE
    days = day_scores(read_panel_predictions(path), "test", str(path), portfolio)
    own = None if days is None else days.models.get(final.model)
    seeds = set() if own is None else set(own.seeds) & set(test.models[final.model].seeds)
    is_same = days is not None and np.array_equal(days.dates, test.dates)
    require(
        record.winner == final.winner and is_same and len(seeds) > 0,
        str(path),
        f"must hold test days of trial {final.winner}, at seeds of its final runs",
        got=f"those of trial {record.winner}, "
        f"{'the same' if is_same else 'other'} days, {len(seeds)} common seeds",
        remedy="Remove its folder and repeat the command that trained it.",
        error=StudyError,
    )
    assert own is not None
    return own
