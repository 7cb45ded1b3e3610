"""Dates as files write them, read by the whole column: no cell is interpreted by itself."""

import calendar
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.data.arrays import DayArray, IndexArray
from study.errors import DataError, cause, quoted

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

_DIGITS = re.compile(r"-?[0-9]{1,24}(\.0*)?")
_UNITS = (
    ("seconds", 1),
    ("milliseconds", 10**3),
    ("microseconds", 10**6),
    ("nanoseconds", 10**9),
)
_LEAST_EPOCH, _MOST_EPOCH = 10**8, 4 * 10**9
"""Seconds from 1973-03-03 to 2096-10-02: the ranges of the four units do not meet."""

_LONG_STEP, _DAILY_STEP = 31, 4
"""Most days between two bars of a daily series, and most of nearly all steps (a long week-end)."""

_FIRST_YEAR_OF_TWO_DIGITS = 50
"""First of the two-digit years that mean 19..: many series begin in 1950, and none ends after
2049."""

_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, kw_only=True, slots=True)
class Dates:
    """The days of a column, and what its stamps say beside them."""

    days: DayArray
    """Days by each stamp's own clock, datetime64[D] of shape (n,); NaT where the cell is no
    date."""
    seconds: IndexArray
    """Time of day by the same clock, seconds after midnight, shape (n,); 0 where there is none."""
    offsets: IndexArray
    """Seconds by which that clock is before Greenwich, shape (n,); 0 where no zone is named."""
    zones: frozenset[str]
    """The time zones that the stamps name, as ``+00:00``; empty if they name none."""
    is_zoned: bool
    """Does every date name its zone?"""
    form: str
    """How the dates are written, in words."""


def read_dates(cells: Sequence[object], times: Sequence[object] | None, where: str) -> Dates:
    """Read a column of dates that are all written in one way.

    Which of the numbers of ``03/04/2024`` is the day is decided by the whole column: by days above
    12, else by the reading that gives a daily series where the others do not. Numbers are epoch
    stamps, in UTC and of a unit that follows from their size, or days like 20240328. A cell that is
    written in another way than most is no date.

    Args:
        cells: text, or what a Parquet file holds: timestamps, days, numbers.
        times: times of day from a column of their own, None if there is none.
        where: file and column, for messages.

    Raises:
        DataError: the cells can be read in two ways, or none is a date.
    """
    if times is not None:
        cells = [f"{_text(cell)} {_text(time)}" for cell, time in zip(cells, times, strict=True)]
    if any(isinstance(cell, date) for cell in cells):
        found = _of_timestamps(cells)
    else:
        texts = [_text(cell) for cell in cells]
        present = [text for text in texts if text]
        numbers = sum(_DIGITS.fullmatch(text) is not None for text in present)
        if 2 * numbers > len(present) and not _are_compact(present):
            found = _of_numbers(texts, where)
        else:
            found = _of_texts(texts, where)
    if len(cells) and np.isnat(found.days).all():
        raise DataError(
            f"{where}: must hold dates, but got {quoted(_first_text(cells))} and no date in "
            f"{len(cells)} {'cell' if len(cells) == 1 else 'cells'}. Write them as 2024-03-28."
        )
    return found


def in_timezone(dates: Dates, name: str, where: str) -> Dates:
    """Return the days and times of a zone's clock, such as ``Europe/Berlin``.

    Raises:
        DataError: there is no such zone, or the stamps do not name theirs.
    """
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise DataError(
            f"--timezone: must be a zone's name, but got {quoted(name)} ({cause(error)}). Give one "
            "such as America/New_York or Europe/Berlin."
        ) from error
    if not dates.is_zoned:
        raise DataError(
            f"{where}: must hold stamps with their zone (2024-03-28 23:00:00+00:00, or epoch "
            f"seconds) to be shown in another, but got {dates.form}. Leave --timezone out."
        )
    known = ~np.isnat(dates.days)
    stamps = dates.days.astype("datetime64[s]") + (dates.seconds - dates.offsets)
    local = pd.DatetimeIndex(stamps[known]).tz_localize("UTC").tz_convert(zone)
    naive = local.tz_localize(None).to_numpy().astype("datetime64[s]")
    days, seconds, offsets = dates.days.copy(), dates.seconds.copy(), dates.offsets.copy()
    days[known] = naive.astype("datetime64[D]")
    seconds[known] = (naive - naive.astype("datetime64[D]")).astype(np.int64)
    offsets[known] = (naive - stamps[known]).astype(np.int64)
    return replace(
        dates,
        days=days,
        seconds=seconds,
        offsets=offsets,
        zones=frozenset(map(_zone_name, np.unique(offsets[known]).tolist())),
        form=f"{dates.form}, days of {name}",
    )


def are_times(cells: Sequence[object]) -> bool:
    """Does a column beside the dates hold times of day, such as 16:00 or 000000?"""
    texts = [_text(cell) for cell in cells]
    return bool(texts) and all(
        re.fullmatch(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?(\s*[AaPp][Mm])?|\d{6}", text) for text in texts
    )


def is_date(cell: str) -> bool:
    """Could a cell of text be a date, or an epoch stamp?"""
    if _DIGITS.fullmatch(cell):
        return len(cell) >= 8
    return any(shape.fullmatch(cell) for shape in _SHAPES.values())


def _text(cell: object) -> str:
    if cell is None or cell is pd.NaT or cell is pd.NA:
        return ""
    if isinstance(cell, float) and math.isnan(cell):
        return ""
    return str(cell).strip()


def _first_text(cells: Sequence[object]) -> object:
    return next((cell for cell in cells if _text(cell)), cells[0])


def _of_timestamps(cells: Sequence[object]) -> Dates:
    stamps = [cell if isinstance(cell, date) and not pd.isna(cell) else None for cell in cells]
    days = np.array(
        [
            "NaT" if cell is None else f"{cell.year:04}-{cell.month:02}-{cell.day:02}"
            for cell in stamps
        ],
        dtype="datetime64[D]",
    )
    seconds = [
        cell.hour * 3600 + cell.minute * 60 + cell.second if isinstance(cell, datetime) else 0
        for cell in stamps
    ]
    shifts = [cell.utcoffset() if isinstance(cell, datetime) else None for cell in stamps]
    return _dates(days, seconds, [_seconds_of(shift) for shift in shifts], "timestamps")


def _seconds_of(shift: timedelta | None) -> int | None:
    return None if shift is None else round(shift.total_seconds())


def _dates(
    days: DayArray, seconds: Sequence[int], offsets: Sequence[int | None], form: str
) -> Dates:
    known = np.flatnonzero(~np.isnat(days)).tolist()
    named = [offsets[at] for at in known if offsets[at] is not None]
    zones = frozenset(_zone_name(offset) for offset in set(named) if offset is not None)
    zone = f", zone {', '.join(sorted(zones))}" if zones else ""
    return Dates(
        days=days,
        seconds=np.array(seconds, dtype=np.int64),
        offsets=np.array([offset or 0 for offset in offsets], dtype=np.int64),
        zones=zones,
        is_zoned=bool(known) and len(named) == len(known),
        form=form + zone,
    )


def _zone_name(offset: int) -> str:
    minutes = abs(offset) // 60
    return f"{'-' if offset < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _are_compact(texts: Sequence[str]) -> bool:
    """Are most of the numbers calendar days (20240328), with or without a time of day?"""

    def is_day(text: str) -> bool:
        digits = text.split(".")[0]
        if len(digits) not in (8, 14) or not _DIGITS.fullmatch(text):
            return False
        year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
        return 1800 <= year < 2200 and 1 <= month <= 12 and 1 <= day <= 31

    return 2 * sum(map(is_day, texts)) > len(texts)


def _of_numbers(texts: Sequence[str], where: str) -> Dates:
    """Read epoch stamps of one unit, in UTC."""
    stamps = [int(text.split(".")[0]) if _DIGITS.fullmatch(text) else None for text in texts]
    present = [stamp for stamp in stamps if stamp is not None]
    units = [_unit_of(stamp) for stamp in present]
    largest = max(present, key=abs)
    unit, scale = _unit_of(largest) or ("", 0)
    if not scale:
        raise DataError(
            f"{where}: must hold dates, but got the number {largest}, which is neither a day such "
            "as 20240328 nor an epoch stamp. Write dates as 2024-03-28."
        )
    seconds = np.array([0 if stamp is None else stamp // scale for stamp in stamps], dtype=np.int64)
    known = np.array([stamp is not None for stamp in stamps])
    steps = np.abs(np.diff(seconds[known]))
    others = [name for name, _ in filter(None, units) if name != unit]
    if others and len(steps) and steps.max() > _LONG_STEP * _SECONDS_A_DAY:
        # Early stamps are small numbers of the same unit, near their neighbours; these are not.
        raise DataError(
            f"{where}: must hold stamps of one unit, but got {others[0]} and {unit} (Binance has "
            "written microseconds since 2025). Convert one part of the file."
        )
    if len(steps) and np.median(steps) > _LONG_STEP * _SECONDS_A_DAY:
        raise DataError(
            f"{where}: must hold daily dates, but got {quoted(largest)}, and as epoch {unit} such "
            f"numbers lie {np.median(steps) / _SECONDS_A_DAY:.0f} days apart. Write dates as "
            "2024-03-28."
        )
    days = seconds // _SECONDS_A_DAY
    column = days.astype("datetime64[D]")
    column[~known] = np.datetime64("NaT")
    offsets = [0 if each else None for each in known.tolist()]
    return _dates(column, (seconds - days * _SECONDS_A_DAY).tolist(), offsets, f"epoch {unit}")


def _unit_of(stamp: int) -> tuple[str, int] | None:
    """Return the unit of an epoch stamp, and how many of it make a second."""
    for name, scale in _UNITS:
        if _LEAST_EPOCH * scale <= abs(stamp) < _MOST_EPOCH * scale:
            return name, scale
    return None


def _of_texts(texts: Sequence[str], where: str) -> Dates:
    matches = [_match(text) for text in texts]
    usual = Counter(shape for shape, _ in filter(None, matches)).most_common(1)
    if not usual:
        unknown = np.full(len(texts), np.datetime64("NaT"), dtype="datetime64[D]")
        return _dates(unknown, [0] * len(texts), [None] * len(texts), "no dates")
    shape = usual[0][0]
    parts = [match[1] if match is not None and match[0] == shape else None for match in matches]
    if shape == "three numbers":
        days, form = _of_three_numbers(parts, texts, where)
    else:
        _require_known_months(parts, texts, where)
        days, form = _of_one_order(parts, shape)
    clocks = [(0, None) if part is None else _clock(part) for part in parts]
    days[[clock is None for clock in clocks]] = np.datetime64("NaT")
    return _dates(
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
