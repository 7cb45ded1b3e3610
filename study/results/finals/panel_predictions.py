"""The table of a panel's predictions: the one writer and the one reader of its file.

A row is an asset on a day that it was ranked on and whose return is known. The file is
``predictions.parquet`` in the folder of a cell's final runs, or of a variant of its winner.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from study.errors import StudyError, cause, quoted, require
from study.storage.files import sync_folder, temporary_path
from study.storage.parquet_faults import PARQUET_FAULTS

PARTS = ("validation", "test")

PANEL_COLUMNS = ("model", "seed", "part", "date", "asset", "score", "y")
"""Columns of the table. The model is a family of networks, a baseline, or ``oracle`` for the best
possible scores of a simulated panel; the seed is missing for all but a family; the part is
validation or test; a higher score is better; y is the return over the horizon, a fraction."""

_TEXTS = ("model", "part", "asset")
"""Columns of few different values, which the file keeps once each."""


def panel_rows(
    model: str,
    seed: int | None,
    part: str,
    dates: npt.NDArray[np.datetime64],
    assets: tuple[str, ...],
    scores_DA: npt.NDArray[np.floating[Any]],
    returns_DA: npt.NDArray[np.floating[Any]],
    labelled_DA: npt.NDArray[np.bool_],
) -> pd.DataFrame:
    """Return the rows of one model's scores for the days of a part.

    Args:
        model: family of the networks, or name of the baseline.
        seed: of the run; None of a baseline.
        part: validation or test.
        dates: of the days, shape (n_days,).
        assets: names, shape (n_assets,).
        scores_DA: scores, shape (n_days, n_assets).
        returns_DA: returns over the horizon, likewise.
        labelled_DA: assets that are ranked and have a return: only these have a row.
    """
    day, asset = np.nonzero(labelled_DA)
    n = len(day)
    return pd.DataFrame(
        {
            "model": pd.Categorical.from_codes(np.zeros(n, np.int8), pd.Index([model])),
            "seed": pd.array(np.full(n, seed), dtype="Int64")
            if seed is not None
            else pd.array([pd.NA], dtype="Int64").repeat(n),
            "part": pd.Categorical.from_codes(np.zeros(n, np.int8), pd.Index([part])),
            "date": dates.astype("datetime64[s]")[day],
            "asset": pd.Categorical.from_codes(asset, pd.Index(assets)),
            "score": scores_DA[day, asset].astype(np.float32),
            "y": returns_DA[day, asset].astype(np.float32),
        }
    )


def days_by_assets(
    rows: pd.DataFrame,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return scores, returns and which assets have both, each of shape (n_days, n_assets).

    Args:
        rows: of one model and seed, in a part of the days.
    """
    wide = rows.pivot(index="date", columns="asset", values=["score", "y"])
    score, returns = (wide[name].to_numpy(np.float64) for name in ("score", "y"))
    return score, returns, np.isfinite(score)


def write_panel_predictions(path: Path, tables: list[pd.DataFrame]) -> None:
    """Write the rows of all models as one table; after a crash it is there whole, or not at all.

    Args:
        path: of the file.
        tables: of ``panel_rows``, or tables of the same columns, written one after the other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    with pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer:
        for table in tables:
            own = pa.Table.from_pandas(table.loc[:, list(PANEL_COLUMNS)], preserve_index=False)
            writer.write_table(own.replace_schema_metadata(None).cast(_SCHEMA))
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


_SCHEMA = pa.schema(
    {
        "model": pa.string(),
        "seed": pa.int64(),
        "part": pa.string(),
        "date": pa.timestamp("s"),
        "asset": pa.string(),
        "score": pa.float32(),
        "y": pa.float32(),
    }
)
"""Types of the columns in the file; texts are kept in dictionaries there, as Parquet does."""


def read_panel_predictions(path: Path) -> pd.DataFrame:
    """Return a table of a panel's predictions, whose texts are categorical.

    Raises:
        StudyError: it is missing or damaged, or a column holds values of another kind.
    """
    remedy = "Remove it, and final.json if it is beside it, and run study.train again."
    try:
        table = pq.read_table(pa.BufferReader(path.read_bytes()), read_dictionary=list(_TEXTS))
        # Text is decoded on its first use: too late to refuse bytes that are no UTF-8.
        table.validate(full=True)
        table = table.unify_dictionaries()
    except PARQUET_FAULTS as error:
        reason = getattr(error, "strerror", None) or cause(error)
        raise StudyError(
            f"{path}: must be a table of predictions, but got: {reason}. {remedy}"
        ) from error
    names = table.column_names
    require(
        all(names.count(column) == 1 for column in PANEL_COLUMNS),
        str(path),
        f"must have each of the columns {', '.join(PANEL_COLUMNS)} once",
        got=quoted(names),
        remedy=remedy,
        error=StudyError,
    )
    found: dict[str, object] = {}
    for column in PANEL_COLUMNS:
        words, is_right = _rule(table[column], column)
        wrong = np.flatnonzero(~is_right)[:1]
        got = "".join(f"{quoted(str(table[column][row]))} in row {row + 1}" for row in wrong)
        require(
            not got,
            f"{path}: column {column}",
            f"must hold {words}",
            got=got,
            remedy=remedy,
            error=StudyError,
        )
        found[column] = _values(table[column], column)
    return pd.DataFrame(found)


def _rule(values: pa.ChunkedArray, column: str) -> tuple[str, npt.NDArray[np.bool_]]:
    """Return the values that a column must hold, in words, and in which rows it holds them."""
    kind, known = values.type, ~_as_numpy(values.is_null())
    nowhere = np.zeros(len(values), dtype=bool)
    match column:
        case "model" | "asset":
            return "text", known if _is_text(kind) else nowhere
        case "part":
            is_part = _is_text(kind) and pc.is_in(_decoded(values), pa.array(PARTS))
            return "validation or test", _as_numpy(is_part) if _is_text(kind) else nowhere
        case "date":
            is_day = pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None)
            return "days", known if is_day else nowhere
        case "seed":
            is_seed = pa.types.is_integer(kind) or pa.types.is_null(kind)
            return "a whole number or nothing", ~nowhere if is_seed else nowhere
        case _:
            is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
            if not is_number:
                return "a finite number", nowhere
            return "a finite number", np.isfinite(_numbers(values))


def _values(values: pa.ChunkedArray, column: str) -> object:
    """Return the values of a column that keeps its rule, as the table holds them."""
    if column in _TEXTS:
        return values.to_pandas()
    if column == "seed":
        return pd.array(values.cast(pa.int64()).to_pandas(types_mapper=_nullable), dtype="Int64")
    if column == "date":
        return values.cast(pa.timestamp("s"), safe=False).to_pandas()
    return _numbers(values)


def _nullable(kind: pa.DataType) -> pd.Int64Dtype | None:
    return pd.Int64Dtype() if pa.types.is_integer(kind) else None


def _is_text(kind: pa.DataType) -> bool:
    own = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(own) or pa.types.is_large_string(own))


def _decoded(values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = values.type
    return values.cast(kind.value_type) if pa.types.is_dictionary(kind) else values


def _numbers(values: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return numbers as float32; NaN where one is missing."""
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float32)


def _as_numpy(values: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=bool)
