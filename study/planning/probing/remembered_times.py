"""Times that earlier commands measured, of this machine and this version of the code.

They lie in the cache folder, in one file for each machine and version. A time that was measured
while its process waited for a processor lives ten minutes, for it tells of the other work too; any
other one lives a week, in which a machine may get other drivers, another clock or another
neighbour.
"""

import dataclasses
import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.cluster.accelerator.devices import nvidia_names
from study.cluster.resources import Node
from study.errors import StudyError, cause, require
from study.fields import rebuild
from study.model.sizing import count_parameters
from study.planning.step_times import CheckpointTime, ProbeTime
from study.results.provenance import versions
from study.search.space import TrialConfig
from study.storage.cache_files import in_place_of, note_use, remove_unused
from study.storage.documents import load_json

_FORMAT = 1
"""Version of the file's layout, which is part of its name."""

_BUSY_SECONDS, _MOST_SECONDS = 600, 7 * 86_400
"""Seconds that a time lives which was measured on a busy machine, and on an idle one; own choices:
a sweep that is planned and then begun finds both, and no time outlives a week's changes."""

_BUSY_SHARE = 0.1
"""Share of its time that a process waited for a processor from which the machine counts as busy; an
own choice, a third of the 30 % that a plan may be wrong by."""

_CPU_FACTS = Path("/proc/cpuinfo")
_REMEDY = "Measure them again."


@dataclass(frozen=True, kw_only=True, slots=True)
class _Number:
    """A number that was measured, as it lies in the file."""

    key: str
    measured_at: float
    waited_share: float
    value: float

    def __post_init__(self) -> None:
        _require_times(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Probe:
    """The times of a model, as they lie in the file."""

    key: str
    measured_at: float
    waited_share: float
    window_seconds: float
    step_seconds: float
    validation_seconds: float
    begin_seconds: float
    written_seconds: float | None
    """None, as the next one, where no checkpoint was written."""
    copied_seconds: float | None

    def __post_init__(self) -> None:
        _require_times(self)

    @classmethod
    def of(cls, key: str, measured_at: float, time: ProbeTime) -> "_Probe":
        """Return the row of a model."""
        values = {name: getattr(time, name) for name in _OF_A_PROBE}
        saved = time.checkpoint
        return cls(
            key=key,
            measured_at=measured_at,
            written_seconds=None if saved is None else saved.written_seconds,
            copied_seconds=None if saved is None else saved.copied_seconds,
            **values,
        )

    def time(self, config: TrialConfig) -> ProbeTime:
        """Return the times of the model that this is the row of."""
        checkpoint = None
        if self.written_seconds is not None and self.copied_seconds is not None:
            checkpoint = CheckpointTime(
                memory=config.train.memory,
                n_params=count_parameters(config.model),
                written_seconds=self.written_seconds,
                copied_seconds=self.copied_seconds,
            )
        return ProbeTime(
            checkpoint=checkpoint, **{name: getattr(self, name) for name in _OF_A_PROBE}
        )


_OF_A_PROBE = (
    "waited_share", "window_seconds", "step_seconds", "validation_seconds", "begin_seconds",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _File:
    """All that a file holds."""

    machine: str
    """Digest of the machine and the versions."""
    numbers: Sequence[_Number]
    probes: Sequence[_Probe]


class RememberedTimes:
    """The times of a command: its own, and those that earlier ones have left in a file.

    Args:
        folder: the cache folder; None keeps nothing beyond the command.
        nodes: the machines of the cluster.
        may_write: may a file be written? Otherwise one that is there is only read.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path | None,
        nodes: Sequence[Node],
        *,
        may_write: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._may_write = may_write
        self._clock = clock
        self._machine = digest({"format": _FORMAT, **_machine(nodes)})
        self._path = None if folder is None else folder / f"{self._machine}.json"
        self._note = ""
        self._numbers: dict[str, _Number] = {}
        self._probes: dict[str, _Probe] = {}
        self._own: set[str] = set()
        """Keys that this command has measured."""
        if self._path is not None:
            self._read(self._path)

    def take_note(self) -> tuple[str, ...]:
        """Return why a file was of no use or could not be written, once; empty otherwise."""
        note, self._note = self._note, ""
        return (note,) if note else ()

    def probe(self, key: str, config: TrialConfig, *, saves: bool) -> ProbeTime | None:
        """Return the times of a model; None if they are not known, or have no checkpoint's."""
        found = self._probes.get(key)
        if found is None or (saves and found.written_seconds is None):
            return None
        return found.time(config)

    def number(self, key: str) -> float | None:
        """Return a number; None if it is not known."""
        found = self._numbers.get(key)
        return None if found is None else found.value

    def measured_at(self, keys: Sequence[str]) -> float | None:
        """Return when the oldest of these times was measured that an earlier command did measure.

        Returns: seconds since the epoch; None if there is none.
        """
        rows: dict[str, _Number | _Probe] = {**self._numbers, **self._probes}
        return min((rows[key].measured_at for key in keys if key not in self._own), default=None)

    def add_probe(self, key: str, found: ProbeTime) -> None:
        """Remember the times of a model."""
        self._own.add(key)
        self._probes[key] = _Probe.of(key, self._clock(), found)

    def add_number(self, key: str, value: float, waited_share: float) -> None:
        """Remember a number, and the share of its time in which it waited for a processor."""
        self._own.add(key)
        self._numbers[key] = _Number(
            key=key, measured_at=self._clock(), waited_share=waited_share, value=value
        )

    def keep(self) -> None:
        """Write what was measured, with what others have written meanwhile."""
        if self._path is None or not self._may_write or not self._own:
            return
        if self._path.is_file():
            self._read(self._path)
        held = _File(
            machine=self._machine,
            numbers=list(self._numbers.values()),
            probes=list(self._probes.values()),
        )
        try:
            with in_place_of(self._path) as temporary:
                text = json.dumps(dataclasses.asdict(held), indent=1, allow_nan=False)
                temporary.write_text(text, encoding="utf-8")
            remove_unused(self._path)
        except OSError as error:
            self._note = (
                f"{self._path}: the times of steps could not be written ({cause(error)}); the next "
                "command measures them again"
            )

    def _read(self, path: Path) -> None:
        """Take what a file holds that still lives, and that this command has not measured."""
        if not path.exists():
            return
        try:
            held = rebuild(_File, load_json(path, _REMEDY), str(path), _REMEDY)
            require(
                held.machine == self._machine,
                str(path),
                "must be of this machine and these versions",
                got="another digest",
                remedy=_REMEDY,
            )
        except (OSError, StudyError) as error:
            self._note = f"{path}: the times of steps are damaged ({cause(error)}); measured again"
            return
        note_use(path)
        self._numbers |= {row.key: row for row in held.numbers if self._lives(row)}
        self._probes |= {row.key: row for row in held.probes if self._lives(row)}

    def _lives(self, row: _Number | _Probe) -> bool:
        most = _BUSY_SECONDS if row.waited_share > _BUSY_SHARE else _MOST_SECONDS
        # A clock that was set back makes times of the future, of which the age is not known.
        return row.key not in self._own and 0 <= self._clock() - row.measured_at <= most


def digest(value: Mapping[str, Any]) -> str:
    """Return the sha256 of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _machine(nodes: Sequence[Node]) -> dict[str, Any]:
    """Return what all times depend on: the machines by name, their devices, the versions."""
    return {
        "nodes": sorted([node.name, node.cpus, node.gpus, node.mps is not None] for node in nodes),
        "processor": _processor(),
        "accelerators": nvidia_names(),
        "versions": versions(),
    }


def _processor() -> str:
    """Return the name of this machine's processor."""
    if _CPU_FACTS.exists():
        for line in _CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return f"{platform.machine()} {platform.processor()}"


def _require_times(row: _Number | _Probe) -> None:
    """Refuse a row with a negative time.

    Raises:
        StudyError: it has one.
    """
    for name, value in dataclasses.asdict(row).items():
        require(
            name == "key" or value is None or value >= 0,
            row.key,
            f"{name} must be >= 0",
            got=f"{value}",
            remedy=_REMEDY,
            error=StudyError,
        )
