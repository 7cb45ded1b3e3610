"""Files of the prices of many assets: long tables, and wide ones of closes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from study.data.arrays import DayArray, IndexArray, PriceArray
from study.data.panel.panel import BAR_COLUMNS
from study.data.panel_files.sectors import SECTOR_NAMES, name_in, one_sector_each, require_sectors
from study.data.reading.chosen_columns import (
    columns_in_words,
    date_columns,
    place_of_dates,
    require_columns,
    same_or_refused,
)
from study.data.reading.column_values import dates_in_words, numbers_of
from study.data.reading.columns import (
    ADJUSTED_CLOSE,
    ADJUSTED_VOLUME,
    DATE_COLUMN,
    INDEX_KEYS,
    SYMBOL,
    column_key,
    find_columns,
    find_names,
)
from study.data.reading.dates import in_timezone, read_dates
from study.data.reading.file_cells import FileCells, read_cells
from study.data.reading.price_cells import require_plain_prices
from study.data.reading.tables import ROUNDING
from study.errors import DataError, quoted, require
from study.text.number_text import DECIMAL_MARKS, is_missing, read_number

_CLOSE = "Close"


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelTable:
    """The prices of a file, one entry per asset and day that it has, in the order of the file."""

    where: str
    """File, as messages name it."""
    row_word: str
    """Word for a row in a message: ``line`` or ``row``."""
    rows: IndexArray
    """Line of the text file, or row of the table below its header (row 1), of each price, shape
    (n_prices,)."""
    days: DayArray
    """Days, datetime64[D] of shape (n_prices,)."""
    assets: tuple[str, ...]
    """Names of the assets, sorted."""
    asset: IndexArray
    """Position in ``assets`` of the one that each price is of, shape (n_prices,)."""
    close: PriceArray
    """Closes, adjusted where the file has adjusted ones, shape (n_prices,)."""
    bars: Mapping[str, PriceArray]
    """Open, High, Low and Volume, each as ``close``, NaN where a cell is empty; or none."""
    sectors: Mapping[str, str] | None
    """Sector of each asset by its name; None where none are known."""
    understood: tuple[str, ...]
    """How the file was read, a phrase each."""
    notes: tuple[str, ...] = ()
    """What is odd about the file, a line each."""
    accepted: tuple[str, ...] = ()
    """Checks whose refusal was overridden when the file was imported."""

    def place(self, at: int) -> str:
        """Name a price for a message: its row, its asset and its day."""
        name = self.assets[self.asset[at]]
        return f"{self.where} {self.row_word} {self.rows[at]} ({name}, {self.days[at]})"


def read_panel_table(path: Path, timezone: str | None = None) -> PanelTable:
    """Read a text or Parquet file of the prices of many assets.

    A long table has a row per asset and day: a date, a column that names the asset, and its bar or
    its close alone; a column of sectors is read too. A wide table has a row per day: a date, and a
    column of closes per asset. Rows may be in any order. Files of pandas with two rows of header,
    the prices and the assets, are long ones.

    Args:
        path: of the file.
        timezone: zone whose days the rows belong to; None takes the day that each stamp shows.

    Raises:
        DataError: the file cannot be read, a column is missing, a cell is no date or no number, or
            what they mean is not certain.
    """
    return table_of_cells(read_cells(path), timezone)


def table_of_cells(cells: FileCells, timezone: str | None = None) -> PanelTable:
    """Take the prices of cells; see ``read_panel_table``."""
    if cells.symbols is not None:
        cells = _unfolded(cells)
    asset_at = next((at for at in _asset_columns(cells) if _names_assets(cells.columns[at])), None)
    if asset_at is not None:
        return _long(cells, asset_at, timezone)
    of_one = [name for name in ("Open", "High", "Low", _CLOSE) if find_columns(name, cells.names)]
    require(
        len(of_one) < 3,
        cells.where,
        "a panel has three assets or more",
        got=f"the columns {', '.join(of_one)} of a single asset, and none that names assets",
        remedy="Leave --panel out, or add a column Symbol.",
        error=DataError,
    )
    return _wide(cells, timezone)


def _asset_columns(cells: FileCells) -> list[int]:
    """Return the columns that may name assets, if there is a close beside them."""
    closes = {*find_columns(_CLOSE, cells.names), *find_columns(ADJUSTED_CLOSE, cells.names)}
    found = find_columns(SYMBOL, cells.names)
    return [at for at in found if closes - {at}]


def _names_assets(column: Sequence[object]) -> bool:
    """Could a column name assets? Numbers with a fraction are prices of an asset called COIN."""
    values = [read_number(cell) for cell in column[:1000]]
    return not any(np.isfinite(value) and value != int(value) for value in values)


def _unfolded(cells: FileCells) -> FileCells:
    """Return the long table of a file with two rows of header, the prices and the assets."""
    assert cells.symbols is not None
    shared = [at for at, name in enumerate(cells.symbols) if not name]
    symbols = list(dict.fromkeys(filter(None, cells.symbols)))
    fields = list(dict.fromkeys(cells.names[at] for at, each in enumerate(cells.symbols) if each))
    at_of = {
        (name, symbol): at
        for at, (name, symbol) in enumerate(zip(cells.names, cells.symbols, strict=True))
    }
    n_rows = cells.n_rows
    columns: list[Sequence[object]] = [list(cells.columns[at]) * len(symbols) for at in shared]
    columns.append([symbol for symbol in symbols for _ in range(n_rows)])
    empty: list[object] = [None] * n_rows
    for field in fields:
        parts = [
            cells.columns[at_of[field, symbol]] if (field, symbol) in at_of else empty
            for symbol in symbols
        ]
        columns.append([cell for part in parts for cell in part])
    return replace(
        cells,
        names=(*(cells.names[at] for at in shared), SYMBOL, *fields),
        columns=tuple(columns),
        symbols=None,
        rows=np.tile(cells.rows, len(symbols)),
    )


def _long(cells: FileCells, asset_at: int, timezone: str | None) -> PanelTable:
    date_at, position, passed_over, sector_at = _long_positions(cells, asset_at)
    closes = [at for name, at in position.items() if name in (_CLOSE, ADJUSTED_CLOSE)]
    blank = np.array(
        [
            all(map(is_missing, row))
            for row in zip(*(cells.columns[at] for at in closes), strict=True)
        ],
        dtype=np.bool_,
    )
    cells = cells.take(np.flatnonzero(~blank))
    prices = [at for name, at in position.items() if "Volume" not in name]
    require_plain_prices(cells, prices)
    days, written = _days(cells, date_at, timezone)
    names = [name_in(cell) for cell in cells.columns[asset_at]]
    if "" in names:
        at = names.index("")
        raise DataError(
            f"{cells.place(at)} column {cells.names[asset_at]}: must name the asset, but got "
            f"{quoted(cells.columns[asset_at][at])}. Fill it in, or remove the row."
        )
    values, notation = numbers_of(cells, list(position.values()))
    _require_numbers(cells, list(position.values()), values)
    found = dict(zip(position, values.T, strict=True))
    close, bars, kind = _adjusted(cells, found)
    assets = tuple(sorted(set(names)))
    row_of = {name: row for row, name in enumerate(assets)}
    sectors, notes = _sectors_of_column(cells, sector_at, names, days)
    shown = {DATE_COLUMN: date_at, SYMBOL: asset_at, **position}
    left_out = int(blank.sum())
    return PanelTable(
        where=cells.where,
        row_word=cells.row_word,
        rows=cells.rows,
        days=days,
        assets=assets,
        asset=np.array([row_of[name] for name in names], dtype=np.int64),
        close=close,
        bars=bars,
        sectors=sectors,
        notes=notes,
        understood=(
            f"{cells.where}: a row per asset and day, columns "
            + columns_in_words(cells, shown, passed_over),
            written,
            *notation,
            kind,
            *(["sectors"] if sectors else []),
            *([f"{left_out} rows without a close left out"] if left_out else []),
            *cells.notes,
        ),
    )


def _long_positions(
    cells: FileCells, asset_at: int
) -> tuple[int, dict[str, int], dict[str, list[str]], int | None]:
    """Return the places of the date, of the prices, what was passed over, and of the sectors."""
    date_at, _ = date_columns(cells)
    position: dict[str, int] = {}
    passed_over: dict[str, list[str]] = {}
    for name in (*BAR_COLUMNS, _CLOSE, ADJUSTED_CLOSE, ADJUSTED_VOLUME):
        found = [at for at in find_columns(name, cells.names) if at not in (asset_at, date_at)]
        if found:
            position[name] = same_or_refused(cells, found, name)
            passed_over[name] = [cells.names[at] for at in found if at != position[name]]
    require_columns(cells, [DATE_COLUMN] if date_at is None else [], (DATE_COLUMN, SYMBOL, _CLOSE))
    assert date_at is not None
    if not {*BAR_COLUMNS, _CLOSE} <= set(position):
        position = {name: at for name, at in position.items() if name in (_CLOSE, ADJUSTED_CLOSE)}
    sectors = find_names(SECTOR_NAMES, cells.names)
    return date_at, position, passed_over, next(iter(sectors), None)


def _adjusted(
    cells: FileCells, found: Mapping[str, PriceArray]
) -> tuple[PriceArray, dict[str, PriceArray], str]:
    """Return the closes and the bars, adjusted where the file says how, and what they are."""
    bars = {name: found[name] for name in BAR_COLUMNS if name in found}
    if ADJUSTED_CLOSE not in found:
        return found[_CLOSE], bars, f"{'bars' if bars else 'closes alone'}, prices as written"
    adjusted = found[ADJUSTED_CLOSE]
    if _CLOSE not in found:
        return adjusted, {}, "closes alone, adjusted ones"
    close = found[_CLOSE]
    if np.allclose(adjusted, close, rtol=ROUNDING, atol=0, equal_nan=True):
        return close, bars, f"{'bars' if bars else 'closes alone'}, {ADJUSTED_CLOSE} = Close"
    bad = ~(np.isfinite(adjusted) & (adjusted > 0) & (close > 0))
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(
            f"{cells.place(at)} column {ADJUSTED_CLOSE}: must be a number > 0 beside a Close > 0, "
            f"but got {adjusted[at]:g} beside {close[at]:g}. Correct the row, or remove it."
        )
    for name in ("Open", "High", "Low"):
        if bars:
            bars[name] = bars[name] * (adjusted / close)
    if bars and ADJUSTED_VOLUME in found:
        bars["Volume"] = found[ADJUSTED_VOLUME]
    return adjusted, bars, f"{'bars' if bars else 'closes alone'}, adjusted by {ADJUSTED_CLOSE}"


def _sectors_of_column(
    cells: FileCells, sector_at: int | None, names: Sequence[str], days: DayArray
) -> tuple[dict[str, str] | None, tuple[str, ...]]:
    """Return the latest sector of each asset, and which assets had another one before."""
    if sector_at is None:
        return None, ()
    texts = [name_in(cell) for cell in cells.columns[sector_at]]
    order = np.argsort(days, kind="stable").tolist()
    by_asset, several = one_sector_each([names[at] for at in order], [texts[at] for at in order])
    require_sectors(f"{cells.where} column {cells.names[sector_at]}", sorted(set(names)), by_asset)
    moved = sorted(set(several))
    if not moved:
        return by_asset, ()
    shown = ", ".join(moved[:5]) + (f" and {len(moved) - 5} more" if len(moved) > 5 else "")
    return by_asset, (f"{cells.where}: the sector changes of {shown}; the latest is used",)


def _wide(cells: FileCells, timezone: str | None) -> PanelTable:
    date_at, _ = date_columns(cells)
    wanted = (DATE_COLUMN, SYMBOL, _CLOSE)
    require_columns(cells, [DATE_COLUMN] if date_at is None else [], wanted)
    assert date_at is not None
    others = [
        at
        for at, name in enumerate(cells.names)
        if at != date_at
        and column_key(name) not in INDEX_KEYS
        and not all(map(is_missing, cells.columns[at]))
    ]
    for at in others:
        cell = next(cell for cell in cells.columns[at] if not is_missing(cell))
        require(
            any(np.isfinite(read_number(cell, mark)) for mark in DECIMAL_MARKS),
            f"{cells.where} column {cells.names[at]}",
            "without a column Symbol and a column Close, every column beside the date must hold "
            "the closes of one asset",
            got=quoted(cell),
            remedy="Rename the column of the assets to Symbol, or remove this one.",
            error=DataError,
        )
    require_plain_prices(cells, others)
    days, written = _days(cells, date_at, timezone)
    values, notation = numbers_of(cells, others)
    values = values.reshape(cells.n_rows, len(others))
    _require_numbers(cells, others, values)
    names = [name_in(cells.names[at]) for at in others]
    assets = tuple(sorted(set(names)))
    at_row, at_column = np.nonzero(np.isfinite(values))
    positions = np.array([assets.index(name) for name in names], dtype=np.int64)
    return PanelTable(
        where=cells.where,
        row_word=cells.row_word,
        rows=cells.rows[at_row],
        days=days[at_row],
        assets=assets,
        asset=positions[at_column],
        close=values[at_row, at_column],
        bars={},
        sectors=None,
        understood=(
            f"{cells.where}: a row per day and a column of closes per asset",
            written,
            *notation,
            "closes alone, prices as written",
            *cells.notes,
        ),
    )


def _days(cells: FileCells, date_at: int, timezone: str | None) -> tuple[DayArray, str]:
    """Return the day of each row, and how the dates are written.

    Each date is read once, however many assets have it: in a long table of all of them.
    """
    column = cells.columns[date_at]
    place_in = {cell: at for at, cell in enumerate(dict.fromkeys(column))}
    where = place_of_dates(cells, date_at)
    dates = read_dates(list(place_in), None, where)
    if timezone is not None:
        dates = in_timezone(dates, timezone, where)
    days = dates.days[np.array([place_in[cell] for cell in column], dtype=np.int64)]
    unknown = np.isnat(days)
    if unknown.any():
        at = int(np.argmax(unknown))
        raise DataError(
            f"{cells.place(at)} column {cells.names[date_at] or DATE_COLUMN}: must be a day, but "
            f"got {quoted(column[at])}. Correct it, or remove the row."
        )
    return days, dates_in_words(dates)


def _require_numbers(cells: FileCells, columns: Sequence[int], values: PriceArray) -> None:
    """Refuse a cell that is neither a number nor empty."""
    for number, at in enumerate(columns):
        for row in np.flatnonzero(~np.isfinite(values[:, number])).tolist():
            cell = cells.columns[at][row]
            require(
                is_missing(cell),
                f"{cells.place(row)} column {cells.names[at]}",
                "must be a number, or empty",
                got=quoted(cell),
                remedy="Correct the cell.",
                error=DataError,
            )
