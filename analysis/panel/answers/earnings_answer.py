"""The section on earnings: what the ranks would have earned, and after costs."""

import numpy as np

from analysis.answers.report_parts import Figure, Section, Series, days_ahead
from analysis.panel.panel_judgement import JudgedPanel, JudgedPanelCell
from analysis.panel.panel_words import signed
from analysis.statistics.floats import Floats

_MOST_POINTS = 400
"""Points of a drawn line, more than a page has pixels between two of them."""


def earnings_section(panel: JudgedPanel) -> Section:
    """Return the section on the cumulative return of winners and of the baseline to beat."""
    return Section(
        name="earnings",
        title="How did the long-short portfolio grow?",
        sentences=[_sentence(cell) for cell in panel.cells],
        figures=[_figure(cell, index) for index, cell in enumerate(panel.cells)],
        numbers={
            cell.name: {
                name: {
                    "sum_before_costs": float(own.earned.mean(axis=0).sum()),
                    "sum_after_costs": float(own.net.mean(axis=0).sum()),
                }
                for name, own in cell.cell.test.models.items()
                if name in (cell.cell.final.model, cell.rival)
            }
            for cell in panel.cells
        },
    )


def _sentence(cell: JudgedPanelCell) -> str:
    own, where = cell.own, f"{cell.label}, {days_ahead(cell.cell.horizon)}"
    if own.sharpe is None or own.sharpe_net is None:
        return f"{where}: the portfolio earns nothing on any day, so that it has no Sharpe ratio."
    return (
        f"{where}: Sharpe a year {signed(own.sharpe, 2)} before costs and "
        f"{signed(own.sharpe_net, 2)} after costs of {cell.cell.portfolio.cost_basis_points:g} "
        "basis points."
    )


def _figure(cell: JudgedPanelCell, index: int) -> Figure:
    test = cell.cell.test
    n_days = len(test.dates)
    shown = np.unique(np.linspace(0, n_days - 1, min(n_days, _MOST_POINTS)).round().astype(int))
    years = 1970 + test.dates.astype("datetime64[D]").astype(np.float64) / 365.2425
    series = []
    for name in (cell.cell.final.model, cell.rival):
        own = test.models[name]
        for values, when in ((own.earned, "before costs"), (own.net, "after costs")):
            series.append(
                Series(
                    name=f"{name}, {when}",
                    x=years[shown].tolist(),
                    y=(100 * _cumulative(values)[shown]).tolist(),
                    is_line=True,
                    is_reference=name == cell.rival and when == "before costs",
                )
            )
    where = f"{cell.label}, {days_ahead(cell.cell.horizon)}"
    return Figure(
        name=f"earnings_{index}",
        title=f"Cumulative long-short return, {where}",
        x_label="year",
        y_label="sum of daily returns, %",
        series=series,
        alt=f"Cumulative return of the long-short portfolios of {cell.cell.final.model} and "
        f"{cell.rival} on test days, before and after costs, {where}",
        caption="Sums of daily returns of capital on either side, not compounded; means over "
        "seeds. A line has no interval: Sharpe above has one.",
    )


def _cumulative(values: Floats) -> Floats:
    return np.asarray(np.cumsum(values.mean(axis=0)))
