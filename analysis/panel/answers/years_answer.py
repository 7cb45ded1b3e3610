"""The section on years: in which of them was the ranking worth something?"""

from collections.abc import Sequence

import numpy as np

from analysis.answers.report_parts import Cell, Section, Table, days_ahead
from analysis.panel.panel_judgement import JudgedPanel, JudgedPanelCell
from analysis.panel.period_scores import PeriodScores, score_period
from analysis.statistics.comparison import excludes_zero
from study.text.short_forms import counted


def years_section(panel: JudgedPanel) -> Section:
    """Return the section on the years of the test days."""
    sentences, tables = [], []
    numbers: dict[str, object] = {}
    for cell in panel.cells:
        years = _years(cell)
        known = [each for each in years if each.rank_ic.low is not None]
        where = f"{cell.label}, {days_ahead(cell.cell.horizon)}"
        above, below = (
            sum(excludes_zero(each.rank_ic) and sign * each.rank_ic.value > 0 for each in known)
            for sign in (1, -1)
        )
        sentences.append(
            f"{where}: of {counted(len(known), 'year')} with an interval, it lies above "
            f"zero in {above} and below it in {below}."
            if known
            else f"{where}: no year has days enough for an interval."
        )
        tables.append(_table(cell, years, where))
        numbers[cell.name] = {
            each.name: {
                "days": each.n_days,
                "rank_ic": each.rank_ic,
                "ic": each.ic,
                "rank_ic_less_rival": each.leads[cell.rival],
            }
            for each in years
        }
    return Section(
        name="years",
        title="In which years was it so?",
        sentences=sentences,
        tables=tables,
        numbers=numbers,
    )


def _years(cell: JudgedPanelCell) -> list[PeriodScores]:
    year = cell.cell.test.dates.astype("datetime64[Y]")
    return [
        score_period(cell, str(each), np.flatnonzero(year == each), [cell.rival])
        for each in np.unique(year)
    ]


def _table(cell: JudgedPanelCell, years: Sequence[PeriodScores], where: str) -> Table:
    rows: list[list[Cell]] = [
        [each.name, each.n_days, each.rank_ic, each.ic, each.rivals[cell.rival],
         each.leads[cell.rival]]
        for each in years
    ]  # fmt: skip
    return Table(
        columns=(
            "year", "days", "RankIC", "IC", f"RankIC of {cell.rival}", f"less {cell.rival}",
        ),
        rows=rows,
        caption=f"{where}. Means over the year's test days and seeds; 95 % intervals of the days "
        "of the year alone, none with too few of them; one in twenty excludes zero by chance.",
    )  # fmt: skip
