"""Saved states: written whole or not at all, and checked when read."""

import errno
import hashlib
import io
import json
import os
import pickle
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from study.errors import StudyError, cause
from study.storage.files import make_way, no_link, sync_folder, temporary_path

State = dict[str, Any]
"""Tensors, numbers, strings, None, and lists, tuples and dicts of them: what can be read without
running code."""

RESERVE_BYTES = 2 * 1024**2
"""Left free beside a checkpoint, so that the records of the search can still be written."""
_OVERHEAD = 1.02
"""Size of a state's files over that of its tensors: names, numbers and alignment."""

_STATE_NAME = re.compile(r"state_(\d{8,})\.pt")
_BEST_NAME = re.compile(r"best_(\d{4,})\.pt")
_OWN_NAME = re.compile(r"(state_\d{8,}|best_\d{4,})\.pt(\.sha256)?")
_LEFT_OVER_NAME = re.compile(
    r"(state_\d{8,}|best_\d{4,})\.pt\.sha256|\.(state_\d{8,}|best_\d{4,})\.pt(\.sha256)?\.tmp"
)

_OF_A_STATE = ("step", "best", "model_config", "train_config", "seed")
"""What every state has."""
_OF_BEST = ("epoch", "metrics", "weights")
"""What every file of best weights has."""

_UNUSABLE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
"""Errors that say of a file that it cannot be read; another one may say it of its disk."""


class CheckpointError(StudyError):
    """A checkpoint is absent, torn or not what was written."""


class NoSpaceError(OSError):
    """There is no room on the disk for a checkpoint; those written before are as they were."""


def is_checkpoint(name: str) -> bool:
    """Is a file of this name a state or best weights, or the hash of one?"""
    return _OWN_NAME.fullmatch(name) is not None


def state_bytes(state: object) -> int:
    """Bytes of all tensors in nested dicts, lists and tuples, an estimate of the file's size.

    A tensor that occurs twice is counted twice, though it is written once.
    """
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(state_bytes(value) for value in state.values())
    if isinstance(state, list | tuple):
        return sum(state_bytes(value) for value in state)
    return 0


def save(state: State, path: Path, *, best: str | None = None) -> None:
    """Write ``state`` to ``path`` atomically, with its hash beside it in ``<path>.sha256``.

    A crash at any point leaves the file that was there, or a pair that ``load`` refuses. The
    sidecar comes first, so that a new file never stands without its hash. An error leaves no
    temporary file behind.

    Args:
        state: what to write.
        path: where; its folder exists.
        best: name of the file with the weights that belong to the state, noted in the sidecar.

    Raises: NoSpaceError if the disk fills up, and any other OSError as it comes.
    """
    sidecar = _sidecar(path)
    try:
        with _full_disk_told(path):
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

    Nothing in the file is executed.

    Raises: CheckpointError if the file or its hash is absent, no file or unreadable, or they do not
        agree; OSError if the disk cannot be read now, which says nothing of the file.
    """
    try:
        expected = _sidecar_record(path)["sha256"]
        _require_file(path)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (*_UNUSABLE, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: must be readable with its {_sidecar(path).name}, but got {cause(error)}. "
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
        # Its hash is right, so it is no torn file, but one that something else has written.
        raise CheckpointError(
            f"{path}: must hold plain values and tensors, but got another object. "
            "Only states written by save can be read."
        ) from error
    return state


@dataclass(frozen=True, slots=True)
class Found:
    """A state that was read back."""

    state: State
    """With the best weights filled in, as ``Trainer.load_state_dict`` takes it."""
    problems: tuple[str, ...]
    """Why each newer one could not be used, newest first."""


class CheckpointFolder:
    """The last states of one trial, and the best weights that they refer to.

    ``state_00000123.pt`` is named by its optimizer step and holds all but the best weights.
    Those are in ``best_0004.pt``, named by the best epoch, written once for all the states that
    refer to it, and usable alone: it holds ``epoch``, ``metrics``, ``weights``, ``model_config``,
    ``train_config`` and ``seed``. The states before the newest are there for the day it is torn.

    Args:
        folder: made if absent; one trial writes to it at a time.
        keep: how many states to keep.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self._folder = folder
        self._keep = keep
        self._trusted_best: State | None = None
        """Epoch and metrics of the best file last written or verified by this object; one that a
        crashed process left may hold the weights of a trial that went on otherwise."""
        self._refused: set[Path] = set()
        """States that could not be read."""

    def save(self, state: State) -> Path:
        """Write the best weights if they are new, then the state, and drop what is then too old.

        A state of the same step is written over, and those of later steps are dropped: they
        belong to a trial that was gone on with from an older state, and the latest is the truth.

        Returns: the state's file.
        Raises: NoSpaceError if the folder's disk has no room for it, before anything is written
            where that can be foreseen; OSError if it cannot be written. The states that were
            there stay.
        """
        with _full_disk_told(self._folder):
            # A trial whose folder was removed must not come back with its checkpoints alone.
            self._folder.mkdir(exist_ok=True)
        path = self._folder / f"state_{state['step']:08d}.pt"
        best = state["best"]
        if best is None:
            self._require_space(state)
            self._write_state(state, path, None)
        else:
            identity = _identity(best)
            best_path = self._best_path(best)
            best_file: State = {}
            is_written = best_path.is_file() and _sidecar(best_path).is_file()
            if identity != self._trusted_best or not is_written:
                names = ("model_config", "train_config", "seed")
                best_file = {**best, **{name: state[name] for name in names}}
            light = {**state, "best": identity}
            self._require_space([best_file, light])
            if best_file:
                save(best_file, best_path)
                self._trusted_best = identity
            self._write_state(light, path, best_path.name)

        self._prune(path)
        return path

    def newest_intact(self, names: Collection[str] = _OF_A_STATE) -> Found | None:
        """The newest state that can be trusted with its best weights, or None if there is none.

        Its tensors are mapped from the files until they are copied.

        Args:
            names: of the values that a state must have.

        Raises: CheckpointError if there are states and every one is broken, for to begin again is
            the caller's decision.
        """
        problems: list[str] = []
        for path in self._states():
            try:
                state = _with_names(load(path), path, names)
                if state["best"] is not None:
                    state["best"] = self._load_best(state["best"], path)
            except CheckpointError as error:
                problems.append(str(error))
                self._refused.add(path)
            else:
                self._trusted_best = state["best"] and _identity(state["best"])
                return Found(state, tuple(problems))
        if problems:
            raise CheckpointError(
                f"{self._folder}: one of its states must be intact, but got {len(problems)} broken "
                f"ones, the last because of {problems[-1]} Delete the folder to begin again."
            )
        return None

    def keep_best(self) -> None:
        """Of a trial that has ended, keep only the best weights that its newest state refers to.

        A call that was cut short can be repeated: what says which weights to keep goes last, and
        without a state the best file of the latest epoch is kept.
        """
        states = self._states()
        bests = self._bests()
        names = [path.name for path in bests]
        referred = [name for path in states if (name := _read_best(path)) in names]
        for path in bests:
            if path.name != (referred or names)[0]:
                _remove(path)
        for path in reversed(states):
            _remove(path)
        self._drop_left_overs()

    def has_best(self) -> bool:
        """Are best weights there, as long as they were written? Their hash is checked on load."""
        for path in self._bests():
            record = _read_sidecar(path)
            return record is not None and record.get("bytes") == path.stat().st_size
        return False

    def load_best(self) -> State:
        """Return the best weights of a trial that has ended, as ``weights``, and what made them.

        Raises: CheckpointError if they are broken or not there.
        """
        bests = self._bests()
        if not bests:
            raise CheckpointError(
                f"{self._folder}: must hold the best weights of its trial, but got none. Train it "
                "again."
            )
        return _with_names(load(bests[0]), bests[0], _OF_BEST)

    def clear(self) -> None:
        """Remove all checkpoints; a call that was cut short can be repeated.

        The folder goes, too, unless somebody else has put something there.
        """
        for path in (*self._states(), *self._bests()):
            _remove(path)
        self._drop_left_overs()
        # Not empty, or absent.
        with suppress(OSError):
            self._folder.rmdir()

    def _require_space(self, content: object) -> None:
        needed = int(state_bytes(content) * _OVERHEAD) + RESERVE_BYTES
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise NoSpaceError(
                errno.ENOSPC,
                f"{self._folder}: must have {needed} bytes free for the next checkpoint, "
                f"but got free={free}. Free some space, or put the results on a larger disk.",
            )

    def _write_state(self, state: State, path: Path, best: str | None) -> None:
        try:
            save(state, path, best=best)
        except BaseException:
            # New best weights that no state refers to would only take up room.
            self._sweep()
            raise

    def _prune(self, newest: Path) -> None:
        """Drop the states before and after ``newest`` that are not to be kept, and left-overs."""
        self._refused.discard(newest)
        kept = []
        for path in self._states():
            if _number(path) > _number(newest) or path in self._refused:
                _remove(path)
            else:
                kept.append(path)
        for path in kept[self._keep :]:
            _remove(path)
        self._sweep()

    def _load_best(self, identity: State, path: Path) -> State:
        """Read the best weights that the state in ``path`` was saved with.

        Raises: CheckpointError if the file is broken, or that of another run of the same epoch,
            as when a trial goes on from an older state on a device that repeats nothing exactly.
        """
        _with_names(identity, path, ("epoch", "metrics"))
        best_path = self._best_path(identity)
        best_file = _with_names(load(best_path), best_path, _OF_BEST)
        if _identity(best_file) != identity:
            raise CheckpointError(
                f"{best_path}: must hold the best weights of {path.name}, but got those of "
                "another run of that epoch. Use an older checkpoint."
            )
        return {**identity, "weights": best_file["weights"]}

    def _best_path(self, best: State) -> Path:
        return self._folder / f"best_{best['epoch']:04d}.pt"

    def _sweep(self) -> None:
        """Remove the best weights that no state refers to, and the left-overs."""
        referred = {_read_best(path) for path in self._states()}
        for path in self._bests():
            if path.name not in referred:
                _remove(path)
        self._drop_left_overs()

    def _drop_left_overs(self) -> None:
        """Remove what a crashed writer left: temporary files, and hashes of absent files."""
        for path in self._files():
            if _LEFT_OVER_NAME.fullmatch(path.name) and not path.with_suffix("").exists():
                _discard(path)

    def _states(self) -> list[Path]:
        """Newest first."""
        return _newest_first(path for path in self._files() if _STATE_NAME.fullmatch(path.name))

    def _bests(self) -> list[Path]:
        """Newest first."""
        files = (path for path in self._files() if path.is_file())
        return _newest_first(path for path in files if _BEST_NAME.fullmatch(path.name))

    def _files(self) -> list[Path]:
        return list(self._folder.iterdir()) if self._folder.is_dir() else []


class _HashingFile(io.BufferedWriter):
    """Hashes what is written to it in order, so that a large file need not be read again."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "w", opener=no_link))
        self.sha256 = hashlib.sha256()
        self.error: OSError | None = None
        """Why a write failed, which torch.save hides behind a RuntimeError about its own count."""

    def write(self, content: Any, /) -> int:  # any buffer; its type has no name before 3.12
        self.sha256.update(content)
        try:
            return super().write(content)
        except OSError as error:
            self.error = error
            raise


@contextmanager
def _full_disk_told(path: Path) -> Iterator[None]:
    """Raise NoSpaceError where the system says that the disk or the quota is used up."""
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
    """Write ``state`` to ``path`` and on to the disk; return its hash and size."""
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


def _identity(best: State) -> State:
    """What tells one best epoch from another: all but its weights."""
    return {name: best[name] for name in ("epoch", "metrics")}


def _read_best(state_path: Path) -> str | None:
    """Name of the best file that a state refers to, or None.

    None also if the sidecar is torn, for then the state cannot be used anyway.
    """
    best = (_read_sidecar(state_path) or {}).get("best")
    return best if isinstance(best, str) else None


def _read_sidecar(path: Path) -> dict[str, Any] | None:
    """What is written beside a file, or None if it is absent, torn or unreadable."""
    try:
        record = _sidecar_record(path)
    except (*_UNUSABLE, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _sidecar_record(path: Path) -> Any:
    _require_file(_sidecar(path))
    return json.loads(_sidecar(path).read_text())


def _require_file(path: Path) -> None:
    """Raise an OSError unless there is a file: a pipe would be waited for."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", path.name)


def _with_names(state: object, path: Path, names: Collection[str]) -> State:
    """Return what was read from a file, of which the hash is right, if it has these values.

    Raises: CheckpointError otherwise.
    """
    missing = [name for name in names if not isinstance(state, dict) or name not in state]
    if missing:
        raise CheckpointError(
            f"{path}: must hold {', '.join(names)}, but got none of {', '.join(missing)}. "
            "Use an older checkpoint."
        )
    return cast(State, state)


def _number(path: Path) -> int:
    """The step of a state, the epoch of best weights."""
    return int(path.stem.rpartition("_")[2])


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=_number, reverse=True)


def _remove(path: Path) -> None:
    """Remove a file and then its hash, so that a file never stands without one."""
    _discard(path)
    _discard(_sidecar(path))


def _discard(path: Path) -> None:
    """Remove a file; a folder in its place is somebody else's, and moved aside."""
    make_way(path)
    path.unlink(missing_ok=True)


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
