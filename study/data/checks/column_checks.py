"""Checks of columns that contradict the bars: several units, an adjustment that was not made."""

import re
from collections.abc import Sequence

import numpy as np

from study.data.arrays import PriceArray
from study.data.checks.check_result import FEW_SHOWN, Finding, error, listed
from study.data.reading.columns import ADJUSTED_CLOSE, CLOSE, NAMES, column_key
from study.data.reading.tables import BarTable
from study.errors import quoted
from study.text.number_text import DecimalMark, decimal_mark, read_number

_UNIT_COLUMNS = frozenset(
    "currency ccy quotecurrency unit units interval timeframe frequency resolution".split()
)
"""Columns that name what prices are quoted in, or how long a bar is."""

_FACTORS = frozenset(
    "adjustmentfactor adjfactor adjustfactor splitfactor stocksplits stocksplit splitratio "
    "splitcoefficient splits split cfacpr factor cumfactor cumulativefactor".split()
)
"""Names of columns with the split of the day (1 or 0 on others), or the product of all later ones:
vendors do both."""

_RATIO = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[:/]\s*(\d+(?:\.\d+)?)\s*")

_LARGEST_DIVIDEND = 1.2
"""Factor between two days' Adj Close / Close above which it is no dividend but a split, or a
payment as large as one. Of the 12,000 days of AAPL, FB, GOOG, IBM and MSFT from 2000 to 2013 it is
exceeded on the three days of their splits and on no other; the largest dividend makes 1.11."""


def one_unit(table: BarTable) -> list[Finding]:
    """Do columns that name a currency, or how long a bar is, say one thing throughout?"""
    found = []
    for column, raw in table.others.items():
        if column_key(column) not in _UNIT_COLUMNS:
            continue
        cells = [str(cell).strip() for cell in raw]
        values = list(dict.fromkeys(filter(None, cells)))
        if len(values) < 2:
            continue
        at = cells.index(values[1])
        found.append(
            error(
                f"{table.dated_place(at)} column {quoted(column)}: "
                f"must hold one value, but got {listed(list(map(quoted, values)), FEW_SHOWN)}. "
                "Bring all bars to one unit and one length."
            )
        )
    return found


def prices_are_adjusted(table: BarTable) -> list[Finding]:
    """Do an adjusted close and a split factor of the same file agree that no split is left in?"""
    close = table.values[:, CLOSE]
    found = []
    for column, raw in table.others.items():
        kind = column_key(column)
        if kind in NAMES[ADJUSTED_CLOSE]:
            steps = _steps(_numbers(raw) / close)
            remedy = "import the file with --adjust, or give adjusted prices"
        elif kind in _FACTORS:
            numbers = _numbers(raw)
            # Days without a split are written as 0, as 1 or not at all.
            steps = _in_prices(_steps(np.where(numbers > 0, numbers, 1.0)), close)
            remedy = "give adjusted prices"
        else:
            continue
        if not steps:
            continue
        at = steps[0][0]
        shown = listed([f"{table.days[row]} by {step:.4g}" for row, step in steps], FEW_SHOWN)
        found.append(
            error(
                f"{table.dated_place(at)} column {quoted(column)}: "
                f"prices must be adjusted for splits, but got an adjustment that changes on "
                f"{shown} beside prices without it. It is a split, or a payment as large as one: "
                f"{remedy}."
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
    try:
        mark = decimal_mark(cell for cell in cells if isinstance(cell, str)) or "."
    except ValueError:
        mark = "."  # two notations: what cannot be read in one of them says nothing
    return np.array([_number(cell, mark) for cell in cells], dtype=np.float64)


def _number(cell: object, mark: DecimalMark) -> float:
    ratio = _RATIO.fullmatch(cell) if isinstance(cell, str) else None
    if ratio and float(ratio[2]) > 0:
        return float(ratio[1]) / float(ratio[2])
    return read_number(cell, mark)
