"""Atomic writes, whole lines, and reads that tolerate damage, as all records need them."""

import json
import os
import time
from pathlib import Path
from typing import Any

import yaml

from study.errors import StudyError
from study.storage.documents import load_json


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``: a reader sees the old file or the new one, never a part.

    A folder in its place is moved aside.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` as ``write_text`` does."""
    temporary = temporary_path(path)
    try:
        make_way(temporary)
        with open(temporary, "wb", opener=no_link) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        make_way(path)
        temporary.replace(path)
    except OSError as error:
        # On a full disk a part of it would take the room that is needed.
        temporary.unlink(missing_ok=True)
        raise _named(error, path) from error
    sync_folder(path.parent)


def temporary_path(path: Path) -> Path:
    """Return where a file is written before it replaces the one that is there."""
    return path.with_name(f".{path.name}.tmp")


def make_way(path: Path) -> None:
    """Move aside a folder that somebody has made in the place of a file: nothing is deleted."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}.moved-{time.time_ns()}"))


def no_link(path: str, flags: int) -> int:
    """Open a file for ``open``, but not through a link: what that leads to is not ours.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def sync_folder(folder: Path) -> None:
    """Write a folder's names to the disk: a rename survives a power cut only then."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically; NaN and infinity are errors, because no record may hold them."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """Write ``value`` atomically, keys in the order given, innermost lists on one line."""
    write_text(path, yaml.safe_dump(value, sort_keys=False, default_flow_style=None))


def overwrite_json(path: Path, value: Any) -> None:
    """Write ``value`` over what a file holds, which takes no new room if it is not longer.

    For a full disk alone: a crash amid it leaves a part.
    """
    with path.open("r+", encoding="utf-8", newline="") as file:
        file.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
        file.truncate()


def append_line(path: Path, line: str, *, create: bool = True) -> None:
    """Append one line; a torn last line, which a crash or a full disk leaves, is cut off first.

    Raises:
        OSError: the line could not be written, or the file is a link, or gone and must not be
            created.
    """
    if create:
        make_way(path)
    cut_torn_line(path)
    mode = "a" if create else "r+"
    try:
        with open(path, mode, encoding="utf-8", newline="", opener=no_link) as file:
            file.seek(0, os.SEEK_END)
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _named(error, path) from error


def _named(error: OSError, path: Path) -> OSError:
    """Return what failed with the file's name: the system leaves it out of a failed write."""
    if error.filename is not None:
        return error
    return OSError(error.errno, error.strerror or str(error), str(path))


def cut_torn_line(path: Path) -> None:
    """Cut off a last line without an end."""
    if not path.is_file():
        return
    with open(path, "r+b", opener=no_link) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read(1) in (b"", b"\n"):
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def read_json(path: Path) -> Any:
    """Return the value of a JSON file, or None if it is missing or damaged."""
    try:
        return load_json(path, "Write it again.")
    except StudyError:
        return None


def read_text(path: Path) -> str | None:
    """Return a file's text, or None if it is missing; bytes that are no text are replaced."""
    return path.read_bytes().decode("utf-8", errors="replace") if path.is_file() else None
