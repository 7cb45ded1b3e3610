"""The ``judge`` command: anybody's probabilities for a study's days, beside the study's models."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as TextTable

from analysis.answers.final_answers import score_table, standing_sentence
from analysis.answers.report_parts import Table, days_ahead, plain, shown
from analysis.holdout_scores import Scores, score_model
from analysis.judge_dates import date_warnings
from analysis.judged_days import Days, read_days
from analysis.statistics.comparison import Difference, Standing, compare, pairs_of
from analysis.statistics.day_resampling import DaySamples, resampled_days
from analysis.statistics.floats import Floats
from analysis.study_records import Predictions
from analysis.tables.prediction_csv import Answers, PredictionTable, read_prediction_csv
from study.command import Exit
from study.errors import StudyError, one_line, quoted, require
from study.output import open_console
from study.results.finals.final_records import LEAST_PROBABILITY, bounded
from study.statistics.block_length import judged_block_days

_FEWEST_BLOCKS = 2
"""Blocks of days that the common days must fill: with fewer, resampled days are all alike."""

_NAMED = 3
"""Dates that a line names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What follows from a file of probabilities."""

    where: str
    """The file, as messages name it."""
    days: Days
    n_days: int
    """Number of days that the file and the study have in common, on which all is computed."""
    notes: Sequence[str]
    warnings: Sequence[str]
    scores: Mapping[str, Scores]
    """Scores of every model, the file's first."""
    differences: Sequence[Difference]
    """Each model of the file against each baseline and each winner, in one family."""

    @property
    def sentences(self) -> list[str]:
        """What may be said of each model of the file beside all baselines."""
        by_model: dict[str, list[Difference]] = {}
        for each in self.differences:
            if each.other in self.days.baselines:
                by_model.setdefault(each.model, []).append(each)
        return [
            standing_sentence(model, self.days.horizon, Standing(differences=own))
            for model, own in by_model.items()
        ]


def run(arguments: argparse.Namespace) -> int:
    """Read the file and the study's days, judge, print what follows."""
    table = read_prediction_csv(arguments.file)
    days = read_days(arguments)
    found = judge_file(table, days)
    if arguments.json:
        print(json.dumps(plain(_described(arguments.file, found)), indent=2, allow_nan=False))
        return Exit.OK
    _show(open_console(), found)
    return Exit.OK


def judge_file(table: PredictionTable, days: Days) -> Judgement:
    """Compare the models of a file with those of a study on the days that both have.

    Raises:
        StudyError: they have too few days in common, or the file's models have different ones.
    """
    rows = _common_rows(table, days)
    given, n_bounded = _on_days(table, days.predictions.dates[rows], days.models)
    common = _together(given, days, rows)
    samples = resampled_days(len(rows), days.horizon)
    notes = _notes(table, days, rows)
    if n_bounded:
        notes.append(
            f"{n_bounded} probabilities nearer to 0 or 1 than {LEAST_PROBABILITY} count as "
            f"{LEAST_PROBABILITY} from it, "
            "as those of the baselines do"
        )
    return Judgement(
        where=table.where,
        days=days,
        n_days=len(rows),
        notes=notes,
        warnings=date_warnings(given, days.predictions, days.models, rows, samples),
        scores={
            name: score_model(common, name, days.train_prior[rows], samples)
            for name in (*given, *days.models)
        },
        differences=_differences(given, common, days, samples),
    )


def _differences(
    given: Mapping[str, Floats], common: Predictions, days: Days, samples: DaySamples
) -> list[Difference]:
    """Compare each model of a file with each baseline and each winner, as one family."""
    others = {name: common.losses(name) for name in (*days.baselines, *days.winners)}
    models = {name: common.losses(name) for name in given}
    pairs = pairs_of(models, others, samples, np.random.default_rng(0))
    return compare([pair for own in pairs.values() for pair in own])


def _runs(table: PredictionTable) -> list[tuple[str, Answers]]:
    """Return every run of the file with its name, as a message has it."""
    return [
        (model if seed is None else f"{model}, seed {seed}", answers)
        for model, seeds in table.models.items()
        for seed, answers in seeds.items()
    ]


def _common_rows(table: PredictionTable, days: Days) -> np.ndarray:
    """Return the rows of the study's days that every run of the file has.

    Raises:
        StudyError: there are too few, or two runs have different ones.
    """
    dates, y = days.predictions.dates, days.predictions.y
    runs = _runs(table)
    asked = {name: np.isin(dates, answers.dates) for name, answers in runs}
    first, has = next(iter(asked.items()))
    for name, other in asked.items():
        differ = np.flatnonzero(has != other)[:1]
        got = "".join(
            f"{dates[row]} of {quoted(first if has[row] else name)} and not of "
            f"{quoted(name if has[row] else first)}"
            for row in differ
        )
        require(
            not got,
            table.where,
            "every model and seed must have the same days of the study",
            got=got,
            remedy="Judge them in files of their own, or leave out the days that one lacks.",
            error=StudyError,
        )
    rows = np.flatnonzero(has)
    fewest = _FEWEST_BLOCKS * judged_block_days(days.horizon, len(rows))
    everything = np.unique(np.concatenate([answers.dates for _, answers in runs]))
    require(
        len(rows) >= fewest,
        table.where,
        f"must have at least {fewest} of the {len(dates)} {days.part} days of the study, "
        f"{dates[0]} to {dates[-1]}",
        got=f"{len(rows) or 'none'} in {len(everything)} dates from {everything[0]} to "
        f"{everything[-1]}{_in_other_part(everything, days)}",
        remedy="Check the dates, --study and --part.",
        error=StudyError,
    )
    require(
        0 < y[rows].sum() < len(rows),
        table.where,
        "must have days with a positive and days with a negative label",
        got=f"{len(rows)} days with one kind alone",
        remedy="Give more days of the study.",
        error=StudyError,
    )
    return rows


def _in_other_part(dates: np.ndarray, days: Days) -> str:
    n = int(np.isin(dates, days.other_dates).sum())
    return f" ({n} of them are its {days.other_part} days)" if n else ""


def _notes(table: PredictionTable, days: Days, rows: np.ndarray) -> list[str]:
    """Return what of the file is not judged, and which of the study's days it lacks."""
    dates = days.predictions.dates
    notes = [f"left out: {'; '.join(table.left_out)}"] if table.left_out else []
    everything = np.unique(np.concatenate([answers.dates for _, answers in _runs(table)]))
    unknown = everything[~np.isin(everything, dates)]
    if len(unknown):
        notes.append(
            f"{len(unknown)} of the file's {len(everything)} dates are left out: they are no "
            f"{days.part} days of the study{_in_other_part(unknown, days)}: {_listed(unknown)}"
        )
    lacking = np.delete(dates, rows)
    if len(lacking):
        notes.append(
            f"the file lacks {len(lacking)} of the study's {len(dates)} {days.part} days, so that "
            f"every model is judged on the other {len(rows)}: {_listed(lacking)}"
        )
    return notes


def _listed(dates: np.ndarray) -> str:
    more = ", ..." if len(dates) > _NAMED else ""
    return f"{', '.join(str(each) for each in dates[:_NAMED])}{more}"


def _on_days(
    table: PredictionTable, dates: np.ndarray, taken: Sequence[str]
) -> tuple[dict[str, Floats], int]:
    """Return the probabilities of these days by model, and how many were brought into bounds.

    Args:
        table: the file's answers, which have these days.
        dates: the common days.
        taken: names of the study's models; a model of the file that has one of them is marked.
    """
    found: dict[str, Floats] = {}
    n_bounded = 0
    for model, seeds in table.models.items():
        name = one_line(model)
        if name in taken:
            name = f"{name} ({table.where})"
        require(
            name not in found,
            table.where,
            "must give each model a name of its own",
            got=f"{quoted(name)} again, but for spaces",
            remedy="Rename one of them.",
            error=StudyError,
        )
        own = np.stack([each.p[np.isin(each.dates, dates)] for each in seeds.values()])
        found[name] = bounded(own)
        n_bounded += int((found[name] != own).sum())
    return found, n_bounded


def _together(given: Mapping[str, Floats], days: Days, rows: np.ndarray) -> Predictions:
    """Return the predictions of the file and of the study on the common days."""
    study = days.predictions
    return Predictions(
        dates=study.dates[rows],
        y=study.y[rows],
        p={**given, **{name: study.p[name][:, rows] for name in days.models}},
    )


def _described(file: Path, found: Judgement) -> dict[str, Any]:
    days = found.days
    return {
        "file": str(file), "study": days.study, "horizon": days.horizon, "part": days.part,
        "baselines": list(days.baselines), "n_days": found.n_days, "notes": list(found.notes),
        "warnings": list(found.warnings), "sentences": found.sentences,
        "differences": [
            {"model": d.model, "other": d.other, "difference": d.difference, "claim": d.claim}
            for d in found.differences
        ],
        "scores": {
            name: {
                "log_loss": s.log_loss, "skill_train_prior": s.skill_train_prior,
                "skill_own_prior": s.skill_own_prior, "auc": s.auc, "brier": s.brier, "ece": s.ece,
                "is_collapsed": s.is_next_to_constant, "n_seeds": s.n_seeds,
            }
            for name, s in found.scores.items()
        },
    }  # fmt: skip


def _show(console: Console, found: Judgement) -> None:
    days = found.days
    console.soft_wrap = True
    console.print(
        f"{found.where}, {found.n_days} {days.part} days of {days.study}, "
        f"{days_ahead(days.horizon)}; {len(days.baselines)} baselines and {len(days.winners)} "
        "winners on the same days"
    )
    for note in found.notes:
        console.print(f"note: {note}")
    for warning in found.warnings:
        console.print(f"warning: {warning}")
    console.print()
    for sentence in found.sentences:
        console.print(sentence)
    paired = Table(
        columns=("model", "less", "difference in log-loss", "claim"),
        rows=[[each.model, each.other, each.difference, each.claim] for each in found.differences],
        caption="Paired by day; 95 % intervals over blocks of days and seeds. Better: after all "
        "comparisons of the file's models with all others.",
    )
    _print_table(console, paired)
    scores = score_table(list(found.scores.items()), days.horizon, days.part)
    _print_table(console, _with_columns(scores, (0, 1, 2, 3, 6)))


def _with_columns(table: Table, kept: Sequence[int]) -> Table:
    """Return a table with fewer columns, as many as a terminal has room for."""
    return replace(
        table,
        columns=[table.columns[at] for at in kept],
        rows=[[row[at] for at in kept] for row in table.rows],
    )


def _print_table(console: Console, table: Table) -> None:
    """Print a table of the report as text."""
    printed = TextTable(box=None, padding=(0, 1), show_edge=False)
    for column, value in zip(table.columns, table.rows[0], strict=True):
        printed.add_column(column, justify="left" if isinstance(value, str) else "right")
    for row in table.rows:
        printed.add_row(*(shown(value, table.digits) for value in row))
    console.print()
    console.print(table.caption)
    console.print(printed)
