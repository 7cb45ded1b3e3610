"""The sources of the volatility index: the embedded series, an imported one, a file."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.data.arrays import DayArray, PriceArray, fingerprint_of
from study.data.checks.price_checks import require_clean
from study.data.checks.vix_checks import check_vix
from study.data.data_config import EMBEDDED_VIX, EMBEDDED_VIX_RANGE
from study.data.embedded.arch_file import arch_file
from study.data.reading.columns import DATE_COLUMN
from study.data.reading.columns import NAMES as COLUMN_NAMES
from study.data.reading.file_cells import plain_name
from study.data.reading.import_notes import ImportNotes, understood_line
from study.data.reading.read_options import AS_WRITTEN, ReadOptions
from study.data.reading.value_table import ValueTable, read_values
from study.data.sources import (
    IMPORT_FOLDER,
    is_file,
    require_name,
    source_path,
    write_whole,
)
from study.errors import DataError, quoted, require

_FOLDER = "vix"
"""Folder of imported series, inside that of imported markets."""
_VALUE_NAMES = ("vix", "vixcls", "vixclose", *COLUMN_NAMES["Close"], "value")


@dataclass(frozen=True, kw_only=True, slots=True)
class VixSeries:
    """The index on the days that have a value; days without one are not in here."""

    name: str
    days: DayArray
    """Days, datetime64[D] of shape (n_days,), ascending: a stamp's time of day is dropped."""
    values: PriceArray
    """Values in percent per year, float64 of shape (n_days,), > 0."""
    fingerprint: str
    """Digest (sha256) of the content."""
    origin: str
    understood: str = ""
    """How the file was read, one line; empty for the embedded series."""
    warnings: tuple[str, ...] = ()
    """Oddities that break no rule, and refusals that were overridden."""
    accepted: tuple[str, ...] = ()
    """The checks whose refusal was overridden."""

    @property
    def span(self) -> str:
        """First and last day, for messages."""
        return f"{self.days[0]} to {self.days[-1]}"


def load_vix(
    source: str, import_folder: Path = IMPORT_FOLDER, accept: Collection[str] = ()
) -> VixSeries:
    """Load ``embedded``, an imported series by name, or a text or Parquet file by path.

    Args:
        source: which series.
        import_folder: where imported series live.
        accept: checks whose refusal is overridden, beside those that the import accepted.

    Raises:
        DataError: there is no such series (the message lists what exists), or it breaks a rule.
    """
    if source == EMBEDDED_VIX:
        # The file marks days without a value by a point and writes month first.
        table = read_values(arch_file("vix"), _VALUE_NAMES)
        return _series(EMBEDDED_VIX, table, "arch.data.vix", "", accept)
    path = source_path(source, import_folder / _FOLDER)
    imported = ", ".join(list_vix(import_folder)) or "(none)"
    require(
        is_file(path),
        "vix",
        "must be embedded, an imported series or a file",
        got=f"vix={source}, which is no file ({path})",
        remedy=f"There are: embedded ({EMBEDDED_VIX_RANGE}); imported {imported}.",
        error=DataError,
    )
    return _of_file(plain_name(path), path, AS_WRITTEN, accept)


def import_vix(
    file: Path,
    name: str | None = None,
    folder: Path = IMPORT_FOLDER,
    options: ReadOptions = AS_WRITTEN,
    accept: Collection[str] = (),
) -> VixSeries:
    """Check a text or Parquet file and keep it as ``<folder>/vix/<name>.parquet``.

    Args:
        file: has a date and a column VIX or Close (any case).
        name: how the series will be called; the file's own name without suffix if None.
        folder: where imported markets live.
        options: what the file leaves open.
        accept: checks whose refusal is overridden; the imported file keeps their names.

    Raises:
        DataError: the file is missing, breaks a rule, the name cannot be used, or the folder not
            written.
    """
    name = plain_name(file) if name is None else name
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
        is_file(file),
        "import",
        "must be a CSV or Parquet file",
        got=f"{file}, which is no file",
        remedy="Give its path.",
        error=DataError,
    )
    series = _of_file(name, file, options, accept)
    index = pd.DatetimeIndex(series.days, name=DATE_COLUMN)
    frame = pd.DataFrame({"VIX": series.values}, index=index)
    path = folder / _FOLDER / f"{name}.parquet"
    notes = ImportNotes(
        understood=series.understood, accepted=series.accepted, fingerprint=series.fingerprint
    )
    write_whole(frame, path, notes)
    return series


def list_vix(folder: Path = IMPORT_FOLDER) -> tuple[str, ...]:
    """Return the names of the imported series, sorted."""
    return tuple(sorted(path.stem for path in (folder / _FOLDER).glob("*.parquet")))


def _of_file(name: str, path: Path, options: ReadOptions, accept: Collection[str]) -> VixSeries:
    require(
        not options.adjust,
        "import",
        "--adjust is for prices, and an index is not adjusted",
        got="--adjust with a VIX",
        remedy="Leave it out.",
        error=DataError,
    )
    table = read_values(path, _VALUE_NAMES, options)
    return _series(name, table, str(path), understood_line(table.understood), accept)


def _series(
    name: str, table: ValueTable, origin: str, understood: str, accept: Collection[str]
) -> VixSeries:
    days, values, missing = table.days, table.values, table.is_missing
    rises = np.append(True, np.diff(days) > np.timedelta64(0, "D"))[: len(days)]
    _require_all(~np.isnat(days), table, DATE_COLUMN, "must be a date like the others of the file")
    _require_all(
        rises,
        table,
        DATE_COLUMN,
        "must be later than the one before",
        "Keep one row a day, sorted.",
    )
    _require_all(
        missing | (np.isfinite(values) & (values > 0)),
        table,
        table.column,
        "must be a number > 0, or empty",
    )
    require(
        not missing.all(),
        table.where,
        "must hold at least one value",
        got=f"rows={len(days)}, without a value={int(missing.sum())}",
        remedy="Give a file with the daily closes of the index.",
        error=DataError,
    )
    days, values = days[~missing], values[~missing]
    results = check_vix(table.where, days, values, {*accept, *table.accepted})
    warnings = require_clean(results)
    return VixSeries(
        name=name,
        days=days,
        values=values,
        fingerprint=fingerprint_of(days, values),
        origin=origin,
        understood=understood,
        warnings=warnings,
        accepted=tuple(result.name for result in results if result.status == "accepted"),
    )


def _require_all(
    good: npt.NDArray[np.bool_],
    table: ValueTable,
    column: str,
    rule: str,
    remedy: str = "Correct or remove the row.",
) -> None:
    """Refuse the first row that is not good, with its line, day, column and cell."""
    if good.all():
        return
    at = int(np.argmin(good))
    day = "no date" if np.isnat(table.days[at]) else str(table.days[at])
    cell = table.dates[at] if column == DATE_COLUMN else table.cells[at]
    n_bad = int((~good).sum())
    if n_bad == len(good) > 1:
        remedy = "It is so in every row: look at the file's separator, header and columns."
    more = f" (and {n_bad - 1} more)" if n_bad > 1 else ""
    raise DataError(
        f"{table.place(at)} ({day}) column {column}: {rule}, but got {quoted(cell)}{more}. {remedy}"
    )
