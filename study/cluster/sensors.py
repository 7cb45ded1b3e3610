"""The sensors of this machine, one source per kind; none of them needs Ray or torch."""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pynvml

TEMPERATURE_FILE = "STUDY_TEMPERATURE_FILE"
"""Environment variable that names a file with degrees Celsius, for machines whose sensors only root
can read: a job of root's writes it."""

_LEAST_DEGREES, _MOST_DEGREES = 1.0, 125.0
"""Range of a plausible reading. What is not connected shows 0, -128, 127 or 255; nothing that
computes runs outside of these."""

_BOARD_CONTROLLERS = ("nct", "it8", "w83", "f71", "sch5")
"""Drivers of the main board's controller: inputs to which nothing is connected look like heat."""

_FILE_SECONDS = 300.0
"""Age at which the file's writer counts as gone; cron runs a job once a minute at most."""

_FILE_CHARACTERS = 64

_POWERMETRICS_SECONDS = 30.0
"""Seconds between two runs of powermetrics: each is a process of root's that samples for half a
second."""

_POWERMETRICS_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One sensor's reading: degrees, or a word in their place, or that it cannot be read."""

    source: str
    """Name of the sensor, as a user knows it."""
    degrees: float | None = None
    """Temperature in degrees Celsius."""
    pressure: str | None = None
    """Apple's word for how hot the machine is, where there are no degrees."""
    problem: str | None = None
    """Reason for which it cannot be read."""


Source = Callable[[], list[Reading]]
"""Function that reads one kind of sensor, which may take seconds; empty if this machine has
none."""


def degree_sources() -> list[Source]:
    """Return every kind of sensor that gives degrees and costs next to nothing."""
    return [read_chips, Gpus(), read_file]


def all_sources() -> list[Source]:
    """Return every kind of sensor."""
    return [*degree_sources(), PowerMetrics()]


def read_chips() -> list[Reading]:
    """Return the plausible readings of the machine's chips, where the system shows them."""
    # Only Linux and FreeBSD show them.
    read = getattr(psutil, "sensors_temperatures", None)
    if read is None:
        return []
    return plausible_chips(
        (f"{chip} {sensor.label}".strip(), sensor.current)
        for chip, sensors in read().items()
        for sensor in sensors
    )


def plausible_chips(sensors: Iterable[tuple[str, float]]) -> list[Reading]:
    """Return the plausible ones of readings that come with the name of their chip.

    Some of the many may be absurd; if all are, the machine has no sensor.
    """
    return [
        Reading(source=name, degrees=degrees)
        for name, degrees in sensors
        if is_plausible(degrees) and not name.startswith(_BOARD_CONTROLLERS)
    ]


def is_plausible(degrees: float) -> bool:
    """Can a machine that runs be so hot? NaN cannot."""
    return _LEAST_DEGREES <= degrees <= _MOST_DEGREES


class Gpus:
    """Reads every NVIDIA GPU of the machine."""

    def __init__(self) -> None:
        self._is_open = False

    def __call__(self) -> list[Reading]:
        """Return one reading per GPU; empty without one or without NVIDIA's library."""
        try:
            if not self._is_open:
                # Stays open: to begin takes up to a second where nothing else uses the GPU.
                pynvml.nvmlInit()
                self._is_open = True
            return [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
        except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
            return []
        except pynvml.NVMLError as error:
            return [Reading(source="NVIDIA driver", problem=str(error))]


def _gpu(index: int) -> Reading:
    source = f"GPU {index}"
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        degrees = float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError as error:
        return Reading(source=source, problem=str(error))
    return _checked(source, degrees)


def read_file() -> list[Reading]:
    """Return what stands in the file that the environment names; empty if it names none."""
    name = os.environ.get(TEMPERATURE_FILE)
    if not name:
        return []
    try:
        with Path(name).open(encoding="utf-8") as file:
            text = file.read(_FILE_CHARACTERS).strip()
            age = time.time() - os.fstat(file.fileno()).st_mtime
    except OSError as error:
        return [Reading(source=name, problem=error.strerror or str(error))]
    except UnicodeDecodeError:
        return [Reading(source=name, problem="is no text")]
    if age > _FILE_SECONDS:
        return [Reading(source=name, problem=f"not written for {age / 60:.0f} min")]
    try:
        degrees = float(text)
    except ValueError:
        return [Reading(source=name, problem=f"{text!r} is no number")]
    return [_checked(name, degrees)]


def _checked(source: str, degrees: float) -> Reading:
    if not is_plausible(degrees):
        return Reading(source=source, problem=f"{degrees:g} C cannot be")
    return Reading(source=source, degrees=degrees)


class PowerMetrics:
    """Reads a Mac through powermetrics, which only root may run.

    Apple Silicon gives no degrees but a level of thermal pressure; an Intel Mac gives degrees.
    """

    def __init__(self) -> None:
        is_usable = sys.platform == "darwin" and os.geteuid() == 0
        self._program = shutil.which("powermetrics") if is_usable else None
        self._readings: list[Reading] = []
        self._looked = float("-inf")

    def __call__(self) -> list[Reading]:
        """Return the last reading, not older than half a minute; empty where there is none."""
        now = time.monotonic()
        if self._program is not None and now - self._looked >= _POWERMETRICS_SECONDS:
            self._looked = now
            self._readings = [self._read(self._program)]
        return self._readings

    def _read(self, program: str) -> Reading:
        sampler = "smc" if platform.machine() == "x86_64" else "thermal"
        try:
            done = subprocess.run(
                [program, "--samplers", sampler, "-n", "1", "-i", "500"],
                capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
                timeout=_POWERMETRICS_TIMEOUT_SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            return Reading(source="powermetrics", problem=str(error).splitlines()[0])
        return parse_powermetrics(done.stdout)


def parse_powermetrics(text: str) -> Reading:
    """Return what a run of powermetrics printed, as ``Current pressure level: Nominal``."""
    if found := re.search(r"CPU die temperature: *([\d.]+) C", text):
        return _checked("powermetrics", float(found[1]))
    if found := re.search(r"Current pressure level: *(\w+)", text):
        return Reading(source="powermetrics", pressure=found[1])
    return Reading(source="powermetrics", problem="printed no temperature")
