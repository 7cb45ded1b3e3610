"""The first screen of a panel's report: the verdict, its picture, and what could be found."""

from collections.abc import Sequence
from statistics import median

from analysis.answers.first_picture import DIFFERENCES, Mark, marks_picture
from analysis.answers.report_parts import Figure, Finding, FirstScreen, days_ahead
from analysis.panel.answers.size_answer import size_sentence
from analysis.panel.panel_judgement import (
    JudgedPanel,
    JudgedPanelCell,
    JudgedPanelHorizon,
    risen,
)
from analysis.panel.panel_words import verdict
from study.statistics.detectable import smallest_difference
from study.text.short_forms import counted

_MOST_BASELINES = 6
"""Baselines, the best first, that are drawn."""


def panel_first_screen(panel: JudgedPanel) -> FirstScreen:
    """Return the first screen of a study of panels with final runs, or without any yet."""
    cells = panel.cells
    if not cells:
        return _searched(panel)
    test = cells[0].cell.test
    has_trend = any(each.trend is not None and each.trend.is_told for each in panel.horizons)
    return FirstScreen(
        scope=f"{cells[0].cell.records.source}, {test.n_assets:,} assets, {len(test.dates):,} "
        f"test days, {test.dates[0]} to {test.dates[-1]}",
        headline=headline(panel),
        findings=[
            Finding(label="Found", clauses=[_level(each) for each in panel.horizons]),
            Finding(label="Could have been found", clauses=[_power(panel.horizons)]),
            Finding(
                label="Size" if has_trend else "Not found",
                clauses=[size_sentence(each) for each in panel.horizons],
            ),
        ],
        figure=_picture(panel),
        numbers_in="baselines",
    )


def headline(panel: JudgedPanel) -> str:
    """Return the one thing that a reader takes away: a leak, or the verdict on the winners."""
    cells = panel.cells
    leaks = [cell.name for cell in cells if cell.is_leak]
    if leaks:
        return f"Leak: {', '.join(leaks)} rank better than the best possible scores"
    if len(cells) == 1:
        return verdict(cells[0])
    better = sum(cell.standing.is_better for cell in cells)
    worse = sum(cell.standing.is_worse for cell in cells)
    said = f"{better or 'None'} of {len(cells)} winners {'ranks' if better == 1 else 'rank'} "
    said += "better than every baseline"
    return f"{said}, and {worse} {'is' if worse == 1 else 'are'} worse than some" if worse else said


def _searched(panel: JudgedPanel) -> FirstScreen:
    study = panel.records.study
    return FirstScreen(
        scope=study.cells[0].source,
        headline="Searched, and not yet tested on later days",
        findings=[
            Finding(
                label="Not found",
                clauses=[
                    "No test day has been looked at: "
                    f"{counted(len(study.cells), 'cell')} without final runs."
                ],
            )
        ],
        figure=None,
        numbers_in="study",
    )


def _level(each: JudgedPanelHorizon) -> str:
    """Return the verdict on the winner of a horizon that ranks best on the test days."""
    best = max(each.cells, key=lambda cell: cell.own.rank_ic.value)
    of = f", the highest of {len(each.cells)} winners" if len(each.cells) > 1 else ""
    return f"{days_ahead(each.horizon).capitalize()}, {best.label}{of}: {verdict(best)}."


def _power(horizons: Sequence[JudgedPanelHorizon]) -> str:
    """Return the smallest RankIC, and lead over the baseline to beat, that the days show."""
    said = []
    for each in horizons:
        leads = [(cell, cell.against(cell.rival)) for cell in each.cells]
        own = [cell.own.rank_ic.se for cell in each.cells if cell.own.rank_ic.se]
        less = [lead.difference.se for _, lead in leads if lead and lead.difference.se]
        if own and less:
            rivals = " or ".join(sorted({cell.rival for cell in each.cells}))
            said.append(
                f"{days_ahead(each.horizon)}, a RankIC from {smallest_difference(median(own)):.4f} "
                f"on and a lead over {rivals} from {smallest_difference(median(less)):.4f} on"
            )
    if not said:
        return "No RankIC has an error by which to say how small a true one would be seen."
    return (
        "In four studies of five, if nothing else were compared, these days would show, "
        f"{'; '.join(said)}. Less may well go unseen."
    )


def _picture(panel: JudgedPanel) -> Figure:
    """Return the differences to the baseline to beat by budget or, with one budget, to each."""
    budgets = list(dict.fromkeys(cell.cell.records.budget for cell in panel.cells))
    if len(budgets) > 1:
        marks = [_mark(cell, cell.rival, cell.cell.records.budget) for cell in panel.cells]
        rivals = sorted({cell.rival for cell in panel.cells})
        return marks_picture(
            marks,
            budgets,
            title=f"RankIC on test days less that of {' or '.join(rivals)}\n(above zero is better)",
            caption=DIFFERENCES,
            x_label="parameters",
            zero=" or ".join(rivals),
        )
    marks = [
        _mark(cell, each.other, each.other)
        for cell in panel.cells
        for each in sorted(cell.standing.differences, key=lambda one: -one.difference.value)
    ]
    places = list(dict.fromkeys(mark.place for mark in marks))[:_MOST_BASELINES]
    return marks_picture(
        [mark for mark in marks if mark.place in places],
        places,
        title="RankIC on test days less that of each baseline\n(above zero is better)",
        caption=DIFFERENCES,
        zero="the baseline",
    )


def _mark(cell: JudgedPanelCell, other: str, place: str) -> Mark:
    against = cell.against(other)
    assert against is not None
    gain, under = risen(against.difference), cell.under_oracle
    return Mark(
        place=place,
        horizon=cell.cell.horizon,
        label=f"{cell.label} less {other}",
        estimate=gain,
        best_possible=None if under is None else gain.value - under.value,
    )
