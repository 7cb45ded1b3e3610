"""The thermal guard: how hot the machine is, and what a search may do then."""

import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from study.cluster.sensors import Reading, Source, all_sources
from study.errors import StudyError, require
from study.results.records import HOT_CELSIUS

_READ_SECONDS = 3.0
"""Seconds between two readings: sysfs and NVML take milliseconds, and silicon warms in seconds."""

_HOLD_SECONDS = 10.0
"""Seconds for which the hottest reading counts, so that a state does not change with each one."""

_STALE_SECONDS = 60.0
"""Age of a reading, in seconds, from which on it shows nothing about now."""

_FIRST_SECONDS = 5.0
"""Seconds that a start waits for the first reading, at most."""


class ThermalState(StrEnum):
    """The state of the machine by its temperature, the best first.

    The worse of two readings counts. An unreadable sensor is never normal; a high reading of
    another sensor still counts.
    """

    NORMAL = "normal"
    ACCEPTABLE = "acceptable"
    UNKNOWN = "unknown"
    """A sensor cannot be read, or there is none: everything continues, and the user is warned."""
    WARNING = "warning"
    """No new trial starts."""
    CRITICAL = "critical"
    """Running trials save themselves and the search stops."""


_SEVERITY = {state: rank for rank, state in enumerate(ThermalState)}

_STATE_OF_PRESSURE: Mapping[str, ThermalState] = {
    # Apple's levels, after which the machine itself slows down ("Heavy") or has to ("Trapping"):
    # OSThermalNotification.h of macOS, and the thermal sampler of powermetrics(1).
    "nominal": ThermalState.NORMAL,
    "fair": ThermalState.ACCEPTABLE,
    "moderate": ThermalState.ACCEPTABLE,
    "heavy": ThermalState.WARNING,
    "trapping": ThermalState.CRITICAL,
    "sleeping": ThermalState.CRITICAL,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """The degrees Celsius from which on each state holds; below all of them is normal."""

    acceptable: float = 70.0
    warning: float = HOT_CELSIUS
    critical: float = 95.0

    def __post_init__(self) -> None:
        require(
            self.acceptable < self.warning < self.critical,
            "Thresholds",
            "must ascend from acceptable over warning to critical",
            got=f"{self.acceptable:g}, {self.warning:g}, {self.critical:g}",
            remedy="Order them.",
        )

    def state(self, degrees: float) -> ThermalState:
        """Return the state of a machine at so many degrees."""
        if degrees >= self.critical:
            return ThermalState.CRITICAL
        if degrees >= self.warning:
            return ThermalState.WARNING
        return ThermalState.ACCEPTABLE if degrees >= self.acceptable else ThermalState.NORMAL


@dataclass(frozen=True, kw_only=True, slots=True)
class Temperature:
    """The temperature of a machine, from all of its readings."""

    state: ThermalState
    degrees: float | None
    """Hottest reading in degrees Celsius; None if the state is unknown, or known without
    degrees."""
    source: str | None
    """Sensor that these degrees were read from."""
    said: str
    """Reading that decided, in words: ``86 C (coretemp)``."""


_NO_ANSWER = Reading(source="sensors", problem="no answer")


class TooHotError(StudyError):
    """The machine is too hot for a search to start."""


def judge(readings: Iterable[Reading], thresholds: Thresholds) -> Temperature:
    """Return the worst state that the readings show, the hottest of equals; unknown without any."""
    judged = [(_state(each, thresholds), each) for each in readings]
    if not judged:
        return Temperature(
            state=ThermalState.UNKNOWN, degrees=None, source=None, said="no sensor can be read"
        )
    state, worst = max(judged, key=lambda pair: (_SEVERITY[pair[0]], pair[1].degrees or 0.0))
    hottest = max((each for _, each in judged), key=lambda each: each.degrees or 0.0)
    is_known = state is not ThermalState.UNKNOWN and hottest.degrees is not None
    return Temperature(
        state=state,
        degrees=hottest.degrees if is_known else None,
        source=hottest.source if is_known else None,
        said=_words(worst),
    )


def _state(reading: Reading, thresholds: Thresholds) -> ThermalState:
    if reading.degrees is not None:
        return thresholds.state(reading.degrees)
    return _STATE_OF_PRESSURE.get((reading.pressure or "").lower(), ThermalState.UNKNOWN)


def _words(reading: Reading) -> str:
    if reading.degrees is not None:
        return f"{f'{reading.degrees:.1f}'.removesuffix('.0')} C ({reading.source})"
    if reading.pressure is not None:
        return f"thermal pressure {reading.pressure} ({reading.source})"
    return f"{reading.source}: {reading.problem}"


class ThermalGuard:
    """Reads the sensors every few seconds, in a thread, so that no sensor can hold up a search.

    A context: the thread runs inside of it. What workers report of their machines counts as well.

    Args:
        sources: of readings; None takes every kind that this machine may have.
        thresholds: of the states.
        read_seconds: between two readings.
        hold_seconds: for how long a reading counts although later ones are cooler.
    """

    def __init__(
        self,
        sources: Sequence[Source] | None = None,
        *,
        thresholds: Thresholds | None = None,
        read_seconds: float = _READ_SECONDS,
        hold_seconds: float = _HOLD_SECONDS,
    ) -> None:
        self.thresholds = thresholds or Thresholds()
        self._sources = all_sources() if sources is None else sources
        self._read_seconds = read_seconds
        self._hold_seconds = hold_seconds
        self.machine = socket.gethostname()
        """Name of the machine that these sensors are in."""
        self._lock = threading.Lock()
        self._own: deque[tuple[float, list[Reading]]] = deque()
        """Own readings with their time, oldest first."""
        self._heard: dict[tuple[str, str], tuple[float, float]] = {}
        """Readings that workers reported: by machine and source, the time here and the degrees."""
        self._hottest: float | None = None
        self._since_taken: float | None = None
        self._has_read = threading.Event()
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        """Begin, and wait for the first reading as long as a start may take."""
        threading.Thread(target=self._run, name="thermal-guard", daemon=True).start()
        self._has_read.wait(_FIRST_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the thread, once its sensors have answered."""
        self._is_over.set()

    @property
    def hottest(self) -> float | None:
        """The hottest degrees so far, own or reported; None if there were none."""
        with self._lock:
            return self._hottest

    def now(self) -> Temperature:
        """Return the temperature now."""
        now = time.monotonic()
        with self._lock:
            reported = list(self._heard.items())
            own = list(self._own)
        is_silent = not own or now - own[-1][0] > _STALE_SECONDS
        # This process's own reading is newer than that of a worker beside it.
        read_here = set() if is_silent else {(self.machine, each.source) for each in own[-1][1]}
        heard = [
            Reading(source=" ".join(where), degrees=degrees)
            for where, (at, degrees) in reported
            if now - at <= _STALE_SECONDS and where not in read_here
        ]
        if is_silent:
            return judge([*heard, _NO_ANSWER], self.thresholds)
        _, last = own[-1]
        # Of earlier readings only the heat counts: what could not be read may be readable now.
        held = [
            each
            for before, readings in own[:-1]
            if now - before <= self._hold_seconds
            for each in readings
            if each.problem is None
        ]
        return judge([*heard, *held, *last], self.thresholds)

    def hear(self, machine: str, source: str, degrees: float) -> None:
        """Receive what a worker has read on its machine: it counts for a minute."""
        with self._lock:
            self._heard[machine, source] = (time.monotonic(), degrees)
            self._note(degrees)

    def take_hottest(self) -> float | None:
        """Return the hottest degrees since this was last asked, and begin anew."""
        with self._lock:
            hottest, self._since_taken = self._since_taken, None
        return hottest

    def _run(self) -> None:
        while not self._is_over.is_set():
            readings = [each for source in self._sources for each in source()]
            now = time.monotonic()
            with self._lock:
                self._own.append((now, readings))
                while now - self._own[0][0] > self._hold_seconds:
                    self._own.popleft()
                for reading in readings:
                    if reading.degrees is not None:
                        self._note(reading.degrees)
            self._has_read.set()
            self._is_over.wait(self._read_seconds)

    def _note(self, degrees: float) -> None:
        self._hottest = max(degrees, self._hottest or degrees)
        self._since_taken = max(degrees, self._since_taken or degrees)


def measure() -> Temperature:
    """Return how hot this machine is; unknown if its sensors do not answer within seconds."""
    with ThermalGuard() as guard:
        return guard.now()


def require_cool(temperature: Temperature) -> None:
    """Refuse to start a search on a machine that is too hot.

    Raises:
        TooHotError: the temperature is critical.
    """
    require(
        temperature.state is not ThermalState.CRITICAL,
        "temperature",
        f"a search starts below {Thresholds().critical:g} C",
        got=temperature.said,
        remedy="Let the machine cool down and start again.",
        error=TooHotError,
    )


def too_hot(machine: str, temperature: Temperature) -> str:
    """Return the reason for which a search stops at a critical temperature."""
    return f"{machine} is at {temperature.said}, which is critical: let it cool down first"
