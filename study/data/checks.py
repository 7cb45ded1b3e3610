"""The rules that daily bars must keep, and the oddities worth a warning."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from study.data.arrays import DayArray, PriceArray
from study.data.tables import BAR_COLUMNS, DATE_COLUMN, BarTable
from study.errors import DataError

MAX_GAP_DAYS = 7
"""Calendar days between two bars above which a warning is given: longer than any usual holiday."""

_OPEN, _HIGH, _LOW, _CLOSE, _VOLUME = range(5)

# Adjusted prices are rounded by their vendors, so a High may miss the Close by a last digit.
_ROUNDING = 1e-6

_MAX_SHOWN = 20

# Below this share, equal prices are chance; the S&P 500 of 2000 has 98 %.
_STALE_OPEN_SHARE = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckResult:
    """What one check found."""

    name: str
    status: Literal["ok", "warning", "error"]
    messages: tuple[str, ...] = ()


def check_table(table: BarTable) -> tuple[CheckResult, ...]:
    """Run every check; warnings are looked for only in bars that break no rule."""
    results = [_run(name, "error", check, table) for name, check in _RULES]
    if all(result.status == "ok" for result in results):
        results += [_run(name, "warning", check, table) for name, check in _ODDITIES]
    return tuple(results)


def require_clean(results: tuple[CheckResult, ...]) -> tuple[str, ...]:
    """Return the warnings.

    Raises:
        DataError: a rule is broken; the message names file, row, date, column and value.
    """
    for result in results:
        if result.status == "error":
            raise DataError(result.messages[0])
    return tuple(message for result in results for message in result.messages)


_Check = Callable[[BarTable], list[str]]


def _run(
    name: str, failure: Literal["warning", "error"], check: _Check, table: BarTable
) -> CheckResult:
    messages = tuple(check(table))
    return CheckResult(name=name, status=failure if messages else "ok", messages=messages)


def _broken(
    table: BarTable,
    bad: npt.NDArray[np.bool_],
    column: str,
    rule: str,
    remedy: str,
    beside: tuple[str, ...] = (),
) -> list[str]:
    """Return one message on the first bad row, or none; ``beside`` names columns to show too."""
    if not bad.any():
        return []
    at = int(np.argmax(bad))
    day = "no date" if np.isnat(table.days[at]) else str(table.days[at])
    got = ", ".join(f"{name}={table.cells[name][at]}" for name in (column, *beside))
    others = int(bad.sum()) - 1
    more = f" (and {others} more {'row' if others == 1 else 'rows'})" if others else ""
    return [
        f"{table.where} row {table.rows[at]} ({day}) column {column}: "
        f"{rule}, but got {got}{more}. {remedy}"
    ]


def _has_bars(table: BarTable) -> list[str]:
    if len(table.days):
        return []
    return [f"{table.where}: must hold daily bars, but got rows=0. Give a file with prices."]


def _dates_are_days(table: BarTable) -> list[str]:
    return _broken(
        table,
        np.isnat(table.days),
        DATE_COLUMN,
        "must be an ISO date such as 2024-03-28",
        "Correct or remove the row.",
    )


def _dates_are_unique(table: BarTable) -> list[str]:
    return _broken(
        table,
        np.append(False, np.diff(table.days) == np.timedelta64(0, "D")),
        DATE_COLUMN,
        "must differ from the row before, one bar a day",
        "Remove the duplicate; intraday bars must be made daily first.",
    )


def _dates_rise(table: BarTable) -> list[str]:
    return _broken(
        table,
        np.append(False, np.diff(table.days) < np.timedelta64(0, "D")),
        DATE_COLUMN,
        "must be later than the row before",
        "Sort the file, oldest first.",
    )


def _cells_are_numbers(table: BarTable) -> list[str]:
    return [
        message
        for at, column in enumerate(BAR_COLUMNS)
        for message in _broken(
            table,
            ~np.isfinite(table.values[:, at]),
            column,
            "must be a finite number",
            "Fill in the value or remove the row.",
        )
    ]


def _prices_are_positive(table: BarTable) -> list[str]:
    prices = [
        message
        for at in (_OPEN, _HIGH, _LOW, _CLOSE)
        for message in _broken(
            table,
            table.values[:, at] <= 0,
            BAR_COLUMNS[at],
            "must be > 0",
            "Correct or remove the row.",
        )
    ]
    volumes = _broken(
        table, table.values[:, _VOLUME] < 0, "Volume", "must be >= 0", "Correct or remove the row."
    )
    return prices + volumes


def _high_is_highest(table: BarTable) -> list[str]:
    values = table.values
    highest = values[:, [_OPEN, _LOW, _CLOSE]].max(axis=1)
    return _broken(
        table,
        values[:, _HIGH] < highest * (1 - _ROUNDING),
        "High",
        "must be >= Open, Low and Close",
        "Correct or remove the row.",
        beside=("Open", "Low", "Close"),
    )


def _low_is_lowest(table: BarTable) -> list[str]:
    values = table.values
    lowest = values[:, [_OPEN, _HIGH, _CLOSE]].min(axis=1)
    return _broken(
        table,
        values[:, _LOW] > lowest * (1 + _ROUNDING),
        "Low",
        "must be <= Open, High and Close",
        "Correct or remove the row.",
        beside=("Open", "High", "Close"),
    )


def _long_gaps(table: BarTable) -> list[str]:
    gaps = np.diff(table.days).astype(np.int64)
    return [
        f"{table.where} row {table.rows[at + 1]}: {gaps[at]} calendar days without a bar, "
        f"{table.days[at]} to {table.days[at + 1]}"
        for at in np.flatnonzero(gaps > MAX_GAP_DAYS)
    ]


def _zero_volumes(table: BarTable) -> list[str]:
    zero = np.flatnonzero(table.values[:, _VOLUME] == 0)
    if not len(zero):
        return []
    shown = ", ".join(str(day) for day in table.days[zero[:_MAX_SHOWN]])
    more = f" and {len(zero) - _MAX_SHOWN} more" if len(zero) > _MAX_SHOWN else ""
    return [f"{table.where}: zero volume on {len(zero)} days: {shown}{more}"]


def _stale_opens(table: BarTable) -> list[str]:
    shares = stale_open_share(table.days, table.values)
    stale = {year: share for year, share in shares.items() if share > _STALE_OPEN_SHARE}
    if not stale:
        return []
    shown = ", ".join(f"{year} {share:.0%}" for year, share in list(stale.items())[:_MAX_SHOWN])
    more = f" and {len(stale) - _MAX_SHOWN} more years" if len(stale) > _MAX_SHOWN else ""
    return [f"{table.where}: Open equals the previous Close on many days: {shown}{more}"]


def stale_open_share(days: DayArray, values: PriceArray) -> dict[int, float]:
    """Return, by year, the share of days whose Open is just the previous Close.

    Such an Open is a filler, and where its share changes over the years a feature built on it
    tells the era.

    Args:
        days: datetime64[D] of shape (n_days,), oldest first.
        values: bars of shape (n_days, 5) in the order of BAR_COLUMNS.
    """
    years = days[1:].astype("datetime64[Y]").astype(np.int64) + 1970
    equal = values[1:, _OPEN] == values[:-1, _CLOSE]
    return {int(year): float(equal[years == year].mean()) for year in np.unique(years)}


_RULES: tuple[tuple[str, _Check], ...] = (
    ("has bars", _has_bars),
    ("dates are days", _dates_are_days),
    ("dates differ", _dates_are_unique),
    ("oldest first", _dates_rise),
    ("cells are numbers", _cells_are_numbers),
    ("prices are positive", _prices_are_positive),
    ("High is highest", _high_is_highest),
    ("Low is lowest", _low_is_lowest),
)
_ODDITIES: tuple[tuple[str, _Check], ...] = (
    (f"gaps over {MAX_GAP_DAYS} days", _long_gaps),
    ("zero volume", _zero_volumes),
    ("Open equals previous Close", _stale_opens),
)
