"""Lets the thermal guard act on a search: no new trial starts, or the search stops."""

import time
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from study.cluster.thermal import Temperature, ThermalGuard, ThermalState, too_hot
from study.interruptions import Stop
from study.tuner.trainable import StepResult

_LOOK_SECONDS = 1.0
"""Seconds between two readings of the guard; an own choice."""

_HELD = frozenset({ThermalState.WARNING, ThermalState.CRITICAL})
"""States in which no new trial starts."""


class ThermalWatch(Callback):  # type: ignore[misc]
    """Reads the guard once a second and prints each change of its state.

    The states normal and acceptable are not distinguished.

    Args:
        guard: the running guard.
        stop: the stop that is requested at a critical temperature.
        say: prints and logs a line.
    """

    def __init__(self, guard: ThermalGuard, stop: Stop, say: Callable[[str], None]) -> None:
        self._guard = guard
        self._stop = stop
        self._say = say
        self._looked = 0.0
        # The header of the search has printed it.
        is_unknown = guard.now().state is ThermalState.UNKNOWN
        self._state = ThermalState.UNKNOWN if is_unknown else ThermalState.NORMAL
        self._unreadable: set[str] = set()
        """Messages about unreadable sensors that have been printed; none is printed twice."""

    def may_start(self) -> bool:
        """May a trial start now?"""
        return self._look() not in _HELD

    def on_step_begin(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Read the temperature if the last reading is a second old."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._look()

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **_: Any,
    ) -> None:
        """Pass on the temperature that a worker has read on its machine."""
        report = StepResult.read(result).report
        worker = report and report.worker
        if worker and worker.temperature is not None and worker.temperature_source is not None:
            self._guard.hear(worker.machine, worker.temperature_source, worker.temperature)

    def _look(self) -> ThermalState:
        temperature = self._guard.now()
        if temperature.state is ThermalState.CRITICAL:
            self._stop.request(too_hot("the machine", temperature), is_fault=True)
        line = self._line(temperature)
        if line is not None:
            self._state = temperature.state
            self._say(line)
        return temperature.state

    def _line(self, temperature: Temperature) -> str | None:
        """Return the line to print for a change of state; None without one."""
        before, state, said = self._state, temperature.state, temperature.said
        if state is before:
            return None
        was_held = before in _HELD
        match state:
            case ThermalState.CRITICAL:
                return f"{said}: running trials save themselves, and the search stops"
            case ThermalState.WARNING:
                below = f"it is below {self._guard.thresholds.warning:g} C"
                until = "that is over" if temperature.degrees is None else below
                return f"{said}: no new trial starts until {until}"
            case ThermalState.UNKNOWN:
                if said in self._unreadable and not was_held:
                    return None
                self._unreadable.add(said)
                return f"temperature unknown ({said}): heat stops nothing"
        if was_held:
            return f"{said}: new trials start again"
        return f"{said}: the temperature is known" if before is ThermalState.UNKNOWN else None
