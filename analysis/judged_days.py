"""The days on which probabilities are judged: those of a study, or of a table."""

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.statistics.comparison import Pair, pairs_of
from analysis.statistics.day_resampling import DaySamples, resampled_days
from analysis.statistics.floats import Floats
from analysis.study_records import (
    CellRecords,
    Predictions,
    predictions_of,
    read_study,
)
from study.errors import StudyError, quoted, require
from study.results.finals.final_records import CONSTANT, LOGISTIC, ORACLE, read_predictions


@dataclass(frozen=True, kw_only=True, slots=True)
class Days:
    """The days of a part with the labels, and what models are compared with there."""

    study: str
    """Name of the study, or the table that is in its place."""
    horizon: int
    part: str
    predictions: Predictions
    """Labels and probabilities of winners, by budget, and of baselines on all days of the part."""
    models: Sequence[str]
    """Names among the predictions, winners first."""
    baselines: Sequence[str]
    """Baselines, with each of which the models of a file are compared, as with each winner."""
    winners: Sequence[str]
    train_prior: Floats
    """Base rate of the training days, for each day, shape (n_days,)."""
    other_part: str
    other_dates: np.ndarray
    """Days of the other part, datetime64[D]."""


def read_days(arguments: argparse.Namespace) -> Days:
    """Return the days that the flags of the command name.

    Raises:
        StudyError: there are none, or there are several kinds and none is named.
    """
    study, storage, against = arguments.study, arguments.storage, arguments.against
    if against is not None:
        require(
            study is None,
            "--against",
            "must stand without --study",
            got=f"--study {quoted(study)}",
            remedy="Leave one of them out.",
        )
        return _days_of_table(against, arguments.horizon, arguments.part)
    return _days_of_study(storage, study, arguments.horizon, arguments.part)


def _days_of_table(path: Path, horizon: int | None, part: str) -> Days:
    require(
        horizon is not None and horizon >= 1,
        "--horizon",
        "must be given with --against, a whole number of days from 1",
        got="none" if horizon is None else str(horizon),
        remedy="Give that of the labels in the table: it sets how long blocks of days are.",
    )
    assert horizon is not None
    require(
        path.is_file(),
        "--against",
        "must be a table of predictions",
        got=f"{quoted(str(path))}, which is no file",
        remedy="Give predictions.parquet of a cell below final/, or a file of final/baselines.",
        error=StudyError,
    )
    table = read_predictions(path)
    validation, predictions = (
        predictions_of(table, each, path.name) for each in ("validation", part)
    )
    has_seed = set(table.loc[table["seed"].notna(), "model"])
    baselines = [name for name in predictions.p if name not in has_seed and name != ORACLE]
    require(
        CONSTANT in baselines and set(baselines) <= set(validation.p),
        path.name,
        f"must hold baselines on validation and {part} days, {CONSTANT} among them",
        got=quoted(sorted(baselines)),
        remedy="Give a file that study.train wrote.",
        error=StudyError,
    )
    winners = [name for name in predictions.p if name in has_seed]
    return Days(
        study=path.name,
        horizon=horizon,
        part=part,
        predictions=predictions,
        models=[*winners, *(name for name in predictions.p if name not in has_seed)],
        baselines=baselines,
        winners=winners,
        train_prior=predictions.p[CONSTANT][0],
        other_part=_other(part),
        other_dates=predictions_of(table, _other(part), path.name).dates,
    )


def _days_of_study(results: Path, name: str | None, horizon: int | None, part: str) -> Days:
    study = read_study(results, name)
    trained = [cell for cell in study.cells if cell.final is not None]
    there = sorted({cell.horizon for cell in trained})
    title = f"{study.name}_{study.variant}"
    require(
        not study.is_panel,
        title,
        "must be a study of one market, whose days have labels for probabilities",
        got="that of a panel",
        remedy="Name another one with --study.",
        error=StudyError,
    )
    require(
        bool(trained),
        title,
        "must have final runs, whose records have the labels of the days",
        got="none",
        remedy="Run study.train first.",
        error=StudyError,
    )
    require(
        horizon in there or (horizon is None and len(there) == 1),
        "--horizon",
        f"must be one with final runs: {', '.join(map(str, there))}",
        got="none" if horizon is None else str(horizon),
        remedy="Name the one for which the probabilities are.",
        error=StudyError,
    )
    cells = [cell for cell in trained if horizon is None or cell.horizon == horizon]
    first = cells[0]
    predictions, winners = _beside_each_other(cells, part)
    return Days(
        study=title,
        horizon=first.horizon,
        part=part,
        predictions=predictions,
        models=[*winners, *(model for model in predictions.p if model not in winners)],
        baselines=[name for name in predictions.p if name not in {*winners, ORACLE}],
        winners=winners,
        train_prior=predictions.train_prior(float(first.searched["splits"]["train"]["base_rate"])),
        other_part=_other(part),
        other_dates=first.predictions(_other(part)).dates,
    )


def same_days(cells: Sequence[CellRecords], part: str) -> list[Predictions]:
    """Return the predictions of each cell for a part, whose days are the same for all of them.

    Raises:
        StudyError: two cells have different days or labels.
    """
    found = [cell.predictions(part) for cell in cells]
    for cell, own in zip(cells, found, strict=True):
        require(
            np.array_equal(own.dates, found[0].dates) and np.array_equal(own.y, found[0].y),
            cell.name,
            f"must have the days of {cells[0].name}",
            got=f"other {part} days",
            remedy="Name a study whose cells have the same days with --study, or remove the one "
            "with other settings of its days below final/ and run study.train again.",
            error=StudyError,
        )
    return found


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HorizonDays:
    """The test days of a horizon, and what its winners and baselines lose on them."""

    horizon: int
    records: Sequence[CellRecords]
    tests: Sequence[Predictions]
    """Predictions of each cell for the test days."""
    samples: DaySamples
    """Samples of the days."""

    @classmethod
    def of(cls, horizon: int, records: Sequence[CellRecords]) -> "HorizonDays":
        """Read the predictions of cells of one horizon.

        Raises:
            StudyError: two cells have different test days.
        """
        tests = same_days(records, "test")
        samples = resampled_days(len(tests[0].y), horizon)
        return cls(horizon=horizon, records=records, tests=tests, samples=samples)

    @property
    def winners(self) -> dict[str, Floats]:
        """Daily losses of the winners, by budget."""
        return {
            cell.label: test.losses(cell.model)
            for cell, test in zip(self.records, self.tests, strict=True)
        }

    @property
    def baselines(self) -> dict[str, Floats]:
        """Daily losses of the baselines."""
        return _baseline_losses(self.records[0], self.tests[0])

    def pairs(self) -> dict[str, list[Pair]]:
        """Return by budget the pairs of its winner with every baseline of its own record."""
        found: dict[str, list[Pair]] = {}
        draw = np.random.default_rng(0)
        for cell, test in zip(self.records, self.tests, strict=True):
            own = {cell.label: test.losses(cell.model)}
            found |= pairs_of(own, _baseline_losses(cell, test), self.samples, draw)
        return found

    def mean_pairs(self) -> dict[tuple[str, str], list[Pair]]:
        """Return by budget and name the pairs of means of probabilities with every baseline.

        The mean over the seeds of each winner that has several and, where there is logistic
        regression, the mean of that and its probability. They are as they were trained: no other
        seeds are drawn.
        """
        found: dict[tuple[str, str], list[Pair]] = {}
        draw = np.random.default_rng(0)
        for cell, test in zip(self.records, self.tests, strict=True):
            seeds = test.p[cell.model]
            if len(seeds) < 2:
                continue
            name = f"{cell.label}, mean of {len(seeds)} seeds"
            means = {name: seeds.mean(axis=0, keepdims=True)}
            if LOGISTIC in test.p:
                means[f"{name} and {LOGISTIC}"] = (means[name] + test.p[LOGISTIC]) / 2
            answers = Predictions(dates=test.dates, y=test.y, p=means)
            own = {each: answers.losses(each) for each in means}
            pairs = pairs_of(own, _baseline_losses(cell, test), self.samples, draw)
            found |= {(cell.label, each): of_each for each, of_each in pairs.items()}
        return found


def _baseline_losses(cell: CellRecords, predictions: Predictions) -> dict[str, Floats]:
    return {
        name: predictions.losses(name) for name in predictions.p if name not in (cell.model, ORACLE)
    }


def _beside_each_other(cells: Sequence[CellRecords], part: str) -> tuple[Predictions, list[str]]:
    """Return the predictions of all cells on the same days, and the names of the winners.

    Raises:
        StudyError: two cells have different days.
    """
    every = same_days(cells, part)
    first = every[0]
    baselines = {name: p for name, p in first.p.items() if name != cells[0].model}
    twice = Counter(cell.label for cell in cells)
    winners = {}
    for cell, own in zip(cells, every, strict=True):
        # With --refit a winner has seen the validation days, and has no prediction of them.
        if cell.model in own.p:
            winners[cell.label if twice[cell.label] == 1 else cell.name] = own.p[cell.model]
    both = Predictions(dates=first.dates, y=first.y, p={**winners, **baselines})
    return both, list(winners)


def _other(part: str) -> str:
    return "test" if part == "validation" else "validation"
