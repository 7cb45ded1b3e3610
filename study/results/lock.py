"""A lock on a folder that a dead process does not hold."""

import fcntl
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from study.errors import StudyError

LOCK_FILE = "lock"
"""Says who works in its folder; its time of change is that of the last sign of life."""

_POLL_SECONDS = 0.2

_YOUNG_SECONDS = 60.0
"""Between the making of a folder and its lock lie microseconds, or a suspension."""

_SCRATCH = "market-scaling-study-"


class LockError(StudyError):
    """The lock cannot be had: another process holds it, or there can be none."""


class FolderLock:
    """Excludes every other process from a folder until it is released or its process ends.

    The kernel drops the lock with the process, however that ends, so nothing stale has to be
    recognised; a moved folder stays locked. A program that is started does not inherit it.

    Args:
        folder: an existing folder.
        wait_seconds: how long to wait for another process to let go.

    Raises:
        LockError: another process holds it, the folder cannot be written, or its file system has
            no locks.
    """

    def __init__(self, folder: Path, *, wait_seconds: float = 0.0) -> None:
        path = folder / LOCK_FILE
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise LockError(
                f"{path}: must be a file that can be written, but got {error.strerror}. Make the "
                "folder writable, or choose another --storage."
            ) from error
        until = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(_POLL_SECONDS)
                    continue
                holder = os.pread(self._descriptor, 200, 0).decode(errors="replace").strip()
                self.release()
                raise LockError(
                    f"{folder}: one process at a time may work in it, but got {holder or 'another'}"
                    " at work. Wait until it has ended, or end it; a dead process holds no lock."
                ) from None
            except OSError as error:
                self.release()
                raise LockError(
                    f"{path}: the file system must support locks, but got {error.strerror}. "
                    "Choose another --storage."
                ) from error
        try:
            os.ftruncate(self._descriptor, 0)
            holder = f"process {os.getpid()} on {socket.gethostname()}"
            os.pwrite(self._descriptor, holder.encode(), 0)
        except OSError:
            # Only a courtesy to the reader of an error; a full disk must not stop a resume.
            return

    def show_life(self) -> None:
        """Set the lock file's time of change to now; this needs no space."""
        if self._descriptor is not None:
            os.utime(self._descriptor)

    def release(self) -> None:
        """Let go; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a temporary folder, and remove those of processes that were killed."""
    temporary = Path(tempfile.gettempdir())
    remove_abandoned(temporary.glob(f"{_SCRATCH}*"))
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, ignore_cleanup_errors=True) as name:
        with FolderLock(Path(name)):
            yield Path(name)


def remove_abandoned(folders: Iterable[Path]) -> None:
    """Delete folders that a process locked and left behind when it was killed.

    Young ones stay: a process that has just made its folder may be about to lock it.
    """
    for folder in folders:
        try:
            if time.time() - folder.stat().st_mtime < _YOUNG_SECONDS:
                continue
            lock = FolderLock(folder)
        except (LockError, FileNotFoundError):
            # Its process lives, it is another user's, or another process was faster.
            continue
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
