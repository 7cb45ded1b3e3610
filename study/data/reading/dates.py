"""Dates as files write them, read by the whole column: no cell is interpreted by itself."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from study.data.arrays import DayArray, IndexArray
from study.data.reading.date_text import has_shape_of_a_date, read_texts
from study.errors import DataError, cause, quoted

_DIGITS = re.compile(r"-?[0-9]{1,24}(\.0*)?")
_UNITS = (
    ("seconds", 1),
    ("milliseconds", 10**3),
    ("microseconds", 10**6),
    ("nanoseconds", 10**9),
)
_LEAST_EPOCH, _MOST_EPOCH = 10**8, 4 * 10**9
"""Seconds from 1973-03-03 to 2096-10-02: the ranges of the four units do not meet."""

_LONG_STEP = 31
"""Most days between two bars of a daily series."""

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
            found = _dates(*read_texts(texts, where))
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
    return has_shape_of_a_date(cell)


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
