"""A worker reads a sensor that its driver cannot, with real Ray."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.cluster.runtime import cluster
from study.cluster.sensors import TEMPERATURE_FILE
from study.cluster.thermal import measure
from study.planning.cell_plan import CellPlan
from study.results.journal import Journal
from study.training.checkpoint import CheckpointFolder
from study.tuner.trainable import CellTrainable, StepResult
from tests.tuner.in_process import MARKS, planned, ray_environment, search, tiny_cell

pytestmark = MARKS

_EPOCH_SECONDS = 0.3
"""Seconds that an epoch takes at least, so that the worker's guard reads before the trial ends."""

_HELD = "no new trial starts"


class Heating(CellTrainable):
    """Heats its machine: warm from its first epoch on, critical once the search has printed so."""

    def _step(self) -> StepResult:
        result = super()._step()
        file = Path(os.environ[TEMPERATURE_FILE])
        if result.report is not None:
            (log,) = file.parent.glob("results/*/log.txt")
            file.write_text("96" if _HELD in log.read_text() else "88")
        time.sleep(_EPOCH_SECONDS)
        return result


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[CellPlan]:
    """Return a plan on a Ray whose workers read a sensor that this process does not."""
    file = tmp_path / "temperature"
    file.write_text("60")
    cell = tiny_cell(epochs=60, trials=2, forced="none")
    with ray_environment():
        os.environ[TEMPERATURE_FILE] = str(file)
        with cluster(None, use_accelerators=False) as nodes:
            del os.environ[TEMPERATURE_FILE]
            yield planned(cell, nodes, concurrency=1)


def test_a_worker_stops_the_search_when_its_own_machine_is_too_hot(
    plan: CellPlan, tmp_path: Path
) -> None:
    file, path = tmp_path / "temperature", tmp_path / "results" / plan.cell.name
    assert str(file) not in measure().said
    outcome = search(plan, path, Heating)
    assert outcome.is_fault
    # The worker stopped the search, or the driver after its report; both name the sensor.
    machine, sensor = socket.gethostname(), str(file)
    assert str(outcome.stopped).startswith(
        (
            f"{machine} is at 96 C ({sensor}), which is critical",
            f"the machine is at 96 C ({machine} {sensor}), which is critical",
        )
    )
    assert outcome.records == []
    events = Journal.open(path, witness=None).replay()
    epochs = [event["report"] for event in events if event["kind"] == "epoch"]
    assert 2 <= len(epochs) < 60
    assert epochs[0]["temperature"] == 60.0
    assert epochs[0]["machine"] == socket.gethostname()
    (folder,) = path.glob("trial_*")
    saved = CheckpointFolder(folder / "checkpoints").newest_intact()
    assert saved is not None
    assert saved.state["epoch"] == len(epochs)
    # The temperature came from the worker's report.
    assert f"88 C ({socket.gethostname()} {file}): {_HELD}" in (path / "log.txt").read_text()
