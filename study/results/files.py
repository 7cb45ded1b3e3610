"""Atomic writes, whole lines, and reads that tolerate damage: how the records are touched."""

import json
import os
from pathlib import Path
from typing import Any

import yaml


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``: a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        # On a full disk a part of it would take the room that is needed.
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


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
        OSError: the line could not be written, or the file is gone and must not be created.
    """
    cut_torn_line(path)
    with path.open("a" if create else "r+", encoding="utf-8", newline="") as file:
        file.seek(0, os.SEEK_END)
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def cut_torn_line(path: Path) -> None:
    """Cut off a last line without an end."""
    if not path.exists():
        return
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read(1) in (b"", b"\n"):
            return
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def read_json(path: Path) -> Any:
    """Return the value of a JSON file, or None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_text(path: Path) -> str | None:
    """Return a file's text, or None if it is missing; bytes that are no text are replaced."""
    return path.read_bytes().decode("utf-8", errors="replace") if path.is_file() else None
