"""A search and a sweep run to their end when their standard output is closed, with real Ray."""

import subprocess
import sys
from pathlib import Path

import pytest

from study.results.status_snapshot import read_status
from study.storage.driver_status import DriverStatus
from tests.sweeping.command import SWEEP, cell_name, start, write_plan
from tests.sweeping.held_cell import allow
from tests.tuner.command import CELL, FLAGS, left_over, wait_until, write_space

pytestmark = pytest.mark.ray


def status_of(folder: Path) -> DriverStatus:
    status = DriverStatus.read(folder)
    assert status is not None
    return status


def test_a_search_outlives_the_reader_of_its_output(tmp_path: Path) -> None:
    write_space(tmp_path, trials=2, epochs=3, scheduler="fifo", forced="none")
    results = tmp_path / "ray_results"
    allow(tmp_path, 1)
    flags = (*FLAGS, "--concurrency", "1")
    process = start(tmp_path, *flags, module="tests.sweeping.held_cell")
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        # One line is read and the pipe closed, as `| head -1` does.
        assert process.stdout.readline().startswith("  start ")
        process.stdout.close()
        # Its first trial has an epoch, and may not go on.
        wait_until(lambda: any(results.glob("*/trial_*/result.json")), process)
        (cell,) = read_status(results).cells
        assert cell.state == "running"
        assert "nobody reads its output (Broken pipe); log.txt has it" in cell.warnings
        allow(tmp_path, None)
        assert process.wait(timeout=240) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.stderr.close()
        assert not left_over(process.pid)
    assert status_of(results / CELL).state == "complete"
    log = (results / CELL / "log.txt").read_text()
    assert log.count(" ends: ") == 2


def test_a_sweep_without_an_output_goes_on_to_its_end(tmp_path: Path) -> None:
    write_space(tmp_path, trials=2, epochs=3, scheduler="fifo", forced="none")
    write_plan(tmp_path, trials=2, capacity=1, horizons=[1])
    command = [sys.executable, "-m", "study.sweep", "--search", "tiny.yaml", "--plan", "plan.json"]
    process = subprocess.Popen(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command, "--budgets", "50k", "--horizons", "1"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=200)
    finally:
        assert not left_over(process.pid)
    results = tmp_path / "ray_results"
    assert (process.returncode, errors) == (0, "")
    assert status_of(results / SWEEP).state == "complete"
    assert status_of(results / SWEEP).lost_output == "it was closed when the command began"
    assert f"{cell_name(1)}: pass" in (results / SWEEP / "log.txt").read_text()
