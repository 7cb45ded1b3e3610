"""The checkpoints of a trial: its last states, and the best weights that they refer to."""

import errno
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from study.storage.files import make_way
from study.training.checkpoint_bytes import MOST_SPARED_BYTES, states_kept
from study.training.state_file import (
    CheckpointError,
    HostCopy,
    NoSpaceError,
    State,
    full_disk_named,
    load,
    read_sidecar,
    save,
    sidecar_path,
    state_bytes,
    with_names,
)

RESERVE_BYTES = 2 * 1024**2
"""Bytes left free beside a checkpoint, so that the records of the search can still be written."""

_OVERHEAD = 1.02
"""Ratio of the size of a state's files to that of its tensors: names, numbers and alignment."""

_NONE = -1
"""Step of no state."""

_STATE_NAME = re.compile(r"state_(\d{8,})\.pt")
_BEST_NAME = re.compile(r"best_(\d{4,})\.pt")
_OWN_NAME = re.compile(r"(state_\d{8,}|best_\d{4,})\.pt(\.sha256)?")
_LEFT_OVER_NAME = re.compile(
    r"(state_\d{8,}|best_\d{4,})\.pt\.sha256|\.(state_\d{8,}|best_\d{4,})\.pt(\.sha256)?\.tmp"
)

_OF_A_STATE = ("step", "best", "model_config", "train_config", "seed")
"""Names of the values that every state has."""

_OF_BEST = ("epoch", "metrics", "weights")
"""Names of the values that every file of best weights has."""


def is_checkpoint(name: str) -> bool:
    """Is a file of this name a state or best weights, or the hash of one?"""
    return _OWN_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Found:
    """A state that was read back."""

    state: State
    """The state with the best weights filled in, as ``Trainer.load_state_dict`` takes it."""
    problems: tuple[str, ...]
    """The reasons why each newer state could not be used, newest first."""


class CheckpointFolder:
    """The last states of one trial, and the best weights that they refer to.

    ``state_00000123.pt`` is named by its optimizer step and holds all but the best weights.
    Those are in ``best_0004.pt``, named by the best epoch, written once for all the states that
    refer to it, and usable alone: it holds ``epoch``, ``metrics``, ``weights``, ``model_config``,
    ``train_config`` and ``seed``. An older state is used if the newest is torn; of large states
    only the newest is kept.

    Args:
        folder: the folder, made if absent; one trial writes to it at a time.
        keep: number of states to keep.
        most_spared_bytes: size of the largest states of which more than one is kept.
    """

    def __init__(
        self, folder: Path, *, keep: int = 2, most_spared_bytes: int = MOST_SPARED_BYTES
    ) -> None:
        self._folder = folder
        self._keep = keep
        self._most_spared_bytes = most_spared_bytes
        self._newest: Path | None = None
        """The state that this object has last written or read."""
        self._trusted_best: State | None = None
        """Epoch and metrics of the best file that this object has last written or verified. A file
        that a crashed process left may hold the weights of another run of the same epoch."""
        self._refused: set[Path] = set()
        """States that could not be read."""

    def save(self, state: State) -> Path:
        """Write the best weights if they are new, then the state; remove those that are too old.

        A state of the same step is replaced, and those of later steps are removed: they were
        written before the trial was resumed from an older state.

        Returns: the state's file.
        Raises: NoSpaceError if the folder's disk has no room for it, where possible before
            anything is written; OSError if it cannot be written. Earlier states are kept.
        """
        with full_disk_named(self._folder):
            # A trial whose folder was removed must not come back with its checkpoints alone.
            self._folder.mkdir(exist_ok=True)
        path = self._folder / f"state_{state['step']:08d}.pt"
        best = state["best"]
        kept = states_kept(state_bytes(state | {"best": None}), self._keep, self._most_spared_bytes)
        if self._newest is not None and self._newest.exists():
            # What a crash has left must not take room beside the state that is written.
            self._prune(self._newest, kept)
        if best is None:
            self._require_space(state)
            self._write_state(state, path, None)
        else:
            identity = _identity(best)
            best_path = self._best_path(best)
            best_file: State = {}
            is_written = best_path.is_file() and sidecar_path(best_path).is_file()
            if identity != self._trusted_best or not is_written:
                names = ("model_config", "train_config", "seed")
                best_file = {**best, **{name: state[name] for name in names}}
            light = {**state, "best": identity}
            self._require_space([best_file, light])
            if best_file:
                save(best_file, best_path)
                self._trusted_best = identity
            self._write_state(light, path, best_path.name)

        self._newest = path
        self._prune(path, kept)
        return path

    def newest_intact(self, names: Collection[str] = _OF_A_STATE) -> Found | None:
        """Return the newest state that can be trusted with its best weights; None without one.

        Its tensors are mapped from the files until they are copied.

        Args:
            names: names of the values that a state must have.

        Raises: CheckpointError if there are states and every one is broken, because
            beginning again is the caller's decision.
        """
        problems: list[str] = []
        for path in self._states():
            try:
                state = with_names(load(path), path, names)
                if state["best"] is not None:
                    state["best"] = self._load_best(state["best"], path)
            except CheckpointError as error:
                problems.append(str(error))
                self._refused.add(path)
            else:
                self._trusted_best = state["best"] and _identity(state["best"])
                self._newest = path
                return Found(state, tuple(problems))
        if problems:
            raise CheckpointError(
                f"{self._folder}: one of its states must be intact, but got {len(problems)} broken "
                f"ones, the last because of {problems[-1]} Delete the folder to begin again."
            )
        return None

    def keep_newest(self, most_bytes: int) -> bool:
        """Keep only the newest state of an ended trial and its best weights, so that it can go on.

        Args:
            most_bytes: size of the largest state that is kept.

        Returns: False, with nothing removed, if that state is larger, torn or absent.
        """
        states = self._states()
        if not states or not _is_whole(states[0]) or states[0].stat().st_size > most_bytes:
            return False
        if _read_best(states[0]) not in {path.name for path in self._bests()}:
            return False
        for path in states[1:]:
            _remove(path)
        self._sweep()
        return True

    def keep_best(self) -> None:
        """Keep only the best weights that the newest state of an ended trial refers to.

        An interrupted call can be repeated: the state that refers to these weights is removed
        last, and without a state the best file of the latest epoch is kept.
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

    def has_state(self) -> bool:
        """Is there a state of the written size? Loading it checks its hash."""
        return any(_is_whole(path) for path in self._states()[:1])

    def has_best(self) -> bool:
        """Are there best weights of the written size? Loading them checks their hash."""
        return any(_is_whole(path) for path in self._bests()[:1])

    def load_best(self) -> State:
        """Return the best weights of an ended trial with their epoch, scores, configuration, seed.

        Raises: CheckpointError if they are broken or missing.
        """
        bests = self._bests()
        if not bests:
            raise CheckpointError(
                f"{self._folder}: must hold the best weights of its trial, but got none. Train it "
                "again."
            )
        return with_names(load(bests[0]), bests[0], _OF_BEST)

    def clear(self) -> None:
        """Remove all checkpoints, and the folder if it is then empty.

        An interrupted call can be repeated.
        """
        for path in (*self._states(), *self._bests()):
            _remove(path)
        self._drop_left_overs()
        # The folder may not be empty, or absent.
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

    def _prune(self, newest: Path, n_kept: int) -> None:
        """Remove states that are old, unreadable or later than ``newest``, and left-over files."""
        self._refused.discard(newest)
        kept = []
        for path in self._states():
            if _number(path) > _number(newest) or path in self._refused:
                _remove(path)
            else:
                kept.append(path)
        for path in kept[n_kept:]:
            _remove(path)
        self._sweep()

    def _load_best(self, identity: State, path: Path) -> State:
        """Read the best weights that the state in ``path`` was saved with.

        Raises: CheckpointError if the file is broken, or that of another run of the same epoch,
            as when a trial resumes from an older state on a device that repeats nothing exactly.
        """
        with_names(identity, path, ("epoch", "metrics"))
        best_path = self._best_path(identity)
        best_file = with_names(load(best_path), best_path, _OF_BEST)
        if _identity(best_file) != identity:
            raise CheckpointError(
                f"{best_path}: must hold the best weights of {path.name}, but got those of "
                "another run of that epoch. Use an older checkpoint."
            )
        return {**identity, "weights": best_file["weights"]}

    def _best_path(self, best: State) -> Path:
        return self._folder / f"best_{best['epoch']:04d}.pt"

    def _sweep(self) -> None:
        """Remove the best weights that no state refers to, and left-over files."""
        referred = {_read_best(path) for path in self._states()}
        for path in self._bests():
            if path.name not in referred:
                _remove(path)
        self._drop_left_overs()

    def _drop_left_overs(self) -> None:
        """Remove the files that a crash leaves: temporary ones, and hashes of absent files."""
        for path in self._files():
            if _LEFT_OVER_NAME.fullmatch(path.name) and not path.with_suffix("").exists():
                _discard(path)

    def _states(self) -> list[Path]:
        """Return the files of states, newest first."""
        return _newest_first(path for path in self._files() if _STATE_NAME.fullmatch(path.name))

    def _bests(self) -> list[Path]:
        """Return the files of best weights, newest first."""
        files = (path for path in self._files() if path.is_file())
        return _newest_first(path for path in files if _BEST_NAME.fullmatch(path.name))

    def _files(self) -> list[Path]:
        return list(self._folder.iterdir()) if self._folder.is_dir() else []


class CheckpointWriter:
    """Writes the states of one trial, one after the other, while the trial goes on.

    A thread writes a copy of the state, which takes as much memory again. A larger state is
    written without a copy, before the call returns. An error of the thread is raised by the next
    call of ``keep``.

    Args:
        write: function that writes a state to where it is kept; one thread at a time calls it.
        seconds: least time between two states that are written while the trial goes on; with 0
            every state is on the disk when ``keep`` returns.
        most_copied_bytes: bytes of the largest state that is copied.
        step: the optimizer step at which the trial stands, whose state need not be written.
    """

    def __init__(
        self,
        write: Callable[[State], object],
        *,
        seconds: float,
        most_copied_bytes: int,
        step: int,
    ) -> None:
        self._write = write
        self._seconds = seconds
        self._most_copied_bytes = most_copied_bytes
        self._newest = step
        """Step of the newest state that is on the disk or being written."""
        self._taken = time.monotonic()
        """Time at which the newest state was taken, in seconds of ``time.monotonic``."""
        self._copy = HostCopy()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[object] | None = None

    @property
    def age_seconds(self) -> float:
        """Seconds since the newest state was taken, or since the trial has begun."""
        return time.monotonic() - self._taken

    def keep(self, take: Callable[[], State], *, at_once: bool) -> bool:
        """Write the state of the trial, unless that is not yet due.

        If the state before is still being written, a state that is due waits for it: at most one
        is in flight.

        Args:
            take: function that returns the state of the trial now; called if it is to be written.
            at_once: must the state be on the disk when this returns?

        Returns: is it on the disk?
        Raises: OSError if it, or the state before, could not be written.
        """
        if self._pending is not None and self._pending.done():
            self._wait()
        if at_once or self._seconds == 0:
            self._wait()
            state = take()
            if state["step"] != self._newest:
                self._write_now(state)
            return True
        if self.age_seconds < self._seconds:
            return False
        self._wait()
        state = take()
        if state_bytes(state) > self._most_copied_bytes:
            self._write_now(state)
            return True
        self._taken = time.monotonic()
        self._pending = self._thread.submit(self._write, self._copy.of(state))
        self._newest = state["step"]
        return False

    def close(self) -> None:
        """Return when nothing is being written; an error of it is dropped with its trial."""
        if self._pending is not None:
            wait([self._pending])
            self._pending = None
        self._thread.shutdown()

    def _write_now(self, state: State) -> None:
        self._taken = time.monotonic()
        self._write(state)
        self._newest = state["step"]

    def _wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            try:
                pending.result()
            except BaseException:
                self._newest = _NONE
                raise


def _identity(best: State) -> State:
    """Return the values that identify a best epoch: all but its weights."""
    return {name: best[name] for name in ("epoch", "metrics")}


def _is_whole(path: Path) -> bool:
    """Is a file of the size that its sidecar says?"""
    record = read_sidecar(path)
    return record is not None and record.get("bytes") == path.stat().st_size


def _read_best(state_path: Path) -> str | None:
    """Return the name of the best file that a state refers to, or None.

    It is also None if the sidecar is torn, because the state cannot be used then.
    """
    best = (read_sidecar(state_path) or {}).get("best")
    return best if isinstance(best, str) else None


def _number(path: Path) -> int:
    """Return the step of a state or the epoch of best weights."""
    return int(path.stem.rpartition("_")[2])


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=_number, reverse=True)


def _remove(path: Path) -> None:
    """Remove a file and then its hash, so that a file always has one."""
    _discard(path)
    _discard(sidecar_path(path))


def _discard(path: Path) -> None:
    """Remove a file; a folder in its place, which others have made, is moved aside."""
    make_way(path)
    path.unlink(missing_ok=True)
