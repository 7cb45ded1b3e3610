"""The inputs of panels in Arrow files, built once and mapped by every process after that."""

import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from study.data.arrays import IndexArray, PriceArray
from study.data.data_config import Normalization, Tier
from study.data.panel.panel import MaskArray
from study.data.panel.panel_inputs import PanelInputs
from study.data.panel.shared_inputs import SharedInputs
from study.errors import cause
from study.storage.files import make_way, sync_folder

_FORMAT = 1
"""Version of the files' layout, which is part of their names."""

_COLUMNS = ("inputs", "known", "sums", "squares")
"""Columns of a file, which has a row for each day: the inputs of all assets, which assets have all
of them, and sum and sum of squares of each input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InputsKey:
    """Everything that the inputs of a panel depend on."""

    fingerprint: str
    """Digest of the panel."""
    tier: Tier
    normalization: Normalization
    train_rows: str
    """Digest of the rows whose statistics standardise inputs along time; empty where none do."""
    feature_hash: str
    """Digest of the features' names, order and definitions."""
    code: str
    """Digest of the code and of the versions of the libraries that compute inputs."""

    @property
    def digest(self) -> str:
        """The sha256 of the key and of the files' format."""
        text = json.dumps({"format": _FORMAT, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class CachedInputs:
    """Inputs of the whole history of a panel, and what is asked of them without reading them."""

    names: tuple[str, ...]
    """Names of the inputs."""
    inputs: SharedInputs
    known: MaskArray
    """Assets that have all inputs on a day, shape (n_days, n_assets)."""
    sums: PriceArray
    """Sum of each input over the assets of a day that have it, shape (n_days, n_features)."""
    squares: PriceArray
    """Sum of their squares, as ``sums``."""
    note: str = ""
    """Why a file was built again, or could not be written, one line; empty otherwise."""

    def shift(self, train_rows: IndexArray, validation_rows: IndexArray) -> dict[str, float]:
        """Return how far the mean of each input moves from training to validation days.

        It is (validation mean - train mean) / train sd over the assets that have the input; an
        input that does not vary in training has its shift in units of the input, which is
        standardised.

        Args:
            train_rows: rows of the history in training windows.
            validation_rows: rows of validation days.
        """
        n_known = self.known.sum(axis=1)
        n_train = n_known[train_rows].sum()
        mean = self.sums[train_rows].sum(axis=0) / n_train
        variance = self.squares[train_rows].sum(axis=0) / n_train - mean**2
        sd = np.sqrt(np.maximum(variance, 0))
        later = self.sums[validation_rows].sum(axis=0) / n_known[validation_rows].sum()
        shift = (later - mean) / np.where(sd > 0, sd, 1)
        return dict(zip(self.names, shift.tolist(), strict=True))


def cached_inputs(
    key: InputsKey, folder: Path | None, build: Callable[[], PanelInputs]
) -> CachedInputs:
    """Return the inputs of a panel, mapped from their file, which is built if it is not there.

    A file that is damaged, cut off or not of this key is built again. Processes that build the same
    file at once each write their own, and the last one stays.

    Args:
        key: what the inputs depend on.
        folder: where the files are kept; None builds the inputs in memory.
        build: what computes them.
    """
    if folder is None:
        return _in_memory(build())
    path = folder / f"{key.digest}.arrow"
    where, note = f"{path}: the cache of the panel's inputs", ""
    if os.path.lexists(path):
        found = _read(path, key.digest)
        if isinstance(found, CachedInputs):
            return found
        note = f"{where} {found}; they were built again"
    built = _in_memory(build())
    try:
        _write(path, built, key.digest)
        written = _read(path, key.digest)
    except OSError as error:
        written = f"could not be written ({cause(error)})"
    if isinstance(written, CachedInputs):
        return replace(written, note=note)
    return replace(built, note=f"{where} {written}; every worker holds a copy of them")


def _in_memory(built: PanelInputs) -> CachedInputs:
    values = np.ascontiguousarray(built.values, dtype=np.float32)
    return CachedInputs(
        names=built.names,
        inputs=SharedInputs(values),
        known=built.known,
        sums=values.sum(axis=1, dtype=np.float64),
        # Day by day: all squares at once would take as much memory as the inputs.
        squares=np.array([np.square(day, dtype=np.float64).sum(axis=0) for day in values]),
    )


def _write(path: Path, built: CachedInputs, digest: str) -> None:
    """Write a file under a name of its own, then put it in its place.

    Raises:
        OSError: it could not be written.
    """
    columns: list[npt.NDArray[Any]] = [
        built.inputs.values, built.known.view(np.uint8), built.sums, built.squares,
    ]  # fmt: skip
    header = json.dumps([digest, built.names, built.inputs.values.shape])
    metadata = {"header": header, "checksum": _checksum(header, columns)}
    schema = _schema(*built.inputs.values.shape[1:])
    batch = pa.record_batch([_as_rows(values) for values in columns], schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        with pa.OSFile(str(temporary), "wb") as file:
            with pa.ipc.new_file(file, schema.with_metadata(metadata)) as writer:
                writer.write_batch(batch)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        make_way(path)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _schema(n_assets: int, n_features: int) -> pa.Schema:
    """Return the columns of a file, each a list of fixed length a day."""
    types = (
        pa.list_(pa.float32(), n_assets * n_features),
        pa.list_(pa.uint8(), n_assets),
        pa.list_(pa.float64(), n_features),
        pa.list_(pa.float64(), n_features),
    )
    return pa.schema(list(zip(_COLUMNS, types, strict=True)))


def _as_rows(values: npt.NDArray[Any]) -> pa.FixedSizeListArray:
    """Return an array as an Arrow column with a list for each day, not copied."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), values[0].size)


def _offset(file: pa.MemoryMappedFile, column: pa.FixedSizeListArray) -> int:
    """Return the place of a column's values in a file.

    Raises:
        ValueError: they are not in it, as they are where they had to be unpacked.
    """
    file.seek(0)
    values = column.values.buffers()[1]
    place: int = values.address - file.read_buffer(1).address
    if not 0 <= place <= file.size() - values.size:
        raise ValueError("its values are not in it as they are")
    return place


def _checksum(header: str, columns: Iterable[npt.NDArray[Any]]) -> str:
    """Return the crc32 of a file's content, a quarter of a second for a gigabyte."""
    found = zlib.crc32(header.encode())
    for values in columns:
        found = zlib.crc32(np.ascontiguousarray(values).data.cast("B"), found)
    return f"{found:08x}"


def _read(path: Path, digest: str) -> CachedInputs | str:
    """Return the inputs of a file, mapped, or what is wrong with it."""
    try:
        return _mapped(path, digest)
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        return f"is damaged ({cause(error)})"


def _mapped(path: Path, digest: str) -> CachedInputs | str:
    """Return the inputs of a file, mapped, or what is wrong with it if it can be read.

    Raises:
        ArrowException, KeyError, OSError, TypeError, ValueError: it is no such file.
    """
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        metadata = reader.schema.metadata or {}
        header = metadata[b"header"].decode()
        key, names, shape = json.loads(header)
        if key != digest:
            return "is of another panel or of other features"
        n_days, n_assets, n_features = shape
        if not reader.schema.equals(_schema(n_assets, n_features)):
            return "has other columns"
        batch = reader.get_batch(0)
        if batch.num_rows != n_days:
            return f"has {batch.num_rows} of {n_days} days"
        offset = {name: _offset(file, batch.column(name)) for name in _COLUMNS}
    inputs = SharedInputs.mapped(path, offset["inputs"], tuple(shape))
    known = np.fromfile(path, np.uint8, n_days * n_assets, offset=offset["known"])
    sums, squares = (
        np.fromfile(path, np.float64, n_days * n_features, offset=offset[name])
        for name in ("sums", "squares")
    )
    checksum = _checksum(header, [inputs.values, known, sums, squares])
    if checksum.encode() != metadata[b"checksum"]:
        return "is damaged (its content has another checksum)"
    return CachedInputs(
        names=tuple(names),
        inputs=inputs,
        known=known.reshape(n_days, n_assets).view(np.bool_),
        sums=sums.reshape(n_days, n_features),
        squares=squares.reshape(n_days, n_features),
    )
