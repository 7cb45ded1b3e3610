"""The section on size: does RankIC rise with it? A claim takes five sizes."""

from analysis.answers.report_parts import (
    Cell,
    Figure,
    Section,
    Series,
    Table,
    days_ahead,
    high_end,
    low_end,
    shown_estimate,
)
from analysis.panel.panel_judgement import JudgedPanel, JudgedPanelHorizon
from analysis.panel.panel_words import signed
from analysis.statistics.trend import LEAST_SIZES
from study.text.short_forms import counted


def size_section(panel: JudgedPanel) -> Section:
    """Return the section on whether larger models rank better."""
    sentences = []
    for each in panel.horizons:
        sentences.append(size_sentence(each))
        sentences += [
            f"Left out of the trend: {cell.label}, {days_ahead(each.horizon)}: "
            f"{'; '.join(cell.flags)}."
            for cell in each.cells
            if cell.flags
        ]
    rows: list[list[Cell]] = [
        [cell.label, days_ahead(each.horizon), cell.cell.final.param_count, cell.own.rank_ic,
         len(cell.cell.own.seeds), "no" if cell.flags else "yes"]
        for each in panel.horizons
        for cell in each.cells
    ]  # fmt: skip
    return Section(
        name="size",
        title="Does RankIC rise with size?",
        sentences=sentences,
        tables=[
            Table(
                columns=("budget", "horizon", "parameters", "RankIC", "seeds", "in the trend"),
                rows=rows,
                caption="Test days; means over days and seeds with 95 % intervals.",
            )
        ],
        figures=[_figure(each) for each in panel.horizons if len(each.cells) > 1],
        numbers={
            str(each.horizon): {
                "n_sizes": each.n_sizes,
                "slope": None if each.trend is None else each.trend.slope,
                "p": None if each.trend is None else each.trend.p,
                "is_told": each.trend is not None and each.trend.is_told,
            }
            for each in panel.horizons
        },
    )


def size_sentence(each: JudgedPanelHorizon) -> str:
    """Return what follows of size at a horizon or, where nothing does, what is missing for it."""
    days, trend = days_ahead(each.horizon).capitalize(), each.trend
    slope = ""
    if trend is not None:
        slope = (
            f"slope of log (1 - RankIC) on log size {shown_estimate(trend.slope, 5)}, permutation "
            f"p = {trend.p:.3f}"
        )
    missing = LEAST_SIZES - each.n_sizes
    if missing > 0:
        shown = f" ({slope})" if slope else ""
        return (
            f"{days}: nothing is claimed of size. It takes {LEAST_SIZES} sizes, and "
            f"{counted(each.n_sizes, 'size')} can be judged, so that {missing} "
            f"{'is' if missing == 1 else 'are'} missing{shown}."
        )
    assert trend is not None
    if not trend.is_told:
        return f"{days}: no effect of size on RankIC can be told from noise ({slope})."
    moves = "rises" if trend.slope.value < 0 else "falls"
    return f"{days}: RankIC {moves} with size over the sizes measured ({slope})."


def _figure(each: JudgedPanelHorizon) -> Figure:
    ranks = [(cell, cell.own.rank_ic) for cell in each.cells]
    days = days_ahead(each.horizon)
    return Figure(
        name=f"size_h{each.horizon}",
        title=f"RankIC of winners on test days, {days}",
        x_label="parameters",
        y_label="RankIC",
        series=[
            Series(
                name=days,
                x=[float(cell.cell.final.param_count) for cell, _ in ranks],
                y=[rank.value for _, rank in ranks],
                low=[low_end(rank) for _, rank in ranks],
                high=[high_end(rank) for _, rank in ranks],
                labels=[f"{cell.label}: {signed(rank)}" for cell, rank in ranks],
            )
        ],
        log_x=True,
        alt=f"RankIC on test days over the number of parameters, {days}, with 95 % intervals",
        caption="Bars: 95 % intervals over days and seeds.",
    )
