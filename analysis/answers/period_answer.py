"""The section on periods: in which decades a walk forward was won, and where its inputs drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.answers.report_parts import (
    Cell,
    Section,
    Table,
    days_ahead,
    shown_estimate,
)
from analysis.cell_judgement import JudgedCell, JudgedHorizon, all_cells
from analysis.statistics.comparison import excludes_zero, paired_difference
from analysis.statistics.day_resampling import (
    DaySamples,
    daily_means,
    mean_over_seeds,
    resampled_days,
)
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate, estimate
from study.results.finals.final_records import LOGISTIC
from study.results.finals.fold_records import FoldRecord
from study.statistics.block_length import judged_block_days
from study.text.short_forms import counted

_FEWEST_DAYS = 250
"""Days of a decade, a year of them, from which on it is a period of its own."""

FEWEST_BLOCKS = 5
"""Blocks that the days of a period must fill. With fewer they show less than seven tenths of a
mean's variance, and its interval has to be four tenths wider and more."""

_DECADE_YEARS = 10

_FEWEST_DECADES = 2
"""Decades from which on they are compared."""

_ALL_DAYS = "all days"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Periods:
    """The periods into which the test days of a horizon are divided."""

    rows: Mapping[str, np.ndarray]
    """Rows of the test days of each decade with enough of them, then of all, by name."""
    samples: Mapping[str, DaySamples]
    """Samples of the days of each."""
    left_out: str
    """Decades with too few days, as a caption names them; empty without any."""

    @property
    def decades(self) -> list[str]:
        """Names of the decades."""
        return [name for name in self.rows if name != _ALL_DAYS]


def periods_section(horizons: Sequence[JudgedHorizon]) -> Section | None:
    """Return the section on decades; None if the test days are of one and no fold drifts."""
    sentences: list[str] = []
    tables: list[Table] = []
    numbers: dict[str, object] = {}
    for each in horizons:
        periods = _periods(each)
        if len(periods.decades) < _FEWEST_DECADES:
            continue
        leads = _leads(each, periods)
        sentences += [
            _lead_sentence(label, each.horizon, own, periods.decades)
            for label, own in leads.items()
        ]
        tables += [_losses(each, periods), _lead_table(each, leads, periods)]
        numbers[str(each.horizon)] = {"against_logistic": leads}
    sentences += drift_sentences([f for cell in all_cells(horizons) for f in cell.final.folds])
    if not sentences:
        return None
    return Section(
        name="periods",
        title="In which decades was it so?" if tables else "Do the inputs drift?",
        sentences=sentences,
        tables=tables,
        numbers=numbers,
    )


def drift_sentences(every: Sequence[FoldRecord]) -> list[str]:
    """Return a sentence that names the folds whose inputs drift; none if they are steady.

    Args:
        every: the folds of test days of all cells.
    """
    # Cells have the same folds of test days, before which training differs little: the largest
    # shift of each is named.
    largest = {
        fold.first_test_day: fold
        for fold in sorted(every, key=lambda fold: abs(fold.largest_shift or 0.0))
    }
    folds = [largest[day] for day in sorted(largest)]
    return [_drift_sentence(folds)] if any(fold.drifts for fold in folds) else []


def _drift_sentence(folds: Sequence[FoldRecord]) -> str:
    """Return which folds of test days have inputs that drift; at least one has."""
    moved = [
        f"{fold.first_test_day} to {fold.last_test_day} ({fold.largest_shift_input} by "
        f"{fold.largest_shift:+.1f}, above {fold.max_shift:g})"
        for fold in folds
        if fold.drifts
    ]
    return (
        f"In {len(moved)} of {counted(len(folds), 'fold')} of test days the inputs drift more than "
        "a search may begin with, from the mean of the training days to that of the validation "
        f"days, in training standard deviations: {'; '.join(moved)}."
    )


def _periods(each: JudgedHorizon) -> _Periods:
    """Return the decades of the test days, each resampled in blocks of the whole part."""
    dates = each.cells[0].test.dates
    n_days = len(dates)
    fewest = max(_FEWEST_DAYS, FEWEST_BLOCKS * judged_block_days(each.horizon, n_days))
    every = decades_of(dates)
    rows = {name: own for name, own in every.items() if len(own) >= fewest}
    rows[_ALL_DAYS] = np.arange(n_days)
    return _Periods(
        rows=rows,
        samples={
            name: resampled_days(len(own), each.horizon, n_part_days=n_days)
            for name, own in rows.items()
        },
        left_out=", ".join(
            f"{name} ({counted(len(own), 'day')})" for name, own in every.items()
            if name not in rows
        ),
    )  # fmt: skip


def decades_of(dates: npt.NDArray[np.datetime64]) -> dict[str, npt.NDArray[np.intp]]:
    """Return the rows of the days of each decade, by name such as ``1990s``.

    Args:
        dates: days, datetime64[D], ascending.
    """
    years = dates.astype("datetime64[Y]").astype(int) + 1970
    decades = years // _DECADE_YEARS * _DECADE_YEARS
    return {f"{decade}s": np.flatnonzero(decades == decade) for decade in np.unique(decades)}


def _all_losses(each: JudgedHorizon) -> dict[str, Floats]:
    """Return the daily losses of winners, by budget, and of baselines."""
    first = each.cells[0]
    own = {cell.label: cell.losses for cell in each.cells}
    names = [name for name in first.test.p if name != first.final.model]
    return own | {name: first.test.losses(name) for name in names}


def _losses(each: JudgedHorizon, periods: _Periods) -> Table:
    """Return a row for each model with its loss in each decade, the best model first."""
    y, periods_of_days = each.cells[0].test.y, periods.rows.items()
    rows: list[list[Cell]] = [
        ["share of positives", *(float(y[days].mean()) for _, days in periods_of_days)]
    ]
    losses = _all_losses(each)
    for model in sorted(losses, key=lambda name: float(losses[name].mean())):
        own = losses[model]
        rows.append(
            [model, *(_mean_loss(own[:, days], periods.samples[name])
                      for name, days in periods_of_days)]
        )  # fmt: skip
    without = f" Too few days for a decade of their own: {periods.left_out}."
    return Table(
        columns=("model", *(f"{name} ({len(days):,} days)" for name, days in periods_of_days)),
        rows=rows,
        caption=f"{days_ahead(each.horizon).capitalize()}: log-loss on the test days of each "
        "decade, nats, with 95 % intervals over blocks of its days and seeds."
        f"{without if periods.left_out else ''}",
    )


def _mean_loss(losses: Floats, samples: DaySamples) -> Estimate:
    means = mean_over_seeds(daily_means(losses, samples), np.random.default_rng(0))
    return estimate(float(losses.mean()), means)


def _leads(each: JudgedHorizon, periods: _Periods) -> dict[str, dict[str, Estimate]]:
    """Return the loss of each winner less that of logistic regression in each decade."""
    first = each.cells[0]
    if LOGISTIC not in first.test.p:
        return {}
    logistic = first.test.losses(LOGISTIC)

    def lead(cell: JudgedCell, name: str) -> Estimate:
        if name == _ALL_DAYS:
            # As it stands among the comparisons with all baselines, whose draws are its own.
            all_days = (one for one in cell.standing.differences if one.other == LOGISTIC)
            return next(all_days).difference
        days = periods.rows[name]
        return paired_difference(cell.losses[:, days], logistic[:, days], periods.samples[name])

    return {cell.label: {name: lead(cell, name) for name in periods.rows} for cell in each.cells}


def _lead_table(
    each: JudgedHorizon, leads: Mapping[str, Mapping[str, Estimate]], periods: _Periods
) -> Table:
    return Table(
        columns=("budget", *periods.rows),
        rows=[[label, *(own[name] for name in periods.rows)] for label, own in leads.items()],
        caption=f"{days_ahead(each.horizon).capitalize()}: log-loss of each winner less that of "
        "logistic regression, nats; negative is better. Paired by day, with 95 % intervals over "
        "blocks of days and seeds, each for itself.",
    )


def _lead_sentence(
    label: str, horizon: int, leads: Mapping[str, Estimate], decades: Sequence[str]
) -> str:
    """Return on which side of zero a winner's interval lies, decade by decade."""
    apart = [name for name in decades if excludes_zero(leads[name])]
    said = [
        f"{what} zero in the {', '.join(found)}"
        for what, found in (
            ("below", [name for name in apart if leads[name].value < 0]),
            ("above", [name for name in apart if leads[name].value > 0]),
        )
        if found
    ]
    return (
        f"{label}, {days_ahead(horizon)}: {shown_estimate(leads[_ALL_DAYS])} nats per day against "
        f"logistic regression on all test days; by decade its interval lies "
        f"{' and '.join(said) or 'around zero in each'}, not corrected for the number of decades "
        f"({len(decades)})."
    )
