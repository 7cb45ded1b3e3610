"""A lease on a cell in a store, in place of a lock, which a store does not have."""

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from study.storage.layout import JOURNAL_FILES, LEASE_FILE
from study.storage.lock import LockError
from study.storage.mirror import Mirror

_RENEW_SECONDS = 20.0
"""Seconds between two renewals of a lease."""

_LAPSE_SECONDS = 60.0
"""Seconds after which a lease that is not renewed lapses: three times those between renewals."""

_LOOK_SECONDS = 1.0
"""Seconds between two looks at the stop file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerStore:
    """The values with which a worker uses the store; credentials are those of its own machine."""

    storage: str
    """URI of the store, with the bucket's region."""
    cell: str
    """Name of the cell."""
    holder: str
    """Name of the process that holds the lease, and that the worker works for."""


class Lease:
    """An object in the store that says, until it is released, that this process searches a cell.

    A thread renews it, and marks in it whether there is a stop file, since workers may be on other
    machines. The journal is published through the lease, so that a process that has lost it,
    because it was suspended for a minute, can publish nothing more.

    Args:
        mirror: the cell's objects in the store.
        stop_file: a file on this disk; workers pause while it exists.

    Raises:
        LockError: another process holds the lease.
        OSError: the store cannot be used.
    """

    def __init__(self, mirror: Mirror, stop_file: Path) -> None:
        self.mirror = mirror
        began = psutil.Process().create_time()
        self._own = {"host": socket.gethostname(), "pid": os.getpid(), "began": began}
        self.holder = f"process {os.getpid()} on {socket.gethostname()}, {time.time_ns()}"
        """Name of this process, different for every start."""
        self._stop_file = stop_file
        self._ended = threading.Event()
        self._is_answering = True
        """Did the store answer the thread's last request?"""
        current = _read(mirror)
        if (
            current is not None
            and not _has_ended(current)
            and mirror.age_seconds(LEASE_FILE) < _LAPSE_SECONDS
        ):
            raise LockError(
                f"{mirror.uri}: one process at a time may work in it, but got "
                f"{current.get('holder')} at work. Wait until it has ended, or end it; one that "
                f"was killed elsewhere is forgotten after {_LAPSE_SECONDS:.0f} s."
            )
        self._write(is_stopped=False)
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    @property
    def for_workers(self) -> WorkerStore:
        """The values with which workers use the store."""
        return WorkerStore(storage=self.mirror.storage, cell=self.mirror.cell, holder=self.holder)

    def publish(self, journal: Path) -> None:
        """Write the journal to the store; an event has happened once this returns.

        Raises:
            OSError: it could not be written, or another process has taken over.
        """
        current = _read(self.mirror)
        if current is not None and current.get("holder") != self.holder:
            raise OSError(f"{current.get('holder')} has taken over {self.mirror.uri}")
        self.mirror.write(JOURNAL_FILES[0], journal.read_bytes())

    def release(self) -> None:
        """Remove the lease, if this process still holds it; a second call does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        if not self._is_answering:
            # The store cannot be reached, so the lease is left to lapse.
            return
        with suppress(OSError):
            if is_held(self.mirror, self.holder, or_stopped=True):
                self.mirror.remove(LEASE_FILE)

    def _keep(self) -> None:
        renewed, was_stopped = time.monotonic(), False
        while not self._ended.wait(_LOOK_SECONDS):
            is_stopped = self._stop_file.exists()
            if is_stopped == was_stopped and time.monotonic() - renewed < _RENEW_SECONDS:
                continue
            # A failed renewal is retried; publishing reports that the store is out of reach.
            try:
                current = _read(self.mirror)
                if current is not None and current.get("holder") != self.holder:
                    return
                self._write(is_stopped=is_stopped)
            except OSError:
                self._is_answering = False
            else:
                self._is_answering = True
                renewed, was_stopped = time.monotonic(), is_stopped

    def _write(self, *, is_stopped: bool) -> None:
        row = {**self._own, "holder": self.holder, "is_stopped": is_stopped}
        self.mirror.write(LEASE_FILE, json.dumps(row).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def is_held(mirror: Mirror, holder: str, *, or_stopped: bool = False) -> bool:
    """Does a process still hold the lease, without a stop file?

    Args:
        mirror: the cell's objects in the store.
        holder: name of the process.
        or_stopped: does a lease with a stop file count too?

    Raises:
        OSError: the store does not answer.
    """
    current = _read(mirror)
    if current is None or current.get("holder") != holder:
        return False
    return or_stopped or not current.get("is_stopped")


def _read(mirror: Mirror) -> dict[str, Any] | None:
    content = mirror.read(LEASE_FILE)
    try:
        row = json.loads(content or b"null")
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _has_ended(row: Mapping[str, Any]) -> bool:
    """Has a process ended, as far as is known? Only those of this machine can be looked up."""
    if row.get("host") != socket.gethostname():
        return False
    try:
        process = psutil.Process(int(row["pid"]))
        # A process number may be used again; readings of one start differ by less than a second.
        is_same = abs(process.create_time() - float(row["began"])) < 1.0
        return not is_same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (KeyError, TypeError, ValueError, OverflowError):
        # The lease names no process, and is left to lapse.
        return False
