import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from study.cluster.sensors import Reading
from study.cluster.thermal import (
    Temperature,
    ThermalGuard,
    ThermalState,
    Thresholds,
    TooHotError,
    judge,
    measure,
    require_cool,
)
from study.errors import SpecError

READ = 0.01
"""Seconds between two readings."""
HOLD = 0.2
"""Seconds for which heat or a reading counts, where a test waits for the end of it."""
LONG_HOLD = 2.0
"""The same where a test must look before it ends, on a machine that is busy."""


class Sensor:
    """A source whose readings the test sets."""

    def __init__(self, *readings: Reading) -> None:
        self.readings = list(readings)

    def set(self, degrees: float) -> None:
        self.readings = [Reading(source="chip", degrees=degrees)]

    def break_down(self) -> None:
        self.readings = [Reading(source="chip", problem="broken")]

    def __call__(self) -> list[Reading]:
        return self.readings


def at(*degrees: float) -> list[Reading]:
    return [Reading(source=f"chip {n}", degrees=each) for n, each in enumerate(degrees)]


BROKEN = Reading(source="file", problem="'x' is no number")


def state_of(*readings: Reading) -> str:
    return judge(readings, Thresholds()).state.value


def wait(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < until, "it did not come so far"
        time.sleep(READ)


@pytest.mark.parametrize(
    ("degrees", "state"),
    [
        (20.0, "normal"), (69.9, "normal"), (70.0, "acceptable"), (84.9, "acceptable"),
        (85.0, "warning"), (94.9, "warning"), (95.0, "critical"), (110.0, "critical"),
    ],
)  # fmt: skip
def test_a_state_begins_at_its_threshold(degrees: float, state: str) -> None:
    assert state_of(*at(degrees)) == state


@pytest.mark.parametrize("values", [(85.0, 70.0, 95.0), (70.0, 95.0, 95.0), (99.0, 85.0, 95.0)])
def test_thresholds_must_ascend(values: tuple[float, float, float]) -> None:
    acceptable, warning, critical = values
    with pytest.raises(SpecError, match="must ascend"):
        Thresholds(acceptable=acceptable, warning=warning, critical=critical)


def test_the_hottest_of_all_readings_counts() -> None:
    found = judge(at(60.0, 86.2, 71.0), Thresholds())
    assert found == Temperature(
        state=ThermalState.WARNING, degrees=86.2, source="chip 1", said="86.2 C (chip 1)"
    )


def test_what_cannot_be_read_is_unknown_and_hides_no_heat() -> None:
    assert state_of() == "unknown"
    assert judge([], Thresholds()).degrees is None
    for cool in (30.0, 75.0):
        found = judge([*at(cool), BROKEN], Thresholds())
        assert (found.state, found.degrees) == ("unknown", None)
        assert found.said == "file: 'x' is no number"
    assert state_of(*at(86.0), BROKEN) == "warning"
    assert state_of(*at(96.0), BROKEN) == "critical"


@pytest.mark.parametrize(
    ("level", "state"),
    [
        ("Nominal", "normal"), ("Fair", "acceptable"), ("Moderate", "acceptable"),
        ("Heavy", "warning"), ("Trapping", "critical"), ("Sleeping", "critical"),
        ("Whatever", "unknown"),
    ],
)  # fmt: skip
def test_a_level_of_pressure_is_a_state_without_degrees(level: str, state: str) -> None:
    found = judge([Reading(source="powermetrics", pressure=level)], Thresholds())
    assert (found.state, found.degrees) == (state, None)
    assert found.said == f"thermal pressure {level} (powermetrics)"


def test_a_level_of_pressure_beside_degrees() -> None:
    found = judge([*at(60.0), Reading(source="powermetrics", pressure="Heavy")], Thresholds())
    assert (found.state, found.degrees) == ("warning", 60.0)
    assert found.said == "thermal pressure Heavy (powermetrics)"


def test_the_guard_follows_the_sensor_and_holds_heat_for_a_while() -> None:
    sensor = Sensor(*at(60.0))
    with ThermalGuard([sensor], read_seconds=READ, hold_seconds=HOLD) as guard:
        assert (guard.now().state, guard.now().degrees) == ("normal", 60.0)
        sensor.set(86.0)
        wait(lambda: guard.now().state == "warning")
        sensor.set(61.0)
        began = time.monotonic()
        wait(lambda: guard.now().state == "normal")
        assert time.monotonic() - began > HOLD / 2
        assert guard.now().degrees == 61.0
        assert guard.hottest == 86.0
        assert guard.take_hottest() == 86.0
        wait(lambda: guard.take_hottest() == 61.0)
        assert guard.hottest == 86.0


@pytest.mark.slow
def test_a_sensor_that_breaks_is_unknown_at_once_unless_it_was_hot() -> None:
    sensor = Sensor(*at(60.0))
    with ThermalGuard([sensor], read_seconds=READ, hold_seconds=LONG_HOLD) as guard:
        sensor.break_down()
        began = time.monotonic()
        wait(lambda: guard.now().state == "unknown")
        assert time.monotonic() - began < LONG_HOLD
        sensor.set(60.0)
        wait(lambda: guard.now().state == "normal")
        sensor.set(96.0)
        wait(lambda: guard.now().state == "critical")
        sensor.break_down()
        time.sleep(5 * READ)
        assert guard.now().state == "critical"
        wait(lambda: guard.now().state == "unknown")


@pytest.mark.slow
def test_what_workers_report_counts_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.cluster.thermal._STALE_SECONDS", LONG_HOLD)
    with ThermalGuard([Sensor()], read_seconds=READ) as guard:
        assert guard.now().state == "unknown"
        guard.hear("node7", "GPU 0", 60.0)
        assert (guard.now().state, guard.now().said) == ("normal", "60 C (node7 GPU 0)")
        guard.hear("node8", "GPU 0", 86.0)
        assert guard.now().state == "warning"
        assert guard.hottest == 86.0
        wait(lambda: guard.now().state == "unknown")


def test_a_worker_beside_the_guard_tells_it_nothing_of_a_sensor_that_it_reads_itself() -> None:
    sensor = Sensor(Reading(source="chip", degrees=60.0))
    with ThermalGuard([sensor], read_seconds=READ) as guard:
        guard.hear(guard.machine, "chip", 86.0)
        assert guard.now().state == "normal"
        guard.hear("node7", "chip", 86.0)
        assert guard.now().state == "warning"


def test_a_sensor_that_hangs_holds_nothing_up_and_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("study.cluster.thermal._FIRST_SECONDS", 0.05)
    released = threading.Event()

    def hanging() -> list[Reading]:
        released.wait(10.0)
        return at(60.0)

    with ThermalGuard([hanging], read_seconds=READ) as guard:
        assert guard.now().state == "unknown"
        assert guard.now().said == "sensors: no answer"
        released.set()
        wait(lambda: guard.now().state == "normal")


@pytest.mark.slow
def test_readings_of_a_sensor_that_begins_to_hang_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.cluster.thermal._STALE_SECONDS", LONG_HOLD)
    released = threading.Event()
    first = iter([at(60.0)])

    def hanging() -> list[Reading]:
        return next(first, None) or released.wait(10.0) * [BROKEN]

    with ThermalGuard([hanging], read_seconds=READ) as guard:
        assert guard.now().state == "normal"
        wait(lambda: guard.now().said == "sensors: no answer")
        released.set()


def test_the_thread_ends_with_the_guard() -> None:
    with ThermalGuard([Sensor()], read_seconds=READ):
        assert any(thread.name == "thermal-guard" for thread in threading.enumerate())
    wait(lambda: all(thread.name != "thermal-guard" for thread in threading.enumerate()))


def test_a_search_does_not_start_on_a_machine_that_is_too_hot() -> None:
    with pytest.raises(TooHotError, match=r"below 95 C, but got 96 C \(chip 0\)"):
        require_cool(judge(at(96.0), Thresholds()))
    for readings in (at(94.0), at(20.0), [BROKEN], []):
        require_cool(judge(readings, Thresholds()))


def test_one_measurement_reads_the_file(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{tmp_path}/degrees"
    with open(path, "w", encoding="utf-8") as file:
        file.write("88")
    monkeypatch.setenv("STUDY_TEMPERATURE_FILE", path)
    assert measure().state in ("warning", "critical")


def test_the_guard_needs_neither_ray_nor_torch() -> None:
    code = (
        "import sys; import study.cluster.thermal; "
        "print([name for name in ('ray', 'torch', 'optuna', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
