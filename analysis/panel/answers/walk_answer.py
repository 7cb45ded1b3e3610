"""The section on a walk forward: in which folds and decades of the test days was it so?"""

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.answers.period_answer import decades_of, drift_sentences
from analysis.answers.report_parts import Cell, Section, Table, days_ahead
from analysis.panel.panel_judgement import JudgedPanel, JudgedPanelCell, risen
from analysis.panel.panel_words import signed
from analysis.panel.period_scores import PeriodScores, score_period
from analysis.statistics.comparison import excludes_zero
from analysis.statistics.interval import Estimate

_FEWEST_DECADES = 2
"""Decades from which on they are compared."""


def walk_section(panel: JudgedPanel) -> Section | None:
    """Return the section on folds and decades of the test days; None if no winner has walked."""
    cells = [cell for cell in panel.cells if len(cell.cell.final.folds) > 1]
    if not cells:
        return None
    sentences, tables = [], []
    numbers: dict[str, object] = {}
    for cell in cells:
        folds, decades = _folds(cell), _decades(cell)
        all_days = _all_days(cell)
        for kind, periods in (("fold", folds), ("decade", decades)):
            sentences += [
                _lead_sentence(cell, rival, all_days, kind, periods)
                for rival in cell.shown_rivals
                if periods
            ]
        for table_of in (_scores_table, _leads_table):
            tables.append(table_of(cell, all_days, [*folds, *decades]))
        numbers[cell.name] = {
            each.name: {"days": each.n_days, "rank_ic": each.rank_ic, "leads": dict(each.leads)}
            for each in (*folds, *decades, all_days)
        }
    sentences += drift_sentences([fold for cell in cells for fold in cell.cell.final.folds])
    return Section(
        name="walk",
        title="In which folds of the walk was it so?",
        sentences=sentences,
        tables=tables,
        numbers=numbers,
    )


def _folds(cell: JudgedPanelCell) -> list[PeriodScores]:
    dates = cell.cell.test.dates
    rows = {
        f"fold {number}": np.flatnonzero(
            (dates >= np.datetime64(fold.first_test_day))
            & (dates <= np.datetime64(fold.last_test_day))
        )
        for number, fold in enumerate(cell.cell.final.folds, start=1)
    }
    # Days on which all returns are equal are no days of a ranking.
    return [
        score_period(cell, name, own, cell.shown_rivals) for name, own in rows.items() if own.size
    ]


def _decades(cell: JudgedPanelCell) -> list[PeriodScores]:
    rows = decades_of(cell.cell.test.dates)
    if len(rows) < _FEWEST_DECADES:
        return []
    return [score_period(cell, name, own, cell.shown_rivals) for name, own in rows.items()]


def _all_days(cell: JudgedPanelCell) -> PeriodScores:
    """Return the scores on all test days, as they stand among those of the other sections."""
    against = {name: cell.against(name) for name in cell.shown_rivals}
    return PeriodScores(
        name="all days",
        n_days=len(cell.cell.test.dates),
        rank_ic=cell.own.rank_ic,
        ic=cell.own.ic,
        rivals={name: cell.scores[name].rank_ic for name in against},
        leads={name: risen(each.difference) for name, each in against.items() if each is not None},
    )


def _lead_sentence(
    cell: JudgedPanelCell,
    rival: str,
    all_days: PeriodScores,
    kind: str,
    periods: Sequence[PeriodScores],
) -> str:
    """Return on which side of zero a winner's lead over a baseline lies, period by period."""
    leads: Mapping[str, Estimate] = {
        each.name: lead for each in periods if (lead := each.leads[rival]).low is not None
    }
    apart = [name for name, lead in leads.items() if excludes_zero(lead)]
    said = [
        f"{what} zero in {', '.join(found)}"
        for what, found in (
            ("above", [name for name in apart if leads[name].value > 0]),
            ("below", [name for name in apart if leads[name].value < 0]),
        )
        if found
    ]
    by_period = (
        f"by {kind} its interval lies {' and '.join(said) or 'around zero in each'}, not corrected "
        f"for the number of {kind}s that have one ({len(leads)})"
        if leads
        else f"no {kind} has days enough for an interval"
    )
    return (
        f"{cell.label}, {days_ahead(cell.cell.horizon)}: RankIC less that of {rival} is "
        f"{signed(all_days.leads[rival])} on all {all_days.n_days:,} test days; {by_period}."
    )


def _scores_table(
    cell: JudgedPanelCell, all_days: PeriodScores, periods: Sequence[PeriodScores]
) -> Table:
    """Return a row per period with its days and the RankIC of the winner."""
    final, (first, last) = cell.cell.final, cell.cell.test.dates[[0, -1]]
    days = {
        f"fold {number}": (f"{fold.first_test_day} to {fold.last_test_day}", fold.n_train)
        for number, fold in enumerate(final.folds, start=1)
    } | {all_days.name: (f"{first} to {last}", None)}
    rows: list[list[Cell]] = [
        [each.name, *days.get(each.name, (None, None)), each.n_days, each.rank_ic, each.ic]
        for each in (*periods, all_days)
    ]
    trained = "training and validation days" if final.with_validation else "training days"
    return Table(
        columns=("period", "days", trained, "test days", "RankIC", "IC"),
        rows=rows,
        caption=f"{cell.label}, {days_ahead(cell.cell.horizon)}: the winner and the baselines are "
        "trained again before each fold, on days before it. Means over days and seeds with 95 % "
        "intervals, of a period over its own days alone; none with too few days.",
    )


def _leads_table(
    cell: JudgedPanelCell, all_days: PeriodScores, periods: Sequence[PeriodScores]
) -> Table:
    """Return a row per period with the RankIC of baselines and the winner's lead over them."""
    rivals = cell.shown_rivals
    rows: list[list[Cell]] = []
    for each in (*periods, all_days):
        own = [(each.rivals[rival], each.leads[rival]) for rival in rivals]
        rows.append([each.name, *(value for pair in own for value in pair)])
    return Table(
        columns=(
            "period",
            *(head for name in rivals for head in (f"RankIC of {name}", f"less {name}")),
        ),
        rows=rows,
        caption=f"{cell.label}, {days_ahead(cell.cell.horizon)}: daily RankIC of the winner less "
        "that of the baseline, above zero is better. Paired by day, with 95 % intervals over "
        "blocks of days and seeds, each for itself.",
    )  # fmt: skip
