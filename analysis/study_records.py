"""Everything that the records of a study say, read once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.statistics.floats import Floats
from analysis.tables.final_runs import read_final_runs
from analysis.tables.share_predictions import ShareRuns, read_share_runs
from study.errors import StudyError, quoted, require
from study.names import RANKING
from study.results.finals.final_records import (
    CONSTANT,
    FinalRecord,
    final_name,
)
from study.results.records import TrialRecord, ranked
from study.results.store import read_cell, read_trials
from study.storage.driver_status import is_search_complete
from study.storage.layout import CELL_FILE, FINAL_FOLDER, SEARCH_SUFFIX
from study.text.short_forms import of_search


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """Probabilities of several models for the same days of one part."""

    dates: np.ndarray
    """Days of the predictions, datetime64[D], ascending, shape (n_days,)."""
    y: Floats
    """Labels, 0 or 1, shape (n_days,)."""
    p: Mapping[str, Floats]
    """Probabilities by model, shape (n_seeds, n_days)."""

    def losses(self, model: str) -> Floats:
        """Return the log-loss of every day, nats, shape (n_seeds, n_days)."""
        p = self.p[model]
        return np.asarray(-np.where(self.y == 1, np.log(p), np.log1p(-p)))

    def between(self, first: str, last: str) -> "Predictions":
        """Return the predictions of the days from ``first`` to ``last``, both ISO dates."""
        inside = (self.dates >= np.datetime64(first)) & (self.dates <= np.datetime64(last))
        return Predictions(
            dates=self.dates[inside],
            y=self.y[inside],
            p={name: own[:, inside] for name, own in self.p.items()},
        )

    def train_prior(self, otherwise: float) -> Floats:
        """Return the base rate of the training days for every day, shape (n_days,).

        Walking forward, each fold has its own, which is what the constant answers.

        Args:
            otherwise: the rate where there is no such baseline.
        """
        answers = self.p.get(CONSTANT)
        return np.full(len(self.y), otherwise) if answers is None else answers[0]


@dataclass(frozen=True, kw_only=True)
class CellRecords:
    """One cell: its search, and its final runs if there are any."""

    name: str
    """Name of its final runs: a search across budgets has a cell for each of them."""
    search: str
    """Name of the search, which all of its cells share."""
    budget: str
    """Label of the cell's budget."""
    searched: Mapping[str, Any]
    """Content of cell.yaml."""
    trials: Sequence[TrialRecord]
    """Ended trials of this budget."""
    n_ended: int
    """Number of ended trials of the whole search."""
    is_complete: bool
    """Has every trial of the search ended?"""
    final: FinalRecord | None
    table: pd.DataFrame | None
    """Predictions of the final runs and the baselines; None without any."""
    final_problem: str | None
    """Reason for which final runs that are there are not judged."""
    shares: Sequence[ShareRuns] = ()
    """Runs of the winner on shares of the training days."""
    share_problems: Sequence[str] = ()
    """Reasons for which runs on shares that are there are not judged."""

    @property
    def model(self) -> str:
        """Family of the winner, by which its runs are known among the predictions."""
        assert self.final is not None
        return self.final.model

    @property
    def search_number(self) -> int:
        """Number of the search among the independent ones of its budget, from 1."""
        return int(self.searched.get("search_number", 1))

    @property
    def label(self) -> str:
        """Label of the budget, and which further search of it, as a reader knows it."""
        return of_search(self.budget, self.search_number)

    @property
    def budget_parameters(self) -> int:
        """Number of parameters that the label stands for."""
        budgets = self.searched["spec"]["budgets"]
        return int(next(b["target"] for b in budgets if b["label"] == self.budget))

    @property
    def horizon(self) -> int:
        """Horizon in trading days."""
        return int(self.searched["horizon"])

    @property
    def is_panel(self) -> bool:
        """Is it a cell of a panel, whose final runs ``analysis.panel`` reads?"""
        return _is_panel(self.searched)

    @property
    def source(self) -> str:
        """Name of the market."""
        return str(self.searched["source"])

    @cached_property
    def rankable(self) -> list[TrialRecord]:
        """Trials with a usable result, the best first."""
        return ranked(self.trials)

    def predictions(self, part: str) -> Predictions:
        """Return the predictions for the days of a part, every model on the same days.

        Raises:
            StudyError: the models speak of different days.
        """
        assert self.table is not None
        return predictions_of(self.table, part, self.name)


def predictions_of(table: pd.DataFrame, part: str, where: str) -> Predictions:
    """Return the predictions in a table for the days of a part, every model on the same days.

    Args:
        table: as ``read_predictions`` returns it.
        part: validation or test.
        where: what the table is of, as messages name it.

    Raises:
        StudyError: the models speak of different days.
    """
    rows = table[table["part"] == part]
    p: dict[str, list[Floats]] = {}
    dates, y = np.empty(0), np.empty(0)
    for (model, _), own in rows.groupby(["model", "seed"], dropna=False, sort=False):
        own = own.sort_values("date")
        days, labels = own["date"].to_numpy(), own["y"].to_numpy(np.float64)
        if not p:
            dates, y = days, labels
        require(
            np.array_equal(days, dates) and np.array_equal(labels, y),
            where,
            "every model must have been asked about the same days",
            got=f"other days or labels of {quoted(model)}",
            remedy="Remove its folder below final/ and run study.train again.",
            error=StudyError,
        )
        p.setdefault(str(model), []).append(own["p"].to_numpy(np.float64))
    return Predictions(
        dates=dates.astype("datetime64[D]"),
        y=y,
        p={model: np.stack(seeds) for model, seeds in p.items()},
    )


def cells_or_cases(cells: Sequence[CellRecords]) -> str:
    """Return the word for what is counted: cells, or cases if one was searched several times."""
    n_cells = len({(cell.budget, cell.horizon) for cell in cells})
    return "cells" if n_cells == len(cells) else "cases"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRecords:
    """The cells of one study on one market and task, smaller budgets first."""

    name: str
    variant: str
    """Task and, if it is not the S&P 500, market, as in the names of cells."""
    cells: Sequence[CellRecords]
    problems: Sequence[str]
    """Searches that could not be read."""
    other_phases: Sequence[str]
    """Names of other phases of the same study, each with a report of its own."""

    @property
    def is_panel(self) -> bool:
        """Is it a study of a panel, whose assets are ranked?"""
        return self.cells[0].is_panel

    @property
    def searches(self) -> list[CellRecords]:
        """Return a cell of each search: one across budgets has several."""
        return list({cell.search: cell for cell in self.cells}.values())

    @property
    def trials(self) -> list[TrialRecord]:
        """Return the ended trials of all cells."""
        return [trial for cell in self.cells for trial in cell.trials]

    def of_search(self, name: str) -> list[CellRecords]:
        """Return the cells of a search."""
        return [cell for cell in self.cells if cell.search == name]

    @property
    def horizons(self) -> list[int]:
        """Horizons in trading days, ascending."""
        return sorted({cell.horizon for cell in self.cells})

    def of_horizon(self, horizon: int) -> list[CellRecords]:
        """Return the cells of a horizon."""
        return [cell for cell in self.cells if cell.horizon == horizon]


_NEEDED = ("study", "phase", "horizon", "trials", "source", "data_sha256", "splits", "spec")
"""Keys of cell.yaml that a report is made of."""


def _budgets(searched: Mapping[str, Any], folder: Path) -> list[str]:
    """Return the labels of a search's budgets.

    Raises:
        StudyError: the search is of another version.
    """
    require(
        bool(searched["spec"].get("budgets")),
        str(folder / CELL_FILE),
        "must be of this version",
        got="no budgets",
        remedy="Search again: old results cannot be read by this version.",
        error=StudyError,
    )
    return [str(budget["label"]) for budget in searched["spec"]["budgets"]]


def _read_cell(results: Path, folder: Path) -> list[CellRecords]:
    """Return what there is of a search, apart for each of its budgets.

    Raises:
        StudyError: a record cannot be read, or says nothing that can be judged.
        OSError: a folder cannot be looked into.
    """
    searched = read_cell(folder, *_NEEDED)
    trials, budgets = read_trials(folder), _budgets(searched, folder)
    is_panel = _is_panel(searched)
    if not is_panel:
        _require_prior(searched, folder)
    is_complete = is_search_complete(folder, len(trials), searched["trials"])
    found = []
    for budget in budgets:
        name = final_name(folder.name, budget, len(budgets))
        final, table, problem = None, None, None
        shares: list[ShareRuns] = []
        share_problems: list[str] = []
        try:
            if not is_panel:
                final, table = read_final_runs(results / FINAL_FOLDER / name)
            if final is not None and table is not None:
                shares, share_problems = read_share_runs(
                    results / FINAL_FOLDER / name, final, table
                )
        except StudyError as error:
            # The search's own records, and its other budgets, are none the worse.
            problem = str(error)
        found.append(
            CellRecords(
                name=name,
                search=folder.name,
                budget=budget,
                searched=searched,
                trials=[trial for trial in trials if trial.budget == budget],
                n_ended=len(trials),
                is_complete=is_complete,
                final=final,
                table=table,
                final_problem=problem,
                shares=shares,
                share_problems=share_problems,
            )
        )
    return found


def _is_panel(searched: Mapping[str, Any]) -> bool:
    return bool(searched.get("task") == RANKING)


def _require_prior(searched: Mapping[str, Any], folder: Path) -> None:
    """Refuse training days with labels of one kind alone.

    Raises:
        StudyError: the base rate is 0 or 1.
    """
    prior = searched["splits"]["train"]["base_rate"]
    require(
        0 < prior < 1,
        str(folder / CELL_FILE),
        "splits: train: base_rate must lie between 0 and 1",
        got=quoted(prior),
        remedy="Mend it with --resume.",
        error=StudyError,
    )


def _unreadable(problems: Sequence[str]) -> str:
    return f" (and {len(problems)} that cannot be read: {problems[0]})" if problems else ""


def _cells_by_study(
    results: Path,
) -> tuple[dict[tuple[str, str, str], list[CellRecords]], list[str]]:
    """Return the cells of each study, and why others cannot be read.

    A study has the name in its file with its phase, the budgets that a search goes across (empty
    if its searches have one each), and its task and market.
    """
    cells: dict[tuple[str, str, str], list[CellRecords]] = {}
    problems: list[str] = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        try:
            if not (folder / CELL_FILE).exists():
                continue
            found = _read_cell(results, folder)
        except StudyError as error:
            problems.append(str(error))
            continue
        except OSError as error:
            problems.append(f"{folder}: must be a folder that you may read: {error.strerror}.")
            continue
        searched = found[0].searched
        # Cells of other tasks or markets have other days and labels: they are studies of their own.
        _, _, variant = folder.name.partition(f"_h{searched['horizon']}_")
        if found[0].search_number > 1:
            # Further searches of a cell belong to the study of the first one.
            variant = variant.removesuffix(f"{SEARCH_SUFFIX}{found[0].search_number}")
        # Two phases search the same budgets in other ways, and so do searches across other budgets.
        phase, name_there = searched["phase"], searched["study"]
        study = name_there if phase is None else f"{name_there}-{phase}"
        across = "" if len(found) == 1 else f"_{'-'.join(cell.budget for cell in found)}"
        cells.setdefault((study, across, variant), []).extend(found)
    return cells, problems


def read_study(results: Path, name: str | None) -> StudyRecords:
    """Read the cells of a study.

    Args:
        results: the results folder.
        name: of the study; None takes the only one that there is.

    Raises:
        StudyError: there is none, or there are several and none was named.
    """
    require(
        results.is_dir(),
        "--storage",
        "must be a results folder",
        got=quoted(str(results)),
        remedy="Give the folder that study.sweep wrote into.",
        error=StudyError,
    )
    cells, problems = _cells_by_study(results)
    labels = {key: (key[0], f"{key[0]}_{key[2]}", f"{key[0]}{key[1]}_{key[2]}") for key in cells}
    chosen = [key for key, names in labels.items() if name is None or name in names]
    require(
        len(chosen) == 1,
        str(results),
        "must hold the study that is asked for" if name else "must hold one study",
        got=f"{'none named' if name is None else quoted(name)}; there are "
        f"{', '.join(sorted(names[-1] for names in labels.values())) or 'none'}"
        + _unreadable(problems),
        remedy="Name one with --study."
        if cells
        else "Mend what cannot be read."
        if problems
        else "Run study.sweep first.",
        error=StudyError,
    )
    (key,) = chosen
    ordered = sorted(
        cells[key], key=lambda c: (c.budget_parameters, c.horizon, c.search_number, c.name)
    )
    same = ordered[0].searched["study"]
    return StudyRecords(
        name=key[0],
        variant=key[2],
        cells=ordered,
        problems=problems,
        other_phases=[
            names[-1]
            for other, names in labels.items()
            if other != key and other[2] == key[2] and cells[other][0].searched["study"] == same
        ],
    )
