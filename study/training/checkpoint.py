"""Saved states: written whole or not at all, and checked when read."""

import hashlib
import io
import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from study.errors import StudyError

State = dict[str, Any]
"""Tensors, numbers, strings, None, and lists, tuples and dicts of them: what can be read without
running code."""

_NAME = re.compile(r"epoch_(\d{4,})\.pt")


class CheckpointError(StudyError):
    """A checkpoint is absent, torn or not what was written."""


def save(state: State, path: Path) -> None:
    """Write ``state`` to ``path`` atomically, with its hash beside it in ``<path>.sha256``.

    A crash at any point leaves the file that was there, or a pair that ``load`` refuses. The
    sidecar comes first, so that a new file never stands without its hash.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with _HashingFile(temporary) as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
        record = {"sha256": file.sha256.hexdigest(), "bytes": file.tell()}
    sidecar = _sidecar(path)
    temporary_sidecar = sidecar.with_name(f".{sidecar.name}.tmp")
    with temporary_sidecar.open("w") as text:
        json.dump(record, text)
        text.flush()
        os.fsync(text.fileno())
    temporary_sidecar.replace(sidecar)
    temporary.replace(path)
    _sync_folder(path.parent)


def load(path: Path) -> State:
    """Read a state back, its tensors on the CPU and mapped from the file until they are copied.

    Nothing in the file is executed.

    Raises: CheckpointError if the file or its hash is absent, or they do not agree.
    """
    try:
        record = json.loads(_sidecar(path).read_text())
        expected = record["sha256"]
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: must be readable with its {_sidecar(path).name}, but got {error}. "
            "Use an older checkpoint."
        ) from error
    if found != expected:
        raise CheckpointError(
            f"{path}: content must have the hash it was written with, but got sha256={found}. "
            "Use an older checkpoint."
        )
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: must hold plain values and tensors, but got another object. "
            "Only states written by save can be read."
        ) from error
    return state


class CheckpointFolder:
    """The last checkpoints of one trial, ``epoch_0007.pt`` and the one before.

    The best weights are inside every state, so keeping the newest keeps the best; the one before
    is there for the day the newest is torn.

    Args:
        folder: made if absent; one trial writes to it at a time.
        keep: how many to keep.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self._folder = folder
        self._keep = keep

    def save(self, state: State, epoch: int) -> Path:
        """Write the state of ``epoch`` and drop what is then too old. Returns the file."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"epoch_{epoch:04d}.pt"
        save(state, path)
        for old in self._paths()[self._keep :]:
            old.unlink()
            _sidecar(old).unlink(missing_ok=True)
        return path

    def newest_intact(self) -> State | None:
        """The newest state that can be trusted, or None if none was ever saved.

        Raises: CheckpointError if there are checkpoints and every one is broken, for to begin
            again is the caller's decision.
        """
        last_error: CheckpointError | None = None
        for path in self._paths():
            try:
                return load(path)
            except CheckpointError as error:
                last_error = error
        if last_error is not None:
            raise last_error
        return None

    def _paths(self) -> list[Path]:
        """Newest first."""
        if not self._folder.is_dir():
            return []
        found = ((_NAME.fullmatch(path.name), path) for path in self._folder.iterdir())
        by_epoch = [(int(match[1]), path) for match, path in found if match]
        return [path for _, path in sorted(by_epoch, reverse=True)]


class _HashingFile(io.BufferedWriter):
    """Hashes what is written to it in order, so that a large file need not be read again."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w"))
        self.sha256 = hashlib.sha256()

    def write(self, content: Any, /) -> int:  # any buffer; its type has no name before 3.12
        self.sha256.update(content)
        return super().write(content)


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sync_folder(folder: Path) -> None:
    # A rename is only on the disk once its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
