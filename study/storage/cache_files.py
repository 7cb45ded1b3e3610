"""The files of the cache folder: any command makes them again, and those that nobody opens go."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.storage.files import make_way, sync_folder

_DAY_SECONDS = 86_400
_UNUSED_SECONDS, _UNFINISHED_SECONDS = 30 * _DAY_SECONDS, _DAY_SECONDS
"""Seconds after which a file that no process has opened goes, and one that was never finished; own
choices: a study that is taken up again within a month finds its files."""


def note_use(file: Path) -> None:
    """Set the time of a file that is opened: those that nobody has opened for long are removed."""
    # Where it may not be set, nothing is removed either.
    with contextlib.suppress(OSError):
        os.utime(file)


@contextmanager
def in_place_of(path: Path) -> Iterator[Path]:
    """Yield a name to write a file under, and put what is there in the place of ``path``.

    A reader sees the old file or the new one, and processes that write the same one at once do not
    meet. The folder is made.

    Raises:
        OSError: it could not be written; nothing is left of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        make_way(path)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_unused(written: Path) -> None:
    """Remove files like a new one that no process has opened for long, or that a crash has left.

    Every opening of a file sets its time. Linux and macOS keep a removed file for those who have
    mapped it, so that nothing is taken from a process that runs.

    What may not be removed stays: it only takes room.

    Args:
        written: the new file, named by a digest, whose time is the clock of the folder's file
            system.
    """
    digest = "[0-9a-f]" * len(written.stem)
    for pattern, most in (
        (f"{digest}{written.suffix}", _UNUSED_SECONDS),
        (f".{digest}.*.tmp", _UNFINISHED_SECONDS),
    ):
        # Another process may be removing the same ones, and others may own the folder.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            now = written.stat().st_mtime
            for path in written.parent.glob(pattern):
                if path.is_file() and now - path.stat().st_mtime > most:
                    path.unlink(missing_ok=True)
