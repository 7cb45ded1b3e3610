"""Columns beside the bars that contradict them: several names, an adjustment that was not made."""

import re
from collections.abc import Sequence

import numpy as np

from study.data.arrays import PriceArray
from study.data.findings import Finding, error, listed
from study.data.tables import BarTable
from study.errors import quoted
from study.number_text import decimal_mark, read_number

_CLOSE = 3

_INSTRUMENT_COLUMNS = frozenset(
    "symbol ticker tickers tic name names code isin cusip figi sedol permno permco gvkey secid ric "
    "wkn instrument instrumentid instrumentname security securityname securitycode securityid asset "
    "contract stock stockcode tscode actsymbol pair coin product productid underlying localcode "
    "company index marketcode root".split()
)
"""Columns that name what is traded, letters and digits only: what vendors call them."""

_UNIT_COLUMNS = frozenset(
    "currency ccy quotecurrency unit units interval timeframe frequency resolution".split()
)
"""Columns that name what prices are quoted in, or how long a bar is."""

_ADJUSTED_CLOSES = frozenset(
    "adjclose adjustedclose closeadj closeadjusted adjustmentclose adjcloseprice adjclosed".split()
)

_FACTORS = frozenset(
    "adjustmentfactor adjfactor adjustfactor splitfactor stocksplits stocksplit splitratio "
    "splitcoefficient splits split cfacpr factor cumfactor cumulativefactor".split()
)
"""Split of the day (1 or 0 on others), or the product of all later ones: vendors do both."""

_RATIO = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[:/]\s*(\d+(?:\.\d+)?)\s*")

_LEAST_ROWS_A_NAME = 2
"""A column with another value in almost every row numbers the rows, and names nothing."""

_LARGEST_DIVIDEND = 1.2
"""Factor between two days of Adj Close / Close above which it is no dividend but a split, or a
payment as large as one. Of the 12,000 days of AAPL, FB, GOOG, IBM and MSFT from 2000 to 2013 it is
exceeded on the three days of their splits and on no other; the largest dividend makes 1.12."""

_SHOWN = 5


def named_instruments(table: BarTable) -> tuple[str, tuple[str, ...]] | None:
    """Return the column that names several instruments with the first names; None if none does."""
    several = _several_values(table, _INSTRUMENT_COLUMNS)
    return several[0] if several else None


def one_instrument(table: BarTable) -> list[Finding]:
    """Do columns that name instrument, unit or length of a bar say one thing throughout?"""
    found = []
    for kinds, what, remedy in (
        (_INSTRUMENT_COLUMNS, "instruments", "Keep the rows of one"),
        (_UNIT_COLUMNS, "units", "Bring the rows to one"),
    ):
        for column, values in _several_values(table, kinds):
            cells = [str(cell).strip() for cell in table.others[column]]
            at = next(row for row, cell in enumerate(cells) if cell == values[1])
            changes = sum(a != b for a, b in zip(cells[:-1], cells[1:], strict=True))
            how = "one after the other" if changes < len(set(cells)) else "mixed"
            found.append(
                error(
                    f"{table.where} row {table.rows[at]} ({table.days[at]}) column "
                    f"{quoted(column)}: must hold one value, but got several {what}, {how}: "
                    f"{', '.join(map(quoted, values))}. {remedy}, each by itself."
                )
            )
    return found


def _several_values(
    table: BarTable, kinds: frozenset[str]
) -> list[tuple[str, tuple[str, ...]]]:
    found = []
    for column, raw in table.others.items():
        if _plain(column) not in kinds:
            continue
        cells = [text for cell in raw if (text := str(cell).strip())]
        values = tuple(dict.fromkeys(cells))
        if 1 < len(values) <= len(cells) / _LEAST_ROWS_A_NAME:
            more = (f"{len(values) - _SHOWN} more",) if len(values) > _SHOWN else ()
            found.append((column, values[:_SHOWN] + more))
    return found


def prices_are_adjusted(table: BarTable) -> list[Finding]:
    """Do an adjusted close and a split factor of the same file agree that no split is left in?"""
    close = table.values[:, _CLOSE]
    found = []
    for column, raw in table.others.items():
        kind = _plain(column)
        if kind in _ADJUSTED_CLOSES:
            numbers = _numbers(raw)
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio = numbers / close
            days = _steps(ratio)
        elif kind in _FACTORS:
            numbers = _numbers(raw)
            # Days without a split are written as 0, as 1 or not at all.
            days = _in_prices(_steps(np.where(numbers > 0, numbers, 1.0)), close)
        else:
            continue
        if not days:
            continue
        at = days[0][0]
        shown = listed([f"{table.days[row]} by {step:.4g}" for row, step in days], _SHOWN)
        what = (
            "its ratio to Close must not jump"
            if kind in _ADJUSTED_CLOSES
            else "a split must already be in the prices, as they jump with it"
        )
        found.append(
            error(
                f"{table.where} row {table.rows[at]} ({table.days[at]}) column {quoted(column)}: "
                f"{what}, but got a factor that changes on {shown}: Open, High, Low, Close and "
                "Volume are not adjusted for a split (or for a payment as large as one). Give "
                "adjusted prices: multiply the four prices of the days before by the factor."
            )
        )
    return found


def _steps(factor: PriceArray) -> list[tuple[int, float]]:
    """Return the rows in which a factor is another than in the row before, and by how much."""
    with np.errstate(invalid="ignore", divide="ignore"):
        step = factor[1:] / factor[:-1]
        large = np.abs(np.log(step)) > np.log(_LARGEST_DIVIDEND)
    large &= np.isfinite(step) & (step > 0)
    return [(int(at) + 1, float(step[at])) for at in np.flatnonzero(large)]


def _in_prices(steps: list[tuple[int, float]], close: PriceArray) -> list[tuple[int, float]]:
    """Keep the steps that the prices of the same day make too, in either direction.

    yfinance gives the splits beside prices that are adjusted: then nothing jumps, and all is well.
    """
    kept = []
    for at, step in steps:
        moved = abs(np.log(close[at] / close[at - 1]))
        if 0.5 < moved / abs(np.log(step)) < 1.5:
            kept.append((at, step))
    return kept


def _numbers(cells: Sequence[object]) -> PriceArray:
    """Return the numbers of cells, NaN where they hold none; ``4:1`` is 4."""
    mark = decimal_mark(cell for cell in cells if isinstance(cell, str)) or "."
    return np.array([_number(cell, mark) for cell in cells], dtype=np.float64)


def _number(cell: object, mark: str) -> float:
    ratio = _RATIO.fullmatch(cell) if isinstance(cell, str) else None
    if ratio and float(ratio[2]) > 0:
        return float(ratio[1]) / float(ratio[2])
    return read_number(cell, "," if mark == "," else ".")


def _plain(column: str) -> str:
    return "".join(each for each in column.lower() if each.isalnum())
