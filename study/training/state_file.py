"""The file of a saved state, with a hash beside it that is checked when it is read.

A file is written whole or not at all, and nothing in it is executed when it is read.
"""

import errno
import hashlib
import io
import json
import os
import pickle
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from study.errors import StudyError, cause
from study.storage.file_pages import drop_file_pages
from study.storage.files import make_way, no_link, sync_folder, temporary_path
from study.training.device import synchronise

State = dict[str, Any]
"""A state: tensors, numbers, strings, None, and lists, tuples and dicts of them, all of which can
be read without running code."""

_UNUSABLE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""Errors of a file that cannot be read; any other OSError may come from the disk."""


_LARGE = 1 << 20
"""Bytes of a tensor from which on its pages are worth a look at where they come from."""


class CheckpointError(StudyError):
    """A checkpoint is absent, torn or changed."""


class NoSpaceError(OSError):
    """There is no room on the disk for a checkpoint; earlier ones are unchanged."""


def state_bytes(state: object) -> int:
    """Return the bytes of all tensors in nested dicts, lists and tuples: about those of the file.

    A tensor that occurs twice is counted twice, though it is written once.
    """
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(state_bytes(value) for value in state.values())
    if isinstance(state, list | tuple):
        return sum(state_bytes(value) for value in state)
    return 0


class HostCopy:
    """A copy of a state in host memory; the buffers of one copy are used again by the next."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        """Buffers of the last copy, by the place of their tensor in the state."""

    def of(self, state: State) -> State:
        """Return ``state`` with every tensor copied; the result of an earlier call is overwritten.

        Tensors of a GPU are copied into pinned memory, which its driver reads without a further
        copy, and the copies are complete when this returns. A tensor that occurs twice is copied
        once.
        """
        before, self._buffers = self._buffers, {}
        copies: dict[int, Tensor] = {}
        devices: set[torch.device] = set()

        def copy(value: Any, place: str) -> Any:
            if isinstance(value, Tensor):
                if id(value) not in copies:
                    devices.add(value.device)
                    buffer = self._buffers[place] = _buffer_for(value, before.get(place))
                    copies[id(value)] = buffer.copy_(value.detach(), non_blocking=True)
                return copies[id(value)]
            if isinstance(value, dict):
                return {key: copy(each, f"{place}/{key}") for key, each in value.items()}
            if isinstance(value, list | tuple):
                return type(value)(copy(each, f"{place}/{i}") for i, each in enumerate(value))
            return value

        copied: State = copy(state, "")
        for device in devices:
            synchronise(device)
        return copied


def save(state: State, path: Path, *, best: str | None = None) -> None:
    """Write ``state`` to ``path`` atomically, with its hash beside it in ``<path>.sha256``.

    A crash at any point leaves the earlier file, or a pair that ``load`` refuses. The hash is
    written first, so that a new file always has one. An error leaves no temporary file behind.

    Args:
        state: the state to write.
        path: the file, whose folder exists.
        best: name of the file of best weights that the state refers to, kept beside the hash.

    Raises: NoSpaceError if the disk is full; OSError if it fails in another way.
    """
    sidecar = sidecar_path(path)
    try:
        with full_disk_named(path):
            content = _write_hashed(state, temporary_path(path))
            with open(temporary_path(sidecar), "w", opener=no_link) as text:
                json.dump({**content, "best": best}, text)
                text.flush()
                os.fsync(text.fileno())
            for file in (sidecar, path):
                make_way(file)
                temporary_path(file).replace(file)
    except BaseException:
        temporary_path(path).unlink(missing_ok=True)
        temporary_path(sidecar).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def load(path: Path) -> State:
    """Read a state back, its tensors on the CPU and mapped from the file until they are copied.

    Raises: CheckpointError if the file or its hash is absent, no file or unreadable, or they do not
        agree; OSError if the disk fails, whether or not the file is intact.
    """
    try:
        expected = _sidecar_record(path)["sha256"]
        _require_file(path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (*_UNUSABLE, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: must be readable with its {sidecar_path(path).name}, but got {cause(error)}. "
            "Use an older checkpoint."
        ) from error
    if found != expected:
        raise CheckpointError(
            f"{path}: content must have the hash it was written with, but got sha256={found}. "
            "Use an older checkpoint."
        )
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        # Its hash is right, so it is not torn: another program has written it.
        raise CheckpointError(
            f"{path}: must hold plain values and tensors, but got another object. "
            "Only states written by save can be read."
        ) from error
    return state


def with_names(state: object, path: Path, names: Collection[str]) -> State:
    """Return the content of a file if it is a state with these values.

    Raises: CheckpointError if it is not.
    """
    missing = [name for name in names if not isinstance(state, dict) or name not in state]
    if missing:
        raise CheckpointError(
            f"{path}: must hold {', '.join(names)}, but got none of {', '.join(missing)}. "
            "Use an older checkpoint."
        )
    return cast(State, state)


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Return the record beside a file; None if it is absent, torn or unreadable."""
    try:
        record = _sidecar_record(path)
    except (*_UNUSABLE, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def sidecar_path(path: Path) -> Path:
    """Return the path of the record beside a file, which holds its hash."""
    return path.with_name(f"{path.name}.sha256")


def _buffer_for(value: Tensor, before: Tensor | None) -> Tensor:
    """Return the buffer of the copy before if it fits ``value``, or else a new one."""
    if before is not None and before.shape == value.shape and before.dtype == value.dtype:
        return before
    return torch.empty(
        value.shape, dtype=value.dtype, device="cpu", pin_memory=value.device.type == "cuda"
    )


def _sidecar_record(path: Path) -> Any:
    _require_file(sidecar_path(path))
    return json.loads(sidecar_path(path).read_text())


def _require_file(path: Path) -> None:
    """Raise FileNotFoundError unless there is a regular file: reading a pipe might never end."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", path.name)


class _HashingFile(io.BufferedWriter):
    """A file that is hashed while it is written, so that it need not be read again."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w", opener=no_link))
        self.sha256 = hashlib.sha256()
        self.error: OSError | None = None
        """Error of a failed write, which torch.save replaces by a RuntimeError of its own."""

    def write(self, content: Any, /) -> int:  # any buffer; its type has no name before 3.12
        self.sha256.update(content)
        try:
            return super().write(content)
        except OSError as error:
            self.error = error
            raise
        finally:
            # What is mapped from a scratch file has now been read into memory.
            view = memoryview(content)
            if view.nbytes >= _LARGE:
                address = np.frombuffer(view, np.uint8).ctypes.data
                drop_file_pages(address, view.nbytes, only_shared=True)


@contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Raise NoSpaceError instead of the system's error if the disk or the quota is used up."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpaceError(
            error.errno,
            f"{path}: must find room on its disk, but got {error.strerror}. "
            "Free some space, or put the results on a larger disk.",
        ) from error


def _write_hashed(state: State, path: Path) -> dict[str, Any]:
    """Write ``state`` to ``path``, wait until it is on the disk, and return its hash and size."""
    file = _HashingFile(path)
    try:
        with file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
            return {"sha256": file.sha256.hexdigest(), "bytes": file.tell()}
    except RuntimeError:
        if file.error is not None:
            raise file.error from None
        raise
