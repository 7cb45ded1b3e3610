"""Reads the files of a search that may be damaged or half written: nothing here raises."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.errors import StudyError, cause, one_line, shortened
from study.fields import is_number, is_whole
from study.results.records import PHASES
from study.storage.documents import parse_json
from study.storage.driver_status import DriverStatus
from study.storage.files import read_json
from study.storage.layout import CELL_FILE, JOURNAL_FILES, LOCK_FILE, TRIALS_FILE

_LARGEST = 10**15
"""Of any number in these files: seconds, bytes and counts stay far below, and so do their sums."""

_LONGEST_TEXT = 1000
"""Characters that are shown of a reason."""

_TAIL_BYTES = 65536
"""Holds the last epochs of a trial: a report has about 2 kB."""

_HEAD_BYTES = 4096
"""Holds the first epoch of a trial."""

_KIND_BYTES = 200
"""Of a line of the journal: search, place and hash come before the kind of its event."""


def read_description(folder: Path) -> Mapping[str, Any]:
    """Return what the first event of the journal says of the cell, from whichever copy has it."""
    for name in JOURNAL_FILES:
        try:
            with (folder / name).open("rb") as file:
                event = as_dict(as_dict(parse_json(file.readline())).get("event"))
        except (OSError, StudyError):
            continue
        if event.get("cell"):
            return as_dict(event["cell"])
    return {}


def read_asked(folder: Path) -> int | None:
    """Return how many trials a search is asked for, which may grow after it was begun.

    Of ``cell.yaml`` one line is read: to parse all of it takes 20 ms, for every cell at every look.
    """
    try:
        with (folder / CELL_FILE).open("rb") as file:
            found = re.search(rb"^trials: (\d{1,6})$", file.read(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1])


def read_configurations(folder: Path) -> dict[int, Mapping[str, Any]]:
    """Return the configuration of every trial asked for; the many epoch lines are not decoded."""
    found: dict[int, Mapping[str, Any]] = {}
    for name in JOURNAL_FILES:
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
        return as_dict(parse_json(line))
    except StudyError:
        return {}


def phase_seconds(report: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of an epoch by phase, of the phases that the report has."""
    named = {phase: as_number(report.get(f"{phase}_seconds")) for phase in PHASES}
    return {phase: seconds for phase, seconds in named.items() if seconds is not None}


def read_driver(folder: Path) -> DriverStatus | None:
    """Return the last driver's status if every field of it is of its kind."""
    driver = DriverStatus.read(folder)
    # Numbers that no process can have come of damage, and psutil raises on them.
    return None if driver is None or not 0 < driver.process < 2**31 else driver


def damaged_records(folder: Path) -> list[str]:
    """Return what is wrong with the records of a search, a phrase each; it can be repaired."""
    found = []
    if any((folder / copy).exists() for copy in JOURNAL_FILES) and not read_description(folder):
        found.append("no copy of the journal can be read: its trials cannot be gone on with")
    table = folder / TRIALS_FILE
    if table.exists() and not isinstance(read_json(table), list):
        found.append(f"{TRIALS_FILE} is damaged: --resume writes it again")
    return found


def unreadable(folder: Path) -> str | None:
    """Return why a folder that is there cannot be looked into; None if it can."""
    try:
        with os.scandir(folder) as names:
            next(names, None)
        # To list a folder and to enter it are two permissions.
        (folder / LOCK_FILE).exists()
    except OSError as error:
        return error.strerror or cause(error)
    return None


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
    """Return the value, on one line, if it is text, else None."""
    return shortened(one_line(value), _LONGEST_TEXT) if isinstance(value, str) else None


def as_whole(value: object) -> int | None:
    """Return the value if it is a whole number that something here can have, else None."""
    return value if is_whole(value) and abs(value) <= _LARGEST else None


def as_number(value: object) -> float | None:
    """Return the value as a number that something here can have, else None.

    A missing one never becomes 0.
    """
    return float(value) if is_number(value) and abs(value) <= _LARGEST else None
