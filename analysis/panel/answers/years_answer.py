"""The section on years: in which of them was the ranking worth something?"""

from collections.abc import Sequence

import numpy as np

from analysis.answers.report_parts import Cell, Section, Table, days_ahead
from analysis.panel.day_scores import DailyScores
from analysis.panel.panel_judgement import JudgedPanel, JudgedPanelCell, risen
from analysis.panel.ranking_scores import mean_score
from analysis.statistics.comparison import excludes_zero, paired_difference
from analysis.statistics.day_resampling import DaySamples, resampled_days
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate
from study.statistics.block_length import judged_block_days

_FEWEST_BLOCKS = 5
"""Blocks that a year's days must fill to have an interval. With fewer it is a fifth too narrow and
more, because blocks are centred on their own mean."""


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
            f"{where}: of {len(known)} years with an interval, it lies above zero in {above} and "
            f"below it in {below}."
            if known
            else f"{where}: no year has days enough for an interval."
        )
        tables.append(_table(cell, years, where))
        numbers[cell.name] = {
            each.year: {
                "days": each.n_days,
                "rank_ic": each.rank_ic,
                "ic": each.ic,
                "rank_ic_less_rival": each.less_rival,
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


class _Year:
    """The scores of one year, whose intervals rest on the days of that year alone."""

    def __init__(self, year: str, own: DailyScores, rival: DailyScores, horizon: int) -> None:
        n_days = own.rank_ic.shape[1]
        self.year = year
        self.n_days = n_days
        samples: DaySamples | None = None
        if n_days >= _FEWEST_BLOCKS * judged_block_days(horizon, n_days):
            samples = resampled_days(n_days, horizon)
        self.rank_ic = _mean(own.rank_ic, samples)
        self.ic = _mean(own.ic, samples)
        self.rival = _mean(rival.rank_ic, samples)
        self.less_rival = (
            _mean(own.rank_ic.mean(axis=0, keepdims=True) - rival.rank_ic.mean(axis=0), None)
            if samples is None
            else risen(paired_difference(own.losses, rival.losses, samples))
        )


def _mean(values: Floats, samples: DaySamples | None) -> Estimate:
    if samples is None:
        return Estimate(value=float(values.mean()), low=None, high=None, se=None)
    return mean_score(values, samples)


def _years(cell: JudgedPanelCell) -> list[_Year]:
    year = cell.cell.test.dates.astype("datetime64[Y]")
    own, rival = cell.cell.own, cell.cell.test.models[cell.rival]
    return [
        _Year(str(each), _on(own, year == each), _on(rival, year == each), cell.cell.horizon)
        for each in np.unique(year)
    ]


def _on(daily: DailyScores, rows: np.ndarray) -> DailyScores:
    return DailyScores(
        seeds=daily.seeds,
        rank_ic=daily.rank_ic[:, rows],
        ic=daily.ic[:, rows],
        hit_rate=daily.hit_rate[:, rows],
        earned=daily.earned[:, rows],
        net=daily.net[:, rows],
        turnover=daily.turnover[:, rows],
    )


def _table(cell: JudgedPanelCell, years: Sequence[_Year], where: str) -> Table:
    rows: list[list[Cell]] = [
        [each.year, each.n_days, each.rank_ic, each.ic, each.rival, each.less_rival]
        for each in years
    ]
    return Table(
        columns=(
            "year", "days", "RankIC", "IC", f"RankIC of {cell.rival}", f"less {cell.rival}",
        ),
        rows=rows,
        caption=f"{where}. Means over the year's test days and seeds; 95 % intervals of the days "
        "of the year alone, none with too few of them; one in twenty excludes zero by chance.",
    )  # fmt: skip
