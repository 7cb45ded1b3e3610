"""The picture of a first screen: differences with intervals, beside those too small to be seen."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.answers.report_parts import (
    Figure,
    Series,
    days_ahead,
    high_end,
    low_end,
    shown_estimate,
)
from analysis.statistics.comparison import EQUAL_NATS
from analysis.statistics.interval import Estimate
from study.statistics.detectable import smallest_difference

_NAME = "first_screen"

_WIDEST_STEP = 0.2
"""Distance between two marks of one place, in distances between two places."""

_WIDTH_OF_PLACE = 0.7
"""Share of the distance between two places that the marks of one may take up."""

_MOST_BASELINES = 6
"""Baselines, the best first, that are drawn: what the others lose would hide the differences."""

_INTERVALS = "Bars: 95 % intervals."

DIFFERENCES = (
    f"{_INTERVALS} Grey: true differences that these days would show in fewer than four studies of "
    "five."
)
"""Caption of a picture of differences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One point of the picture."""

    place: str
    """Name of its place on the x axis."""
    horizon: int
    label: str
    """Text that is shown when the point is touched, without its number."""
    estimate: Estimate
    best_possible: float | None = None
    """Value of the best possible answer there, where the market is drawn."""


def budgets_picture(
    marks: Sequence[Mark], budgets: Sequence[str], *, what: str, rival: str | None
) -> Figure:
    """Return the picture of losses by budget.

    Args:
        marks: a difference to the rival, or a loss, of each winner.
        budgets: in their order, smaller ones first.
        what: the loss.
        rival: what losses are compared with; None for the losses themselves.
    """
    if rival is None:
        return marks_picture(marks, budgets, title=f"{what}, nats per day", caption=_INTERVALS)
    return marks_picture(
        marks,
        budgets,
        title=f"{what} less that of {rival},\nnats per day (below zero is better)",
        x_label="parameters",
        zero=rival,
        caption=DIFFERENCES,
    )


def baselines_picture(marks: Sequence[Mark]) -> Figure:
    """Return the picture of the differences of one budget's winners to the best baselines."""
    places = list(dict.fromkeys(mark.place for mark in marks))[:_MOST_BASELINES]
    return marks_picture(
        [mark for mark in marks if mark.place in places],
        places,
        title="Test log-loss less that of each baseline,\nnats per day (below zero is better)",
        zero="the baseline",
        caption=DIFFERENCES,
    )


def marks_picture(
    marks: Sequence[Mark], places: Sequence[str], *, title: str, caption: str,
    x_label: str = "", zero: str | None = None,
) -> Figure:  # fmt: skip
    """Return the picture of marks at their places.

    Args:
        marks: its points.
        places: names of the places, in their order.
        title: of the picture.
        caption: below it.
        x_label: name of the x axis.
        zero: name of what lies at zero, where marks are differences; None where they are not.
    """
    x = _positions(marks, places)
    series = [] if zero is None else _reference(marks, x, zero, len(places))
    series += _by_horizon(marks, x)
    told = "; ".join(
        f"{days_ahead(mark.horizon)}, {mark.label}: {shown_estimate(mark.estimate)}"
        for mark in marks
    )
    return Figure(
        name=_NAME,
        title=title,
        x_label=x_label,
        y_label="",
        series=series,
        categories=list(places),
        alt=f"{title.replace(chr(10), ' ')}, with 95 % intervals. {told}.",
        caption=caption,
        is_compact=True,
    )


def _reference(marks: Sequence[Mark], x: Sequence[float], zero: str, n_places: int) -> list[Series]:
    """Return what marks stand beside: the line of no difference, and what is too small to see."""
    sizes = [_too_small(mark.estimate) for mark in marks]
    seen = [i for i, size in enumerate(sizes) if size > 0]
    ranges = Series(
        name="too small for these days",
        x=[x[i] for i in seen],
        y=[0.0] * len(seen),
        low=[-sizes[i] for i in seen],
        high=[sizes[i] for i in seen],
        is_reference=True,
        is_range=True,
    )
    line = Series(
        name=zero, x=[-0.5, n_places - 0.5], y=[0.0, 0.0], is_line=True, is_reference=True
    )
    return [ranges, line] if seen else [line]


def _by_horizon(marks: Sequence[Mark], x: Sequence[float]) -> list[Series]:
    """Return the marks of each horizon, and the best possible answers where these are known."""
    series = []
    for horizon in dict.fromkeys(mark.horizon for mark in marks):
        own = [(at, mark) for at, mark in zip(x, marks, strict=True) if mark.horizon == horizon]
        series.append(
            Series(
                name=days_ahead(horizon),
                x=[at for at, _ in own],
                y=[mark.estimate.value for _, mark in own],
                low=[low_end(mark.estimate) for _, mark in own],
                high=[high_end(mark.estimate) for _, mark in own],
                labels=[f"{mark.label}: {shown_estimate(mark.estimate)}" for _, mark in own],
            )
        )
    best = [
        (at, mark.best_possible)
        for at, mark in zip(x, marks, strict=True)
        if mark.best_possible is not None
    ]
    if best:
        series.append(
            Series(
                name="best possible answer",
                x=[at for at, _ in best],
                y=[value for _, value in best],
                labels=[f"{value:.4f}" for _, value in best],
                is_reference=True,
            )
        )
    return series


def _too_small(estimate: Estimate) -> float:
    """Return the smallest difference that this error shows; 0 without an error."""
    if estimate.se is None or estimate.se <= EQUAL_NATS:
        return 0.0
    return smallest_difference(estimate.se)


def _positions(marks: Sequence[Mark], places: Sequence[str]) -> list[float]:
    """Return where marks stand: those of one place side by side, by horizon and then by search."""
    taken: dict[tuple[str, int], int] = {}
    keys = []
    for mark in marks:
        n = taken.get((mark.place, mark.horizon), 0)
        taken[mark.place, mark.horizon] = n + 1
        keys.append((mark.horizon, n))
    order = sorted(set(keys))
    step = min(_WIDEST_STEP, _WIDTH_OF_PLACE / len(order)) if order else 0.0
    return [
        places.index(mark.place) + (order.index(key) - (len(order) - 1) / 2) * step
        for mark, key in zip(marks, keys, strict=True)
    ]
