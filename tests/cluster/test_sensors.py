import os
import sys
import time
from pathlib import Path

import pytest

from study.cluster import sensors
from study.cluster.sensors import (
    TEMPERATURE_FILE,
    Gpus,
    PowerMetrics,
    Reading,
    parse_powermetrics,
    plausible_chips,
    read_chips,
    read_file,
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "temperature"
    monkeypatch.setenv(TEMPERATURE_FILE, str(path))
    return path


@pytest.mark.parametrize(("text", "degrees"), [("60", 60.0), (" 71.5\n", 71.5), ("1e2", 100.0)])
def test_the_file_holds_degrees(file: Path, text: str, degrees: float) -> None:
    file.write_text(text)
    assert read_file() == [Reading(source=str(file), degrees=degrees)]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "'' is no number"),
        (b"hot", "'hot' is no number"),
        (b"60 61", "'60 61' is no number"),
        (b"\xff\xfe", "is no text"),
        # A reader that showed -1 for a sensor that it could not read made this normal.
        (b"-1", "-1 C cannot be"),
        (b"0", "0 C cannot be"),
        (b"255", "255 C cannot be"),
        (b"61000", "61000 C cannot be"),
        (b"nan", "nan C cannot be"),
        (b"inf", "inf C cannot be"),
    ],
)
def test_rubbish_in_the_file_is_a_problem_and_no_reading(
    file: Path, content: bytes, problem: str
) -> None:
    file.write_bytes(content)
    assert read_file() == [Reading(source=str(file), problem=problem)]


def test_a_file_that_is_missing_or_that_nobody_writes_any_more_is_a_problem(file: Path) -> None:
    assert read_file() == [Reading(source=str(file), problem="No such file or directory")]
    file.write_text("60")
    an_hour_ago = time.time() - 3600
    os.utime(file, (an_hour_ago, an_hour_ago))
    assert read_file() == [Reading(source=str(file), problem="not written for 60 min")]


def test_without_a_name_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TEMPERATURE_FILE, raising=False)
    assert read_file() == []
    monkeypatch.setenv(TEMPERATURE_FILE, "")
    assert read_file() == []


def test_absurd_readings_of_chips_are_left_out() -> None:
    found = [
        ("coretemp Package id 0", 61.0),
        ("coretemp Core 1", 63.0),
        ("acpitz", -273.2),
        ("iwlwifi_1", 0.0),
        ("nvme Sensor 8", 65261.8),
        # The input of a board to which nothing is connected.
        ("nct6798 AUXTIN2", 109.0),
    ]
    assert [each.degrees for each in plausible_chips(found)] == [61.0, 63.0]
    assert plausible_chips(found[2:]) == []


def test_this_machine_can_be_asked_whatever_it_has() -> None:
    for source in (read_chips, Gpus(), PowerMetrics()):
        for reading in source():
            assert (reading.degrees is None) == (reading.problem is not None)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        (
            "**** Thermal pressure ****\n\nCurrent pressure level: Nominal\n",
            Reading(source="powermetrics", pressure="Nominal"),
        ),
        (
            "**** SMC sensors ****\n\nCPU Thermal level: 33\nCPU die temperature: 67.84 C\n",
            Reading(source="powermetrics", degrees=67.84),
        ),
        ("Fan: 0 rpm\n", Reading(source="powermetrics", problem="printed no temperature")),
    ],
)
def test_what_powermetrics_prints_is_read(text: str, reading: Reading) -> None:
    assert parse_powermetrics(text) == reading


@pytest.mark.skipif(sys.platform == "darwin", reason="there it may be used")
def test_powermetrics_is_left_alone_elsewhere() -> None:
    assert PowerMetrics()() == []


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "seconds", "problem"),
    [
        ("exit 3", 60.0, "returned non-zero exit status 3"),
        ("exec sleep 60", 0.2, "timed out after"),
    ],
)
def test_a_powermetrics_that_fails_or_hangs_is_a_problem(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    seconds: float,
    problem: str,
) -> None:
    monkeypatch.setattr(sensors, "_POWERMETRICS_TIMEOUT_SECONDS", seconds)
    source = PowerMetrics()
    source._program = program(tmp_path / "powermetrics", script)
    (reading,) = source()
    assert reading.degrees is None
    assert problem in str(reading.problem)


def test_powermetrics_runs_twice_a_minute_at_most(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    source = PowerMetrics()
    source._program = program(
        tmp_path / "powermetrics", f"echo >> {runs}; echo 'Current pressure level: Heavy'"
    )
    for _ in range(3):
        assert source() == [Reading(source="powermetrics", pressure="Heavy")]
    assert runs.read_text() == "\n"
