"""What is computed of panels, in Arrow files: built once and read by every process after that."""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.data_config import Normalization, Tier
from study.data.panel.panel import MaskArray
from study.data.panel.panel_inputs import PanelInputs
from study.data.panel.shared_inputs import SharedInputs
from study.errors import cause
from study.storage.cache_files import in_place_of, note_use, remove_unused

_FORMAT = 1
"""Version of the files' layout, which is part of their names."""

_Layout = Mapping[str, tuple[type[np.generic], int]]
"""Columns of a file, which has a row for each day: their types, and how many values a day has."""

_Found = TypeVar("_Found")


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
    key: InputsKey,
    folder: Path | None,
    build: Callable[[], PanelInputs],
    *,
    may_write: bool = True,
) -> CachedInputs:
    """Return the inputs of a panel, mapped from their file, which is built if it is not there.

    A file that is damaged, cut off or not of this key is built again. Processes that build the same
    file at once each write their own, and the last one stays. Whoever writes a file removes those
    that nobody has opened for a month; a process that has mapped one keeps what it holds.

    Args:
        key: what the inputs depend on.
        folder: where the files are kept; None builds the inputs in memory.
        build: what computes them.
        may_write: may a file be written? Otherwise one that is there is only read.
    """
    if folder is None:
        return _in_memory(build())
    path = folder / f"{key.digest}.arrow"
    found, note = _cached(
        path,
        "the panel's inputs",
        read=lambda: _mapped(path, key.digest),
        build=lambda: _in_memory(build()),
        write=lambda built: _write_inputs(path, built, key.digest),
        without="every worker holds a copy of them",
        may_write=may_write,
    )
    return replace(found, note=note)


def cached_scores(
    digest: str,
    folder: Path,
    build: Callable[[], Mapping[str, SampleArray]],
    *,
    may_write: bool = True,
) -> tuple[Mapping[str, SampleArray], str]:
    """Return the scores of models of a panel from their file, which is built as that of inputs is.

    Args:
        digest: of everything that they depend on.
        folder: where the files are kept.
        build: what computes them: float32 of shape (n_days, n_assets) by the name of the model.
        may_write: may a file be written?

    Returns: the scores, and why a file was built again or could not be written, one line, empty
    otherwise.
    """
    path = folder / f"{digest}.arrow"
    return _cached(
        path,
        "the baselines' scores",
        read=lambda: _read_scores(path, digest),
        build=build,
        write=lambda built: _write(path, digest, list(built), built),
        without="the next command computes them anew",
        may_write=may_write,
    )


def _cached(
    path: Path,
    what: str,
    *,
    read: Callable[[], _Found | str],
    build: Callable[[], _Found],
    write: Callable[[_Found], None],
    without: str,
    may_write: bool,
) -> tuple[_Found, str]:
    """Return what a file holds, built if it is not there or damaged, and a note on the latter.

    Args:
        path: the file.
        what: name of its content, plural.
        read: returns the content of the file, or what is wrong with it.
        build: computes the content.
        write: writes it.
        without: what follows if it cannot be written.
        may_write: may it be written?
    """
    where, note = f"{path}: the cache of {what}", ""
    if os.path.lexists(path):
        found = _tried(read)
        if not isinstance(found, str):
            return found, ""
        note = f"{where} {found}; they were built again"
    built = build()
    if not may_write:
        return built, note
    try:
        write(built)
        written = _tried(read)
    except OSError as error:
        written = f"could not be written ({cause(error)})"
    if not isinstance(written, str):
        remove_unused(path)
        return written, note
    return built, f"{where} {written}; {without}"


def _tried(read: Callable[[], _Found | str]) -> _Found | str:
    """Return the content of a file, or what is wrong with it."""
    try:
        return read()
    except (OSError, ValueError, TypeError, KeyError, pa.ArrowException) as error:
        return f"is damaged ({cause(error)})"


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


def _inputs_layout(shape: Sequence[int]) -> _Layout:
    """Return the columns of inputs: which assets have all of them, sums, and sums of squares."""
    _, n_assets, n_features = shape
    return {
        "inputs": (np.float32, n_assets * n_features),
        "known": (np.uint8, n_assets),
        "sums": (np.float64, n_features),
        "squares": (np.float64, n_features),
    }


def _write_inputs(path: Path, built: CachedInputs, digest: str) -> None:
    columns: dict[str, npt.NDArray[Any]] = {
        "inputs": built.inputs.values,
        "known": built.known.view(np.uint8),
        "sums": built.sums,
        "squares": built.squares,
    }
    _write(path, digest, built.names, columns)


def _write(
    path: Path, digest: str, names: Sequence[str], columns: Mapping[str, npt.NDArray[Any]]
) -> None:
    """Write a file under a name of its own, then put it in its place.

    Args:
        path: its place.
        digest: of what it depends on.
        names: names that it holds.
        columns: its columns, each with a row for each day; the shape of the first is kept.

    Raises:
        OSError: it could not be written.
    """
    header = json.dumps([digest, names, next(iter(columns.values())).shape])
    metadata = {"header": header, "checksum": _checksum(header, columns.values())}
    schema = _schema({name: (c.dtype.type, c[0].size) for name, c in columns.items()})
    batch = pa.record_batch([_as_rows(values) for values in columns.values()], schema=schema)
    with in_place_of(path) as temporary:
        with pa.OSFile(str(temporary), "wb") as file:
            with pa.ipc.new_file(file, schema.with_metadata(metadata)) as writer:
                writer.write_batch(batch)


def _schema(layout: _Layout) -> pa.Schema:
    """Return the columns of a file, each a list of fixed length a day."""
    return pa.schema(
        [(n, pa.list_(pa.from_numpy_dtype(kind), size)) for n, (kind, size) in layout.items()]
    )


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opened:
    """A file of the expected columns, whose content has not been read."""

    path: Path
    header: str
    names: Sequence[str]
    shape: Sequence[int]
    """Shape of the first column."""
    layout: _Layout
    offset: Mapping[str, int]
    """Bytes of the file before each column."""
    checksum: bytes

    def read(self, name: str) -> npt.NDArray[Any]:
        """Return a column, one row for each day."""
        kind, size = self.layout[name]
        count, offset = self.shape[0] * size, self.offset[name]
        return np.fromfile(self.path, kind, count, offset=offset).reshape(-1, size)

    def is_whole(self, columns: Iterable[npt.NDArray[Any]]) -> bool:
        """Are these the columns that were written?"""
        return _checksum(self.header, columns).encode() == self.checksum


_OTHER_CONTENT = "is damaged (its content has another checksum)"


def _opened(
    path: Path, digest: str, layout_of: Callable[[Sequence[str], Sequence[int]], _Layout]
) -> _Opened | str:
    """Return a file whose columns are the expected ones, or what is wrong with it.

    Args:
        path: the file.
        digest: of what it must depend on.
        layout_of: returns the columns by the names and the shape that it says to have.

    Raises:
        ArrowException, KeyError, OSError, TypeError, ValueError: it is no such file.
    """
    note_use(path)
    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        metadata = reader.schema.metadata or {}
        header = metadata[b"header"].decode()
        key, names, shape = json.loads(header)
        if key != digest:
            return "is of another panel or of other features"
        layout = layout_of(names, shape)
        if not reader.schema.equals(_schema(layout)):
            return "has other columns"
        batch = reader.get_batch(0)
        if batch.num_rows != shape[0]:
            return f"has {batch.num_rows} of {shape[0]} days"
        return _Opened(
            path=path,
            header=header,
            names=names,
            shape=shape,
            layout=layout,
            offset={name: _offset(file, batch.column(name)) for name in layout},
            checksum=metadata[b"checksum"],
        )


def _mapped(path: Path, digest: str) -> CachedInputs | str:
    """Return the inputs of a file, mapped, or what is wrong with it if it can be read.

    Raises:
        ArrowException, KeyError, OSError, TypeError, ValueError: it is no such file.
    """
    file = _opened(path, digest, lambda _, shape: _inputs_layout(shape))
    if isinstance(file, str):
        return file
    inputs = SharedInputs.mapped(path, file.offset["inputs"], tuple(file.shape))
    known, sums, squares = map(file.read, ("known", "sums", "squares"))
    if not file.is_whole([inputs.values, known, sums, squares]):
        return _OTHER_CONTENT
    return CachedInputs(
        names=tuple(file.names), inputs=inputs, known=known.view(np.bool_), sums=sums,
        squares=squares,
    )  # fmt: skip


def _read_scores(path: Path, digest: str) -> Mapping[str, SampleArray] | str:
    """Return the scores of a file, or what is wrong with it if it can be read.

    Raises:
        ArrowException, KeyError, OSError, TypeError, ValueError: it is no such file.
    """
    file = _opened(
        path, digest, lambda names, shape: {name: (np.float32, shape[1]) for name in names}
    )
    if isinstance(file, str):
        return file
    scores = {name: file.read(name) for name in file.names}
    return scores if file.is_whole(scores.values()) else _OTHER_CONTENT
