"""Where the volatility index comes from: the embedded series, an imported one, a file."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from study.data.arrays import DayArray, PriceArray
from study.data.config import EMBEDDED_VIX, EMBEDDED_VIX_RANGE
from study.data.sources import IMPORT_FOLDER, embedded_file, require_name, write_whole
from study.data.tables import CSV_SUFFIXES, DATE_COLUMN, PARQUET_SUFFIXES, parse_day, parse_number
from study.errors import DataError, require

_FOLDER = "vix"
"""Inside the folder of imported markets."""
_DATE_NAMES = ("date", "timestamp", "observation_date")
_VALUE_NAMES = ("vix", "vixcls", "close")
_MISSING = ("", ".", "nan", "none", "<na>")
"""How files write a day without a value, in lower case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VixSeries:
    """The index on the days that have a value; days without one are not in here."""

    name: str
    days: DayArray
    """datetime64[D] of shape (n_days,), ascending: a stamp's time of day is dropped."""
    values: PriceArray
    """float64 of shape (n_days,), percent per year, > 0."""
    fingerprint: str
    """sha256 of the content."""
    origin: str

    @property
    def span(self) -> str:
        """First and last day, for messages."""
        return f"{self.days[0]} to {self.days[-1]}"


def load_vix(source: str, import_folder: Path = IMPORT_FOLDER) -> VixSeries:
    """Load ``embedded``, an imported series by name, or a CSV/Parquet file by path.

    Raises:
        DataError: there is no such series (the message lists what exists), or it breaks a rule.
    """
    if source == EMBEDDED_VIX:
        # The file marks days without a value by a point and writes month first.
        frame = pd.read_csv(embedded_file("vix"), dtype=str, keep_default_na=False)
        return _series(EMBEDDED_VIX, frame, origin="arch.data.vix")
    path = Path(source)
    if path.suffix.lower() not in CSV_SUFFIXES + PARQUET_SUFFIXES:
        require_name(source)
        path = import_folder / _FOLDER / f"{source}.parquet"
    imported = ", ".join(list_vix(import_folder)) or "(none)"
    require(
        path.is_file(),
        "vix",
        "must be embedded, an imported series or a file",
        got=f"vix={source}, which is no file ({path})",
        remedy=f"There are: embedded ({EMBEDDED_VIX_RANGE}); imported {imported}.",
        error=DataError,
    )
    return _series(path.stem, _read(path), origin=str(path))


def import_vix(file: Path, name: str | None = None, folder: Path = IMPORT_FOLDER) -> VixSeries:
    """Check a CSV or Parquet file and keep it as ``<folder>/vix/<name>.parquet``.

    Args:
        file: has a date and a column VIX or Close (any case).
        name: how the series will be called; the file's own name without suffix if None.
        folder: where imported markets live.

    Raises:
        DataError: the file is missing, breaks a rule, or the name cannot be used.
    """
    name = file.stem if name is None else name
    require_name(name)
    require(
        name != EMBEDDED_VIX,
        "import",
        "the name must not be that of the embedded series",
        got=f"name={name}",
        remedy="Give another one with --name.",
        error=DataError,
    )
    require(
        file.is_file(),
        "import",
        "must be a CSV or Parquet file",
        got=f"{file}, which is no file",
        remedy="Give its path.",
        error=DataError,
    )
    series = _series(name, _read(file), origin=str(file))
    index = pd.DatetimeIndex(series.days, name=DATE_COLUMN)
    frame = pd.DataFrame({"VIX": series.values}, index=index)
    write_whole(frame, folder / _FOLDER / f"{name}.parquet")
    return series


def list_vix(folder: Path = IMPORT_FOLDER) -> tuple[str, ...]:
    """Return the names of the imported series, sorted."""
    return tuple(sorted(path.stem for path in (folder / _FOLDER).glob("*.parquet")))


def _read(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    require(
        suffix in CSV_SUFFIXES + PARQUET_SUFFIXES,
        str(path),
        "a series is read from .csv, .parquet or .pq",
        got=f"suffix={path.suffix!r}",
        remedy="Convert the file or correct its name.",
        error=DataError,
    )
    try:
        if suffix in CSV_SUFFIXES:
            return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        return pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowInvalid) as error:
        problem = " ".join(str(error).split())
        raise DataError(
            f"{path.name}: must be CSV in UTF-8 or Parquet, but got {problem}. Write it again."
        ) from error


def _series(name: str, frame: pd.DataFrame, origin: str) -> VixSeries:
    where = Path(origin).name
    if isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.rename_axis(DATE_COLUMN).reset_index()
    dates = frame.iloc[:, _column(frame, _DATE_NAMES, where)].tolist()
    cells = frame.iloc[:, _column(frame, _VALUE_NAMES, where)].tolist()
    days = np.array([_day(cell) for cell in dates], dtype="datetime64[D]")
    missing = np.array([str(cell).strip().lower() in _MISSING for cell in cells], dtype=np.bool_)
    values = np.array([parse_number(cell) for cell in cells], dtype=np.float64)
    rises = np.append(True, np.diff(days) > np.timedelta64(0, "D"))
    for bad, rule, remedy in (
        (np.isnat(days), "must be dated as 2024-03-28 or 03/28/2024", "Correct or remove the row."),
        (~rises, "must be later than the row before", "Sort the file, one row a day."),
        (
            ~missing & ~(np.isfinite(values) & (values > 0)),
            "must be a number > 0, or empty",
            "Correct or remove the row.",
        ),
    ):
        at = int(np.argmax(bad)) if bad.any() else 0
        require(
            not bad.any(),
            f"{where} row {at + 2}",
            rule,
            got=f"date={dates[at] if dates else None}, value={cells[at] if cells else None}",
            remedy=remedy,
            error=DataError,
        )
    require(
        not missing.all(),
        where,
        "must hold at least one value",
        got=f"rows={len(days)}, without a value={int(missing.sum())}",
        remedy="Give a file with the daily closes of the index.",
        error=DataError,
    )
    days, values = days[~missing], values[~missing]
    digest = hashlib.sha256(days.astype("<i8").tobytes())
    digest.update(values.astype("<f8").tobytes())
    return VixSeries(
        name=name, days=days, values=values, fingerprint=digest.hexdigest(), origin=origin
    )


def _column(frame: pd.DataFrame, names: tuple[str, ...], where: str) -> int:
    """Return the position of the first of the names that a column has."""
    columns = [str(name).strip().lower() for name in frame.columns]
    found = [columns.index(name) for name in names if name in columns]
    require(
        bool(found),
        where,
        f"needs a column {' or '.join(names)} (any case)",
        got=f"columns={', '.join(map(str, frame.columns))}",
        remedy="Add or rename it.",
        error=DataError,
    )
    return found[0]


def _day(cell: object) -> np.datetime64:
    """Read an ISO date, or one with the month first, as the exchange's own file writes it."""
    day = parse_day(cell)
    if np.isnat(day) and isinstance(cell, str):
        try:
            return parse_day(datetime.strptime(cell.strip(), "%m/%d/%Y"))
        except ValueError:
            return day
    return day
