"""A lock on a folder that a dead process does not hold."""

import fcntl
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from study.errors import StudyError
from study.storage.layout import LOCK_FILE

_POLL_SECONDS = 0.2

_YOUNG_SECONDS = 60.0
"""Age in seconds below which a folder may not be locked yet: between its making and its lock lie
microseconds, or a suspension."""

_HOLDER_BYTES = 400
"""Most bytes of a lock file: a host's name has at most 255."""

_MARKER = "scratch"
"""Lock file of a temporary folder, which no other folder has: it may be deleted with all in it."""

_PREFIX = "mss-"
"""Prefix of a temporary folder: short, for Ray's sockets lie in one and a socket's path has 107
bytes."""

_SCRATCH_NAME = re.compile(_PREFIX + r"[a-z0-9_]{8}")
"""Names that ``tempfile.mkdtemp`` makes of the prefix."""


class LockError(StudyError):
    """The lock cannot be had: another process holds it, or there can be none."""


class FolderLock:
    """Excludes every other process from a folder until it is released or its process ends.

    The kernel drops the lock with the process, however that ends, so nothing stale has to be
    recognised; a moved folder stays locked. A program that is started does not inherit it.

    No link is followed, and a file that is not empty and was not written by a lock keeps its
    content: what somebody has put in the lock's place is not harmed.

    Args:
        folder: an existing folder.
        wait_seconds: how long to wait for another process to let go.
        name: of the lock file.

    Raises:
        LockError: another process holds it, the folder cannot be written, something else than a
            file is in its place, or its file system has no locks.
    """

    def __init__(self, folder: Path, *, wait_seconds: float = 0.0, name: str = LOCK_FILE) -> None:
        path = folder / name
        self._descriptor: int | None = None
        try:
            # Non-blocking: a pipe would be waited for.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            self._descriptor = os.open(path, flags, 0o644)
        except OSError as error:
            if path.is_symlink():
                raise _no_file(path, "a link") from error
            raise LockError(
                f"{path}: must be a file that can be written, but got {error.strerror}. Make the "
                "folder writable, or choose another --storage."
            ) from error
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.release()
            raise _no_file(path, "a pipe or a device")
        until = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(_POLL_SECONDS)
                    continue
                holder = (
                    os.pread(self._descriptor, _HOLDER_BYTES, 0).decode(errors="replace").strip()
                )
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
        # Only a courtesy to the reader of an error; a full disk must not stop a resume.
        with suppress(OSError):
            if _was_written_by_a_lock(self._descriptor):
                os.ftruncate(self._descriptor, 0)
                os.pwrite(self._descriptor, _holder().encode(), 0)

    def show_life(self) -> None:
        """Set the lock file's time of change to now; this needs no space."""
        if self._descriptor is not None:
            os.utime(self._descriptor)

    def release(self) -> None:
        """Release the lock; a second time does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def _no_file(path: Path, got: str) -> LockError:
    return LockError(f"{path}: must be a file that can be written, but got {got}. Move it away.")


def _holder() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _was_written_by_a_lock(descriptor: int) -> bool:
    """May the content of a lock file be replaced? Not if another name leads to it, too."""
    content = os.pread(descriptor, _HOLDER_BYTES + 1, 0)
    # A power cut leaves zeros, or a part.
    text = content.strip(b"\0")
    is_ours = text.startswith(b"process ") or b"process ".startswith(text)
    return is_ours and len(content) <= _HOLDER_BYTES and os.fstat(descriptor).st_nlink == 1


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield a private temporary folder, and remove those of processes that were killed.

    Args:
        parent: where; None takes the system's folder for temporary files.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    remove_abandoned(parent)
    with tempfile.TemporaryDirectory(
        prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True
    ) as name:
        with FolderLock(Path(name), name=_MARKER):
            yield Path(name)


def remove_abandoned(parent: Path) -> None:
    """Delete the temporary folders that a killed process of this user has left in a folder.

    Others may write there too, so a name is not enough: a folder must be this user's alone, and
    hold a marker that was written on this machine by a process that has ended. Recent folders are
    kept: a process that has just made its folder may be about to lock it.
    """
    try:
        names = os.listdir(parent)
    except OSError:
        # A folder that may not be read is left as it is.
        return
    for folder in (parent / name for name in names if _SCRATCH_NAME.fullmatch(name)):
        # It belongs to another user, or another process was faster.
        with suppress(FileNotFoundError, PermissionError):
            if is_own_folder(folder, closed=0o077) and is_left_by_a_process(folder, _MARKER):
                with suppress(LockError), FolderLock(folder, name=_MARKER):
                    shutil.rmtree(folder, ignore_errors=True)


def is_own_folder(path: Path, *, closed: int = 0) -> bool:
    """Is it this user's folder, not a link to one, with none of the rights ``closed`` given?

    Raises:
        OSError: it cannot be looked at.
    """
    found = path.lstat()
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return is_own and not found.st_mode & closed


def is_left_by_a_process(folder: Path, name: str = LOCK_FILE) -> bool:
    """Is a folder old enough, with a lock that a process of this user wrote on this machine?

    That process may still hold it.

    Raises:
        OSError: it cannot be looked at, or has no such lock.
    """
    path = folder / name
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        return False
    is_old = time.time() - folder.lstat().st_mtime >= _YOUNG_SECONDS
    wrote = rf"process \d+ on {re.escape(socket.gethostname())}"
    return is_old and bool(re.fullmatch(wrote, path.read_text(errors="replace")))
