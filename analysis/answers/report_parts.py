"""The parts of a report, free of any format: sentences, tables and figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.statistics.interval import Estimate
from study.results.finals.final_records import FinalRecord

Cell = str | int | float | None | Estimate
"""A value of a table; an estimate is shown with its interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows under headings."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    digits: int = 4
    """Number of decimals of values that are not whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One sequence of points, or a line, of a figure."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    """Lower ends of intervals; given together with ``high``."""
    high: Sequence[float] | None = None
    labels: Sequence[str] = ()
    """Text that is shown when a point is touched; empty for lines."""
    is_line: bool = False
    is_reference: bool = False
    """Is it what others are compared with? Drawn in grey."""
    is_range: bool = False
    """Is it drawn as wide pale bars from ``low`` to ``high``, behind all points?"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A drawing of several series on common axes."""

    name: str
    """Stem of the figure's file names; unique in a report."""
    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_x: bool = False
    log_y: bool = False
    categories: Sequence[str] = ()
    """Names of the positions 0, 1, ... on the x axis, if it has no scale."""
    alt: str = ""
    """Description of what is seen, for those who cannot see it."""
    caption: str = ""
    """Explanation of the marks, below the drawing."""
    is_compact: bool = False
    """Is its text large enough to be read at the width of a phone, and its legend below it?"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One of the few statements of a first screen."""

    label: str
    """What kind of statement it is, in two or three words."""
    clauses: Sequence[str]
    """Whole sentences, one for each horizon where these differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstScreen:
    """What a reader sees before anything else: a headline, a picture and three statements."""

    scope: str
    """The market and the days of which everything is said."""
    headline: str
    findings: Sequence[Finding]
    figure: Figure | None
    """None where there is nothing to draw yet."""
    numbers_in: str
    """Name of the section that has the numbers of the picture in a table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One question with its answer."""

    name: str
    """Anchor of the section; unique in a report."""
    title: str
    sentences: Sequence[str]
    """Answers in words, computed from ``numbers``."""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    numbers: dict[str, Any] = field(default_factory=dict)
    """What sentences and tables were computed from, for report.json."""


def shown(value: Cell, digits: int = 4) -> str:
    """Return a value as a reader sees it."""
    match value:
        case None:
            return "-"
        case Estimate():
            return shown_estimate(value, digits)
        case bool() | str():
            return str(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.{digits}f}"
    raise TypeError(f"{type(value).__name__} is no value of a table")


def shown_estimate(estimate: Estimate, digits: int = 4) -> str:
    """Return a number with its interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def sort_key(value: Cell) -> float | str:
    """Return the key by which a column of such values is sorted."""
    if isinstance(value, Estimate):
        return value.value
    return float("-inf") if value is None else value


def plain(value: Any) -> Any:
    """Return any value as JSON can hold it; a number that is not finite is missing."""
    if isinstance(value, Estimate):
        return {"value": plain(value.value), "low": value.low, "high": value.high, "se": value.se}
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if hasattr(value, "item"):
        return plain(value.item())
    return value


def days_ahead(horizon: int) -> str:
    """Return a horizon as a reader says it."""
    return "1 day ahead" if horizon == 1 else f"{horizon} days ahead"


def low_end(estimate: Estimate) -> float:
    """Return the lower end of an interval, to be drawn; the value where there is none."""
    return estimate.value if estimate.low is None else estimate.low


def high_end(estimate: Estimate) -> float:
    """Return the upper end of an interval, to be drawn; the value where there is none."""
    return estimate.value if estimate.high is None else estimate.high


def closing_facts(finals: Sequence[FinalRecord], other_phases: Sequence[str]) -> list[str]:
    """Return when test labels were first read, by which code, and what stands in other reports."""
    facts = []
    if finals:
        facts.append(
            f"Test labels first read {min(final.test_opened for final in finals)}; code "
            f"{', '.join(sorted({final.commit for final in finals}))}."
        )
    if other_phases:
        facts.append(
            f"Not in this report: {', '.join(other_phases)}. They are searches of the same "
            "study, each with a report of its own: --study NAME."
        )
    return facts
