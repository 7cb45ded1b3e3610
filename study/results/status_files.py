"""Reads the files of a search that may be damaged or half written: nothing here raises."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.results.driver import DriverStatus
from study.results.journal import COPIES
from study.results.records import PHASES

_TAIL_BYTES = 65536
"""Holds the last epochs of a trial: a report has about 2 kB."""

_HEAD_BYTES = 4096
"""Holds the first epoch of a trial."""

_KIND_BYTES = 200
"""Of a line of the journal: search, place and hash come before the kind of its event."""


def read_description(folder: Path) -> Mapping[str, Any]:
    """Return what the first event of the journal says of the cell, from whichever copy has it."""
    for name in COPIES:
        try:
            with (folder / name).open("rb") as file:
                event = as_dict(as_dict(json.loads(file.readline())).get("event"))
        except (OSError, ValueError, RecursionError):
            continue
        if event.get("cell"):
            return as_dict(event["cell"])
    return {}


def read_configurations(folder: Path) -> dict[int, Mapping[str, Any]]:
    """Return the configuration of every trial asked for; the many epoch lines are not decoded."""
    found: dict[int, Mapping[str, Any]] = {}
    for name in COPIES:
        try:
            with (folder / name).open("rb") as file:
                lines = [line for line in file if b'"kind": "asked"' in line[:_KIND_BYTES]]
        except OSError:
            continue
        for line in lines:
            event = as_dict(_report(line).get("event"))
            number = as_whole(event.get("number"))
            if number is not None:
                found.setdefault(number, as_dict(event.get("params")))
        if found:
            break
    return found


def last_report(path: Path) -> Mapping[str, Any]:
    """Return the last whole line of a trial's log; earlier ones are not read."""
    for line in reversed(_part(path, from_end=True).splitlines(keepends=True)):
        report = _report(line)
        if report:
            return report
    return {}


def first_report(path: Path) -> Mapping[str, Any]:
    """Return the first whole line of a trial's log."""
    return _report(_part(path, from_end=False).partition(b"\n")[0] + b"\n")


def _part(path: Path, *, from_end: bool) -> bytes:
    try:
        with path.open("rb") as file:
            if from_end:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            return file.read(_TAIL_BYTES if from_end else _HEAD_BYTES)
    except OSError:
        return b""


def _report(line: bytes) -> Mapping[str, Any]:
    if not line.endswith(b"\n"):
        return {}
    try:
        return as_dict(json.loads(line))
    except (ValueError, RecursionError):
        return {}


def phase_seconds(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of an epoch by phase, of the phases that the report has."""
    named = {phase: as_number(report.get(f"{phase}_seconds")) for phase in PHASES}
    return {phase: seconds for phase, seconds in named.items() if seconds is not None}


def read_driver(folder: Path) -> DriverStatus | None:
    """Return the last driver's status if every field of it is of its kind."""
    try:
        driver = DriverStatus.read(folder)
    except RecursionError:
        return None
    states = ("running", "complete", "interrupted", "stopped", "failed")
    if driver is None or driver.state not in states or not isinstance(driver.host, str):
        return None
    # Numbers that no process can have come of damage, and psutil raises on them.
    process = as_whole(driver.process)
    if process is None or not 0 < process < 2**31 or as_number(driver.process_began) is None:
        return None
    return driver


def folders_in(path: Path) -> list[Path]:
    """Return the folders in a folder, sorted; none if it cannot be read."""
    try:
        return sorted(p for p in path.iterdir() if not p.name.startswith(".") and p.is_dir())
    except OSError:
        return []


def age(path: Path, now: float) -> float | None:
    """Return the seconds since a file was changed; None if there is none."""
    try:
        return max(0.0, now - path.stat().st_mtime)
    except OSError:
        return None


def as_dict(value: object) -> dict[str, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str | None:
    """Return the value if it is text, else None."""
    return value if isinstance(value, str) else None


def as_whole(value: object) -> int | None:
    """Return the value if it is a whole number, else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_number(value: object) -> float | None:
    """Return the value as a finite number, else None: a missing one never becomes 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
