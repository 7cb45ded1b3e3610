"""Every fault of a trial or the machine has a state, a reason and a message, with real Ray."""

import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from study.cluster.runtime import cluster
from study.planning.cell_plan import CellPlan
from study.results.records import TrialRecord
from study.search.assignment import Assignment
from study.training.step.full_training import FullTraining
from study.training.trainer import Trainer
from study.tuner.trainable import CellTrainable, StepResult
from tests.tuner.in_process import MARKS, planned, ray_environment, search, tiny_cell

pytestmark = MARKS

TRIALS = 8
NAN, OUT_OF_MEMORY, STALL, ERROR, KILLED, MEMORY_MONITOR, BEGINNING = range(7)
HEALTHY = set(range(TRIALS)) - {NAN, OUT_OF_MEMORY, STALL, ERROR, BEGINNING}


class Faulty(CellTrainable):
    """Fails during real training, in a way that depends on the number of the trial."""

    def _begin(self, trial: Assignment) -> None:
        if trial.number == BEGINNING:
            raise ValueError("a mistake before the first step")
        super()._begin(trial)
        if trial.number == OUT_OF_MEMORY:
            assert isinstance(self._trainer, Trainer)
            training = self._trainer._training
            assert isinstance(training, FullTraining)
            training._propagate = _no_memory  # type: ignore[method-assign, assignment]

    def _step(self) -> StepResult:
        number = int(self.config["number"])
        if self._assigned is not None:
            return super()._step()
        epoch = self._trainer.report.epoch if self._trainer.report else 0
        if number == NAN and epoch == 2:
            # A diverged optimizer leaves such weights.
            assert isinstance(self._trainer, Trainer)
            with np.errstate(all="ignore"):
                next(self._trainer.model.parameters()).data.fill_(float("nan"))
        elif number == STALL and epoch == 1:
            time.sleep(3600)
        elif number == ERROR and epoch == 1:
            raise ValueError("a mistake in the code")
        elif number == KILLED and epoch == 1 and self._is_first_time("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        elif number == MEMORY_MONITOR and epoch == 1 and self._is_first_time("memory"):
            raise ray.exceptions.OutOfMemoryError(
                "Task was killed due to the node running low on memory"
            )
        return super()._step()

    def _is_first_time(self, what: str) -> bool:
        path = self._folder / what
        if path.exists():
            return False
        path.touch()
        return True


def _no_memory(*_: Any) -> None:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")


STALL_MINUTES = 0.2
"""Minutes without a step after which a trial has stalled: the stalled one makes the search wait for
them three times, and an epoch takes a second on a busy machine."""


@pytest.fixture(scope="module")
def plan() -> Iterator[CellPlan]:
    cell = tiny_cell(
        epochs=4,
        trials=TRIALS,
        scheduler="fifo",
        stall_minutes=STALL_MINUTES,
        max_failure_share=1.0,
    )
    with ray_environment(), cluster(None, use_accelerators=False) as nodes:
        yield planned(cell, nodes, concurrency=2)


def test_each_fault_of_a_trial_is_a_state_and_the_search_goes_on(
    plan: CellPlan, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results" / plan.cell.name
    outcome = search(plan, path, Faulty)
    assert outcome.is_complete
    assert outcome.stopped is None
    records = {record.number: record for record in outcome.records}
    assert sorted(records) == list(range(TRIALS))

    nan = records[NAN]
    assert (nan.reason, nan.state, nan.epochs_trained) == ("diverged", "FAIL", 3)
    assert "epoch 3 was not finite" in str(nan.message)

    memory = records[OUT_OF_MEMORY]
    assert (memory.reason, memory.state, memory.value) == ("oom", "FAIL", None)
    assert "can't allocate memory" in str(memory.message)
    assert memory.faults == []

    stalled = records[STALL]
    assert (stalled.reason, stalled.state, stalled.epochs_trained) == ("stalled", "FAIL", 1)
    assert "no training step for" in str(stalled.message)
    assert len(stalled.faults) == 2

    error = records[ERROR]
    assert (error.reason, error.state, error.faults) == ("error", "FAIL", [])
    assert error.message == "ValueError: a mistake in the code"
    assert "in _step" in (path / error.folder / "error.txt").read_text()

    beginning = records[BEGINNING]
    assert (beginning.reason, beginning.faults, beginning.value) == ("error", [], None)
    assert beginning.message == "ValueError: a mistake before the first step"
    assert (path / beginning.folder / "metrics.json").exists()

    for number in HEALTHY:
        assert records[number].state == "COMPLETE"
        assert records[number].epochs_trained == 4
    assert len(records[KILLED].faults) == 1
    assert "worker died" in records[KILLED].faults[0]
    assert len(records[MEMORY_MONITOR].faults) == 1
    assert "then with at most 128 samples in a pass" in records[MEMORY_MONITOR].faults[0]
    assert records[MEMORY_MONITOR].micro_batch == 128

    output = capfd.readouterr().out
    assert f"{TRIALS}/{TRIALS}" in output
    assert "broke off and is tried again" in output
    assert untouched(records[TRIALS - 1])


def untouched(record: TrialRecord) -> bool:
    return record.faults == [] and record.message is None


class Broken(CellTrainable):
    """Raises in its first step."""

    def _step(self) -> StepResult:
        raise ValueError("a mistake in the code")


def test_a_search_in_which_most_trials_fail_stops_and_says_so(
    plan: CellPlan, tmp_path: Path
) -> None:
    cell = plan.cell
    settings = dataclasses.replace(cell.search, trials=6, max_failure_share=0.5)
    limited = dataclasses.replace(
        plan, cell=dataclasses.replace(cell, search=settings), concurrency=1
    )
    path = tmp_path / "results" / cell.name
    outcome = search(limited, path, Broken)
    assert not outcome.is_complete
    assert outcome.is_fault
    assert "4 of the last 4 trials failed (error)" in str(outcome.stopped)
    assert "a mistake in the code" in str(outcome.stopped)
    assert len(outcome.records) == 4
    assert all(record.value is None and record.state == "FAIL" for record in outcome.records)

    # Once the fault is repaired, the search runs the trials that are left.
    repaired = search(limited, path, CellTrainable)
    assert repaired.is_complete
    assert [r for r in repaired.records if r.reason == "error"] == outcome.records
