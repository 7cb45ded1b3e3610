"""The process at work on a cell or a sweep, since when, and how it ended: ``status.json``."""

import dataclasses
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import psutil

from study.errors import StudyError, cause
from study.fields import fits, rebuild
from study.output import told_of_lost_output
from study.storage.files import overwrite_json, read_json, write_json
from study.storage.layout import FINAL_FOLDER, RECORD_FILE, STATUS_FILE, TEST_OPENED_FILE

DriverState = Literal["running", "complete", "interrupted", "stopped", "failed"]
"""State of a driver: at work; every trial ended; ended by the user; ended by a fault, and can be
resumed; refused, without a usable result, or with so many failed trials that resuming would be a
waste."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverStatus:
    """One start of a driver. A process that was killed leaves it at ``running``."""

    run: str
    """Name of the start, different for every one."""
    process: int
    process_began: float
    """Unix time of the process's start: process numbers are used again."""
    host: str
    began: float
    """Unix time at which the driver's work began."""
    state: DriverState
    reason: str | None
    """Reason for which it ended before its time."""
    ended: float | None
    """Unix time of its end; None while it is at work."""
    lost_output: str | None = None
    """Reason for which nobody reads its output any more; None as long as somebody may."""

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the status of this process, at work from now on."""
        return cls(
            run=secrets.token_hex(4),
            process=os.getpid(),
            process_began=psutil.Process().create_time(),
            host=socket.gethostname(),
            began=time.time(),
            state="running",
            reason=None,
            ended=None,
        )

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the status that the last driver wrote; None if nothing readable is there."""
        raw: Any = read_json(folder / STATUS_FILE)
        # A status that is absent, cut, or of another version shows nothing.
        return rebuild(cls, raw, STATUS_FILE, "") if fits(raw, cls) else None

    @property
    def is_alive(self) -> bool | None:
        """Does the process still run? None if it is another machine's, which cannot be asked."""
        if self.host != socket.gethostname():
            return None
        try:
            process = psutil.Process(self.process)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            # Clocks differ by less than a second between two readings of one process.
            return abs(process.create_time() - self.process_began) < 1.0
        except psutil.NoSuchProcess:
            return False


def is_search_complete(folder: Path, n_ended: int, n_asked: int) -> bool:
    """Has every trial of a search ended? One that has converged asks for fewer than it might."""
    status = DriverStatus.read(folder)
    return n_ended >= n_asked or (status is not None and status.state == "complete")


def has_final_runs(folder: Path) -> bool:
    """May final runs of a search's winner have opened the test days?"""
    final = folder.parent / FINAL_FOLDER / folder.name
    return any((final / name).exists() for name in (TEST_OPENED_FILE, RECORD_FILE))


class Driver:
    """Keeps ``status.json`` of a folder. A disk that is full must not keep a search from ending."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._status = DriverStatus.of_this_process()
        # Output may be lost in the thread of a live view.
        self._lock = threading.Lock()
        self._write()

    def end(self, state: DriverState, reason: str | None) -> None:
        """Write down how the driver ended."""
        self._write(state=state, reason=reason, ended=time.time())

    def lose_output(self, reason: str) -> None:
        """Write down that nobody reads the output any more."""
        self._write(lost_output=reason)

    def _write(self, **changes: Any) -> None:
        path = self._folder / STATUS_FILE
        with self._lock:
            self._status = dataclasses.replace(self._status, **changes)
            described = dataclasses.asdict(self._status)
            try:
                write_json(path, described)
            except OSError:
                # On a full disk the room that the old words take is still there. Without them the
                # status says less: the process of the last one is found dead, which it is.
                with suppress(OSError):
                    overwrite_json(path, described)


@contextmanager
def at_work(folder: Path) -> Iterator[Driver]:
    """Write into ``folder`` that this process is at work until the end of the block."""
    driver = Driver(folder)
    with told_of_lost_output(driver.lose_output):
        try:
            yield driver
        except KeyboardInterrupt:
            driver.end("interrupted", "ended at once")
            raise
        except StudyError as error:
            driver.end("failed", str(error))
            raise
        except BaseException as error:
            # Whatever it was, this process is not at work any more.
            driver.end("stopped", f"{type(error).__name__}: {cause(error)}")
            raise
