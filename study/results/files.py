"""Atomic writes and torn-line-tolerant reads: the only way this project touches its records."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``: a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically; NaN and infinity are errors, because no record may hold them."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """Write ``value`` atomically, keys in the order given, innermost lists on one line."""
    write_text(path, yaml.safe_dump(value, sort_keys=False, default_flow_style=None))


def append_line(path: Path, line: str) -> None:
    """Append one line; a torn last line, which only a crash leaves, is cut off first."""
    if path.exists():
        whole = path.read_bytes().rfind(b"\n") + 1
        if whole < path.stat().st_size:
            os.truncate(path, whole)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of an append-only log; a torn line, which only a crash leaves, is skipped."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield row
