"""Dates in cells of text, read in the shape and the order in which their column is written."""

import calendar
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from study.data.arrays import DayArray
from study.errors import DataError, quoted

_TIME = (
    r"(?:(?:\s*T\s*|\s*,\s*|\s+)(?P<clock>"
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?"
    r"|(?P<hour6>\d\d)(?P<minute6>\d\d)(?P<second6>\d\d)?)"
    r"\s*(?P<half>[AaPp])?(?(half)\.?[Mm]\.?)"
    r"\s*(?P<zone>Z|(?:UTC|GMT)?[+-]\d\d(?::?\d\d)?|UTC|GMT)?(?:\[[\w/+-]+\])?)?"
)
_WEEKDAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*\.?,?\s+)?"
_MONTH = r"(?P<name>[^\W\d_]{3,9})\.?"
_SHAPES = {
    "year first": re.compile(
        r"(?:(?P<a>\d{4})(?P<mark>[-/.])(?P<b>\d{1,2})(?P=mark)(?P<c>\d{1,2})"
        r"|(?P<a8>\d{4})(?P<b8>\d\d)(?P<c8>\d\d))" + _TIME
    ),
    "three numbers": re.compile(
        r"(?P<a>\d{1,2})(?P<mark>[-/.])\s?(?P<b>\d{1,2})(?P=mark)\s?(?P<c>\d{4}|\d\d)" + _TIME
    ),
    "day, name": re.compile(
        _WEEKDAY + r"(?P<day>\d{1,2})(?P<mark>[-/ ]|\.\s?)" + _MONTH
        + r"[-/ ,]\s?(?P<year>\d{4}|\d\d)" + _TIME
    ),
    "name, day": re.compile(
        _WEEKDAY + _MONTH + r"(?P<mark>[-/ ])(?P<day>\d{1,2})(?:st|nd|rd|th)?[-/ ,]\s?"
        r"(?P<year>\d{4}|\d\d)" + _TIME
    ),
}  # fmt: skip
"""Shapes of a date, the time of day and the zone behind it."""

_SHOWN = {
    "day, name": "28 Mar 2024",
    "name, day": "Mar 28, 2024",
}
_MONTHS = {name.lower(): at for at, name in enumerate(calendar.month_abbr) if name} | {
    "mrz": 3, "m\u00e4r": 3, "mae": 3, "mai": 5, "okt": 10, "dez": 12,
}  # fmt: skip
"""The first three letters of English months, and of German ones where they differ."""

_DAILY_STEP = 4
"""Most days of nearly all steps of a daily series (a long week-end)."""

_FIRST_YEAR_OF_TWO_DIGITS = 50
"""First of the two-digit years that mean 19..: many series begin in 1950, and none ends after
2049."""


def has_shape_of_a_date(text: str) -> bool:
    """Is a text written in one of the shapes, whatever its numbers are?"""
    return any(shape.fullmatch(text) for shape in _SHAPES.values())


def read_texts(
    texts: Sequence[str], where: str
) -> tuple[DayArray, list[int], list[int | None], str]:
    """Return days, seconds after midnight, offsets of zones in seconds, and how they are written.

    Days are NaT where a text has not the shape of most of them; an offset is None where no zone is
    named.

    Raises:
        DataError: the column can be read in two orders, or names months in a third language.
    """
    matches = [_match(text) for text in texts]
    usual = Counter(shape for shape, _ in filter(None, matches)).most_common(1)
    if not usual:
        unknown = np.full(len(texts), np.datetime64("NaT"), dtype="datetime64[D]")
        return unknown, [0] * len(texts), [None] * len(texts), "no dates"
    shape = usual[0][0]
    parts = [match[1] if match is not None and match[0] == shape else None for match in matches]
    if shape == "three numbers":
        days, form = _of_three_numbers(parts, texts, where)
    else:
        _require_known_months(parts, texts, where)
        days, form = _of_one_order(parts, shape)
    clocks = [(0, None) if part is None else _clock(part) for part in parts]
    days[[clock is None for clock in clocks]] = np.datetime64("NaT")
    return (
        days,
        [0 if clock is None else clock[0] for clock in clocks],
        [None if clock is None else clock[1] for clock in clocks],
        form,
    )


def _match(text: str) -> tuple[str, re.Match[str]] | None:
    if re.fullmatch(r"\d{14}(\.0*)?", text):
        text = f"{text[:8]} {text[8:14]}"
    elif re.fullmatch(r"\d{8}\.0*", text):
        text = text[:8]
    for shape, pattern in _SHAPES.items():
        found = pattern.fullmatch(text)
        if found is not None:
            return shape, found
    return None


def _clock(part: re.Match[str]) -> tuple[int, int | None] | None:
    """Return a stamp's time of day and its zone's offset in seconds; None if there is no such."""
    if part["clock"] is None:
        return 0, None
    hour, minute, second = (
        int(part[name] or part[f"{name}6"] or 0) for name in ("hour", "minute", "second")
    )
    if part["half"] is not None:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if part["half"] in "Pp" else 0)
    if hour > 23 or minute > 59 or second > 60:
        return None
    offset = None
    if part["zone"] is not None:
        digits = part["zone"].lstrip("ZUTCGM").replace(":", "").ljust(5, "0")
        offset = int(digits[1:3]) * 3600 + int(digits[3:]) * 60
        offset = -offset if digits[0] == "-" else offset
    return hour * 3600 + minute * 60 + second, offset


def _require_known_months(
    parts: Sequence[re.Match[str] | None], texts: Sequence[str], where: str
) -> None:
    """Refuse months in a third language; a single unknown one is a slip of its row."""
    unknown = [
        text
        for part, text in zip(parts, texts, strict=True)
        if part is not None and "name" in part.re.groupindex and _month(part["name"]) is None
    ]
    if len(unknown) > 1:
        raise DataError(
            f"{where}: must name months in English or German, but got {quoted(unknown[0])} (and "
            f"{len(unknown) - 1} more). Export the file in English, or write dates as 2024-03-28."
        )


def _month(name: str) -> int | None:
    return _MONTHS.get(name[:3].lower())


def _of_one_order(parts: Sequence[re.Match[str] | None], shape: str) -> tuple[DayArray, str]:
    """Return the days of cells whose shape shows which number is year, month and day."""
    fields = np.full((len(parts), 3), -1, dtype=np.int64)
    marks: Counter[str] = Counter()
    for at, part in enumerate(parts):
        if part is None:
            continue
        if shape == "year first":
            fields[at] = [int(part[name] or part[f"{name}8"]) for name in "abc"]
            marks[part["mark"] or ""] += 1
        else:
            month = _month(part["name"]) or -1
            fields[at] = [_year(part["year"]), month, int(part["day"])]
    if shape == "year first":
        mark = marks.most_common(1)[0][0]
        form = f"dates YYYY{mark}MM{mark}DD"
    else:
        form = f"dates like {_SHOWN[shape]}"
    return _days(*fields.T), form


def _of_three_numbers(
    parts: Sequence[re.Match[str] | None], texts: Sequence[str], where: str
) -> tuple[DayArray, str]:
    """Return the days of cells like 03/04/2024 in the one order that the column allows."""
    at = np.array([index for index, part in enumerate(parts) if part is not None])
    matched = [part for part in parts if part is not None]
    short = any(len(part["c"]) == 2 for part in matched)
    first, second = (np.array([int(part[name]) for part in matched]) for name in "ab")
    last = np.array([_year(part["c"]) for part in matched])
    mark = Counter(part["mark"] for part in matched).most_common(1)[0][0]
    readings = {
        "DD{0}MM{0}YYYY": _days(last, second, first),
        "MM{0}DD{0}YYYY": _days(last, first, second),
    }
    if short:
        years = np.array([_year(f"{value:02}") for value in first])
        day = np.array([int(part["c"]) if len(part["c"]) == 2 else -1 for part in matched])
        readings["YY{0}MM{0}DD"] = _days(years, second, day)
        readings = {order.replace("YYYY", "YY"): days for order, days in readings.items()}
    readings = {order.format(mark): days for order, days in readings.items()}
    # A cell that is no day in any order is a slip of its row, and says nothing of the others.
    possible = ~np.all([np.isnat(days) for days in readings.values()], axis=0)
    valid = {o: days for o, days in readings.items() if not np.isnat(days[possible]).any()}
    if not valid:
        raise DataError(
            f"{where}: must write all dates in one order, but got "
            + ", ".join(
                f"{quoted(texts[at[possible & np.isnat(days)][0]])}, which is not {order}"
                for order, days in readings.items()
            )
            + ". A spreadsheet may have swapped day and month of some: export the file again."
        )
    distinct = {days[possible].tobytes(): order for order, days in valid.items()}
    if len(distinct) > 1:
        daily = [order for order in distinct.values() if _is_daily(valid[order][possible])]
        if len(daily) != 1:
            cell = texts[at[possible][0]]
            orders = [f"{valid[order][possible][0]} by {order}" for order in distinct.values()]
            raise DataError(
                f"{where}: must show which number is the day, but got {quoted(cell)}, which is "
                f"{' or '.join(orders)}, and no row that decides. Write dates as 2024-03-28."
            )
        order = daily[0]
    else:
        order = next(iter(valid))
    days = np.full(len(parts), np.datetime64("NaT"), dtype="datetime64[D]")
    days[at] = valid[order]
    return days, f"dates {order}"


def _is_daily(days: DayArray) -> bool:
    """Do days only rise or only fall, mostly by the steps of a daily series?"""
    steps = np.diff(days).astype(np.int64)
    steps = steps[steps != 0]
    one_way = (steps > 0).all() or (steps < 0).all()
    return (
        len(steps) > 0
        and bool(one_way)
        and 2 * int((abs(steps) <= _DAILY_STEP).sum()) >= len(steps)
    )


def _year(digits: str) -> int:
    year = int(digits)
    if len(digits) > 2:
        return year
    return year + (1900 if year >= _FIRST_YEAR_OF_TWO_DIGITS else 2000)


def _days(
    years: npt.NDArray[np.int64], months: npt.NDArray[np.int64], days: npt.NDArray[np.int64]
) -> DayArray:
    """Return calendar days, NaT where there is no such day."""
    valid = (years >= 1) & (months >= 1) & (months <= 12) & (days >= 1)
    month = ((years - 1970) * 12 + months - 1).astype("datetime64[M]")
    found: DayArray = month.astype("datetime64[D]") + (days - 1).astype("timedelta64[D]")
    found[~valid | (found.astype("datetime64[M]") != month)] = np.datetime64("NaT")
    return found
