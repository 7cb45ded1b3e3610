"""Reading a Parquet file of daily rows, whatever pandas or another program wrote it from."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from study.data.reading.columns import DATE_COLUMN, SYMBOL, find_columns, is_date_name
from study.data.reading.dates import is_date
from study.errors import DataError, cause, quoted
from study.storage.parquet_faults import PARQUET_FAULTS


def read_frame(path: Path) -> pd.DataFrame:
    """Read a Parquet file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        # pandas decodes text when it is looked at: too late to refuse what is no UTF-8.
        pq.read_table(path).validate(full=True)
        return pd.read_parquet(path)
    except PARQUET_FAULTS as error:
        rule, got, remedy = _odd_names(path) or (
            "must be a Parquet file",
            cause(error),
            "Write it again.",
        )
        raise DataError(f"{path.name}: {rule}, but got {got}. {remedy}") from error


def _odd_names(path: Path) -> tuple[str, str, str] | None:
    """Return rule, finding and remedy if pandas fails for the names of the columns alone."""
    try:
        schema = pq.read_schema(path)
        of_columns = (schema.pandas_metadata or {}).get("column_indexes", [])
        is_categorical = any(level.get("pandas_type") == "categorical" for level in of_columns)
    except PARQUET_FAULTS:
        return None
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        got = ", ".join(map(quoted, twice))
        return "must name each column once", f"{got} more than once", "Rename or remove one."
    if is_categorical:
        return (
            "must name its columns by plain text",
            "a categorical index of columns, which pandas writes and cannot read",
            "Write it again after frame.columns = frame.columns.astype(str).",
        )
    return None


def index_columns(index: pd.Index) -> tuple[list[str], list[Sequence[object]]]:
    """Return name and cells of each level of an index.

    A level of stamps is the date whatever its name. Of several levels, one of days is the date too,
    and the only other one of text, where none has the name of a symbol, names the instruments.
    """
    levels = [index.get_level_values(at) for at in range(index.nlevels)]
    columns: list[Sequence[object]] = [level.tolist() for level in levels]
    names = [str(level.name or "") for level in levels]
    days = [
        isinstance(level, pd.DatetimeIndex) or (len(levels) > 1 and _holds_days(cells))
        for level, cells in zip(levels, columns, strict=True)
    ]
    names = [
        DATE_COLUMN if is_day and not is_date_name(name) else name
        for name, is_day in zip(names, days, strict=True)
    ]
    texts = [
        at
        for at, cells in enumerate(columns)
        if len(levels) > 1 and not days[at] and any(isinstance(cell, str) for cell in cells)
    ]
    if len(texts) == 1 and any(days) and not find_columns(SYMBOL, names):
        names[texts[0]] = SYMBOL
    return names, columns


def _holds_days(cells: Sequence[object]) -> bool:
    first = next((cell for cell in cells if cell is not None), None)
    return isinstance(first, date) or (isinstance(first, str) and is_date(first))
