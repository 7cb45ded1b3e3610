"""The section on decades: where a walk forward was won or lost, and how near models can be told."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.answers.report_parts import (
    Cell,
    Section,
    Table,
    days_ahead,
    shown_estimate,
)
from analysis.cell_judgement import JudgedHorizon
from analysis.statistics.comparison import excludes_zero, paired_difference
from analysis.statistics.day_resampling import daily_means, mean_over_seeds, resampled_day_counts
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate, estimate
from study.block_length import DETECTABLE
from study.results.final_records import LOGISTIC

_FEWEST_DAYS = 250
"""Days of a decade, a year of them, from which on it is a period of its own."""

_DECADE_YEARS = 10

ALL_DAYS = "all days"


def periods_section(horizons: Sequence[JudgedHorizon]) -> Section | None:
    """Return the section on decades; None if the test days are of one."""
    told = [each for each in horizons if len(_periods(each)) > 2]
    if not told:
        return None
    sentences: list[str] = []
    tables: list[Table] = []
    numbers: dict[str, object] = {}
    for each in told:
        periods = {name: days for name, days in _periods(each).items()}
        samples = {
            name: resampled_day_counts(len(days), each.horizon) for name, days in periods.items()
        }
        leads = _leads(each, periods, samples)
        sentences += [_lead_sentence(label, each.horizon, own) for label, own in leads.items()]
        sentences += _error_sentence(each, samples[ALL_DAYS])
        tables += [_losses(each, periods, samples), _lead_table(each, leads)]
        numbers[str(each.horizon)] = {"against_logistic": leads}
    return Section(
        name="periods",
        title="In which decades was it so?",
        sentences=sentences,
        tables=tables,
        numbers=numbers,
    )


def _periods(each: JudgedHorizon) -> dict[str, np.ndarray]:
    """Return the rows of the test days of each decade with enough of them, then of all."""
    dates = each.cells[0].test.dates
    years = dates.astype("datetime64[Y]").astype(int) + 1970
    decades = years // _DECADE_YEARS * _DECADE_YEARS
    found = {
        f"{decade}s": rows
        for decade in np.unique(decades)
        if len(rows := np.flatnonzero(decades == decade)) >= _FEWEST_DAYS
    }
    return {**found, ALL_DAYS: np.arange(len(dates))}


def _all_losses(each: JudgedHorizon) -> dict[str, Floats]:
    """Return the daily losses of winners, by budget, and of baselines."""
    first = each.cells[0]
    own = {cell.label: cell.losses for cell in each.cells}
    names = [name for name in first.test.p if name != first.final.model]
    return own | {name: first.test.losses(name) for name in names}


def _losses(
    each: JudgedHorizon, periods: Mapping[str, np.ndarray], samples: Mapping[str, Floats]
) -> Table:
    """Return a row for each model with its loss in each decade, the best model first."""
    y = each.cells[0].test.y
    rows: list[list[Cell]] = [
        ["share of positives", *(float(y[p].mean()) for p in periods.values())]
    ]
    losses = _all_losses(each)
    for model in sorted(losses, key=lambda name: float(losses[name].mean())):
        own = losses[model]
        rows.append(
            [model, *(_mean_loss(own[:, days], samples[name]) for name, days in periods.items())]
        )
    return Table(
        columns=("model", *(f"{name} ({len(days):,} days)" for name, days in periods.items())),
        rows=rows,
        caption=f"{days_ahead(each.horizon).capitalize()}: log-loss on the test days of each "
        "decade, nats, with 95 % intervals over blocks of its days and seeds.",
    )


def _mean_loss(losses: Floats, samples: Floats) -> Estimate:
    means = mean_over_seeds(daily_means(losses, samples), np.random.default_rng(0))
    return estimate(float(losses.mean()), means)


def _leads(
    each: JudgedHorizon, periods: Mapping[str, np.ndarray], samples: Mapping[str, Floats]
) -> dict[str, dict[str, Estimate]]:
    """Return the loss of each winner less that of logistic regression in each decade."""
    first = each.cells[0]
    if LOGISTIC not in first.test.p:
        return {}
    logistic = first.test.losses(LOGISTIC)
    return {
        cell.label: {
            name: paired_difference(cell.losses[:, days], logistic[:, days], samples[name])
            for name, days in periods.items()
        }
        for cell in each.cells
    }


def _lead_table(each: JudgedHorizon, leads: Mapping[str, Mapping[str, Estimate]]) -> Table:
    names = list(_periods(each))
    return Table(
        columns=("budget", *names),
        rows=[[label, *(own[name] for name in names)] for label, own in leads.items()],
        caption=f"{days_ahead(each.horizon).capitalize()}: log-loss of each winner less that of "
        "logistic regression, nats; negative is better. Paired by day, with 95 % intervals over "
        "blocks of days and seeds, each for itself.",
    )


def _lead_sentence(label: str, horizon: int, leads: Mapping[str, Estimate]) -> str:
    """Return what may be said of a winner beside logistic regression, decade by decade."""
    decades = {name: lead for name, lead in leads.items() if name != ALL_DAYS}
    better = [name for name, lead in decades.items() if excludes_zero(lead) and lead.value < 0]
    worse = [name for name, lead in decades.items() if excludes_zero(lead) and lead.value > 0]
    said = [
        f"{what} in the {', '.join(found)}"
        for what, found in (("better", better), ("worse", worse))
        if found
    ]
    return (
        f"{label}, {days_ahead(horizon)}: {shown_estimate(leads[ALL_DAYS])} nats per day against "
        f"logistic regression on all test days; by decade, each for itself, "
        f"{' and '.join(said) or 'not told apart from it in any'}."
    )


def _error_sentence(each: JudgedHorizon, samples: Floats) -> list[str]:
    """Return the paired error of two winners that was reached, beside the one that was foretold."""
    errors = [
        error
        for one, two in itertools.combinations(each.cells, 2)
        if (error := paired_difference(one.losses, two.losses, samples).se) is not None
    ]
    promised = [
        float(power["log_loss_test"]) / DETECTABLE
        for cell in each.cells
        if isinstance(power := cell.records.searched.get("power"), Mapping)
    ]
    if not errors or not promised:
        return []
    return [
        f"{days_ahead(each.horizon).capitalize()}, the standard error of the difference of two "
        f"winners is {np.median(errors):.4f} nats ({min(errors):.4f} to {max(errors):.4f} over "
        f"{len(errors)} pairs); the plan foretold {np.median(promised):.4f}."
    ]
