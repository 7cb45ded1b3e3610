"""Reads the files of a search, which may be damaged or half written, as typed values.

Nothing here raises: a value that is missing, or that is not of its kind, is None.
"""

import dataclasses
import os
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import StudyError, cause, one_line, shortened
from study.fields import fits, is_folder_name, is_number, is_whole
from study.results.records import PHASES, Parameters
from study.storage.documents import parse_json
from study.storage.driver_status import DriverStatus
from study.storage.files import read_json
from study.storage.layout import (
    CELL_FILE,
    EPOCHS_FILE,
    JOURNAL_FILES,
    LOCK_FILE,
    METRICS_FILE,
    PLAN_FILE,
    TRIALS_FILE,
)
from study.text.short_forms import architecture

_LARGEST = 10**15
"""Largest number that is believed: seconds, bytes and counts stay far below, as do their sums."""

_LONGEST_TEXT = 1000
"""Number of characters that are shown of a reason."""

_TAIL_BYTES = 65536
"""Bytes that are read at the end of a trial's log: its last epochs, of about 2 kB each."""

_HEAD_BYTES = 4096
"""Bytes that are read at the start of a trial's log: its first epoch."""

_KIND_BYTES = 200
"""Bytes at the start of a journal's line in which the kind of its event and the number of its trial
are found: search, place and hash come before them."""

_ASKED = re.compile(rb'"kind": "asked", "time": [^,]*, "number": (\d{1,9}),')
"""Pattern of the event that a trial was asked for."""

_TRIAL_FOLDER = re.compile(r"trial_(\d{1,9})(?:_d(\d+)_L(\d+)_h(\d+))?")
"""Pattern of the names of trials' folders: number, width, layers, heads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What the row of a plan or the first event of a journal says of a cell."""

    budget: str | None
    horizon: int | None
    search_number: int
    """Number of the search among the independent ones of the cell, from 1."""
    metric: str | None
    """Score by which trials are ranked."""
    n_trials: int | None
    """Number of trials that are asked for."""
    n_train: int | None
    """Number of training samples of an epoch, those of all folds together."""
    capacity: int | None
    """Number of trials that fit the cluster at once."""
    concurrency: int | None
    """Number of trials that may run at once."""
    is_left_out: bool
    """Does none of its architectures fit a node?"""
    problem: str | None
    """Reason why the cell cannot run."""
    search_seconds: float | None
    """Expected seconds of the whole search."""
    epoch_seconds: Mapping[str, float]
    """Expected seconds of an epoch by width and depth, as ``d64 L48``."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Description":
        """Return what can be read of a row of a plan, or of a journal's first event."""
        estimate = _as_dict(raw.get("estimate"))
        train = _as_dict(_as_dict(raw.get("splits")).get("train"))
        of_folds = _as_dict(raw.get("search_folds")).get("train_rows")
        rows = of_folds if isinstance(of_folds, list) else [train.get("rows")]
        return cls(
            budget=_as_text(raw.get("budget")),
            horizon=_as_whole(raw.get("horizon")),
            # The only search of a cell had no number in earlier versions.
            search_number=_as_whole(raw.get("search_number")) or 1,
            metric=_as_text(raw.get("metric")),
            n_trials=_as_whole(
                _as_dict(raw.get("search")).get("trials") or raw.get("trials"),
            ),
            n_train=_total(rows),
            capacity=_as_whole(raw.get("capacity")),
            concurrency=_as_whole(raw.get("concurrency")),
            is_left_out=raw.get("feasible") is False,
            problem=_as_text(raw.get("problem")),
            search_seconds=_as_number(estimate.get("search_seconds_expected")),
            epoch_seconds=_numbers(_as_dict(estimate.get("epoch_seconds"))),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EndedTrial:
    """A row of the table of ended trials."""

    folder: str | None
    state: str | None
    reason: str | None
    loss: float | None
    loss_se: float | None
    rank_ic: float | None
    """RankIC of a panel's trial; None of a market's."""
    rank_ic_se: float | None
    params: Mapping[str, Any]
    """Its configuration, unchecked: hundreds of trials are read, and one of them is shown."""
    seconds: float | None
    """Seconds of all its phases; None if none was measured."""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "EndedTrial":
        """Return what can be read of a row."""
        phases = _as_dict(row.get("seconds")).values()
        return cls(
            folder=_as_text(row.get("folder")),
            state=_as_text(row.get("state")),
            reason=_as_text(row.get("reason")),
            loss=_as_number(row.get("value")),
            loss_se=_as_number(row.get("value_se")),
            rank_ic=_as_number(row.get("rank_ic")),
            rank_ic_se=_as_number(row.get("rank_ic_se")),
            params=_as_dict(row.get("params")),
            seconds=sum(_as_number(each) or 0.0 for each in phases) if phases else None,
        )

    @property
    def architecture(self) -> str | None:
        """Short form of its architecture."""
        return _architecture(self.params)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedEpoch:
    """A line of a trial's log."""

    number: int
    """Number of the epoch, from 1; 0 before the first has ended."""
    loss: float | None
    """Validation log-loss, nats, or what a search on a panel minimises."""
    rank_ic: float | None
    """RankIC of a panel's epoch; None of a market's."""
    seconds: Mapping[str, float]
    """Seconds of the epoch by phase."""
    device: str | None
    peak_memory_bytes: int | None
    temperature: float | None
    """Degrees Celsius."""

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> "LoggedEpoch":
        """Return what can be read of a line."""
        seconds = {phase: line.get(f"{phase}_seconds") for phase in PHASES}
        return cls(
            number=_as_whole(line.get("epoch")) or 0,
            loss=_as_number(line.get("validation_loss")),
            rank_ic=_as_number(line.get("rank_ic")),
            seconds=_numbers(seconds),
            device=_as_text(line.get("device")),
            peak_memory_bytes=_as_whole(line.get("peak_memory_bytes")),
            temperature=_as_number(line.get("temperature")),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenTrial:
    """A trial with a folder that has not ended."""

    number: int
    architecture: str | None
    """Short form of its architecture; at least width, depth and heads where its folder has them."""
    shape: str | None
    """Width and depth, by which a plan names its expected seconds, as ``d64 L48``."""
    n_epochs: int | None
    """Number of epochs of its own schedule."""
    batch: int | None
    """Samples of an optimizer step."""
    first_epoch: LoggedEpoch
    last_epoch: LoggedEpoch
    silent_seconds: float | None
    """Seconds since the last sign of life."""


def read_planned(folder: Path) -> dict[str, Description]:
    """Return the cells of a sweep's plan by name, in its order."""
    rows = map(_as_dict, _as_list(_as_dict(read_json(folder / PLAN_FILE)).get("cells")))
    return {
        row["cell"]: Description.from_json(row) for row in rows if is_folder_name(row.get("cell"))
    }


def read_ended(folder: Path) -> list[EndedTrial] | None:
    """Return the trials of a cell that have ended, in the order of its table.

    None: there is a table, and it is damaged.
    """
    table = folder / TRIALS_FILE
    # Path.exists raises where the folder is closed; a caller says that by ``unreadable``.
    if not os.path.exists(table):
        return []
    rows = read_json(table)
    if not isinstance(rows, list):
        return None
    return [EndedTrial.from_json(_as_dict(row)) for row in rows]


def read_open(folder: Path, ended: Sequence[EndedTrial], now: float) -> list[OpenTrial]:
    """Return the trials with a folder that are not among the ended ones, by number."""
    closed = {trial.folder for trial in ended}
    running = {
        path: matched.groups()
        for path in folders_in(folder, without=closed)
        if (matched := _TRIAL_FOLDER.match(path.name)) and not (path / METRICS_FILE).exists()
    }
    if not running:
        # Most cells of a look have ended, and their journals are long.
        return []
    asked = _configurations(folder, {int(number) for number, *_ in running.values()})
    found = []
    for path, (number, width, layers, heads) in running.items():
        params = asked.get(int(number), {})
        shape = f"d{width} L{layers}" if width else None
        found.append(
            OpenTrial(
                number=int(number),
                architecture=_architecture(params) or (f"{shape} h{heads}" if shape else None),
                shape=shape,
                n_epochs=_as_whole(params.get("epochs")),
                batch=_as_whole(params.get("effective_batch")),
                first_epoch=LoggedEpoch.from_json(_first_report(path / EPOCHS_FILE)),
                last_epoch=LoggedEpoch.from_json(_last_report(path / EPOCHS_FILE)),
                silent_seconds=age(path / LOCK_FILE, now),
            )
        )
    return sorted(found, key=lambda trial: trial.number)


def read_description(folder: Path) -> Description | None:
    """Return what the journal says of its cell; None if it says nothing."""
    described = _description(folder)
    return Description.from_json(described) if described else None


def _description(folder: Path) -> Mapping[str, Any]:
    """Return what the first event of the journal says of the cell, from whichever copy has it."""
    for name in JOURNAL_FILES:
        try:
            with (folder / name).open("rb") as file:
                event = _as_dict(_as_dict(parse_json(file.readline())).get("event"))
        except (OSError, StudyError):
            continue
        if event.get("cell"):
            return _as_dict(event["cell"])
    return {}


def read_asked(folder: Path) -> int | None:
    """Return how many trials a search is asked for, which may grow after it was begun.

    One line of ``cell.yaml`` is read: parsing all of it takes 20 ms, for every cell at every look.
    """
    try:
        with (folder / CELL_FILE).open("rb") as file:
            found = re.search(rb"^trials: (\d{1,6})$", file.read(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1])


def _configurations(folder: Path, numbers: Container[int]) -> dict[int, Mapping[str, Any]]:
    """Return the configurations of trials as they were asked for; other lines are not decoded."""
    found: dict[int, Mapping[str, Any]] = {}
    for name in JOURNAL_FILES:
        try:
            with (folder / name).open("rb") as file:
                for line in file:
                    asked = _ASKED.search(line, 0, _KIND_BYTES)
                    if asked is not None and int(asked[1]) in numbers:
                        event = _as_dict(_report(line).get("event"))
                        found.setdefault(int(asked[1]), _as_dict(event.get("params")))
        except OSError:
            continue
        if found:
            break
    return found


def _last_report(path: Path) -> Mapping[str, Any]:
    """Return the last whole line of a trial's log; earlier ones are not read."""
    for line in reversed(_part(path, from_end=True).splitlines(keepends=True)):
        report = _report(line)
        if report:
            return report
    return {}


def _first_report(path: Path) -> Mapping[str, Any]:
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
        return _as_dict(parse_json(line))
    except StudyError:
        return {}


def read_driver(folder: Path) -> DriverStatus | None:
    """Return the last driver's status, its texts on one line, if every field is of its kind."""
    driver = DriverStatus.read(folder)
    # A number that no process can have is damage, and psutil raises on it.
    if driver is None or not 0 < driver.process < 2**31:
        return None
    return dataclasses.replace(
        driver, reason=_as_text(driver.reason), lost_output=_as_text(driver.lost_output)
    )


def damaged_records(folder: Path, *, has_table: bool) -> list[str]:
    """Return what is wrong with the records of a search, a phrase each; it can be repaired.

    Args:
        folder: the cell's.
        has_table: is its table of trials intact, or not there yet?
    """
    found = []
    if any((folder / copy).exists() for copy in JOURNAL_FILES) and not _description(folder):
        found.append("no copy of the journal can be read: its trials cannot be gone on with")
    if not has_table:
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


def folders_in(path: Path, without: Container[str | None] = ()) -> list[Path]:
    """Return the folders in a folder, sorted, but for some names; none if it cannot be read."""
    try:
        with os.scandir(path) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.name not in without and entry.is_dir()
            )
    except OSError:
        return []
    return [path / name for name in names]


def age(path: Path, now: float) -> float | None:
    """Return the seconds since a file was changed; None if there is none."""
    try:
        return max(0.0, now - path.stat().st_mtime)
    except OSError:
        return None


def _as_dict(value: object) -> dict[str, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def _as_list(value: object) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def _as_text(value: object) -> str | None:
    """Return the value, on one line, if it is text, else None."""
    return shortened(one_line(value), _LONGEST_TEXT) if isinstance(value, str) else None


def _as_whole(value: object) -> int | None:
    """Return the value if it is a whole number that something here can have, else None."""
    return value if is_whole(value) and abs(value) <= _LARGEST else None


def _total(values: Sequence[object]) -> int | None:
    """Return the sum of whole numbers; None if one of them is none, or there is none."""
    found = [each for each in map(_as_whole, values) if each is not None]
    return sum(found) if found and len(found) == len(values) else None


def _as_number(value: object) -> float | None:
    """Return the value as a number that something here can have, else None.

    A missing one never becomes 0.
    """
    return float(value) if is_number(value) and abs(value) <= _LARGEST else None


def _numbers(values: Mapping[str, object]) -> dict[str, float]:
    """Return the values that are numbers."""
    named = {name: _as_number(value) for name, value in values.items()}
    return {name: number for name, number in named.items() if number is not None}


def _architecture(params: Mapping[str, Any]) -> str | None:
    return architecture(params) if fits(params, Parameters) else None
