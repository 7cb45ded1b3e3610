"""An ended search goes on with longer schedules, with real Ray, and survives a killed worker."""

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.cluster.runtime import cluster
from study.data.dataset import build_dataset
from study.errors import StudyError
from study.planning.cell_plan import CellPlan, plan_cell
from study.results.plans.plan_record import Estimate
from study.results.records import TrialRecord
from study.search.space import build_space
from study.spec.dimension import Fixed
from study.training.checkpoint import CheckpointFolder
from study.tuner.trainable import CellTrainable, StepResult
from tests.tuner.command import ESTIMATE
from tests.tuner.in_process import MARKS, ray_environment, search, tiny_cell

pytestmark = MARKS

TRIALS = 3


class KilledOnce(CellTrainable):
    """Kills its worker once, in the third epoch of the first trial."""

    def _step(self) -> StepResult:
        epoch = self._trainer.report.epoch if self._assigned is None and self._trainer.report else 0
        if self.config["number"] == 0 and epoch == 3 and not (self._folder / "killed").exists():
            (self._folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._step()


@pytest.fixture(scope="module")
def plan() -> Iterator[CellPlan]:
    cell = tiny_cell(epochs=2, trials=TRIALS, scheduler="fifo", forced="none")
    data = build_dataset(cell.data)
    space = build_space(cell, n_features=25)
    estimate = json.loads(json.dumps(ESTIMATE))
    with ray_environment(), cluster(None, use_accelerators=False) as nodes:
        yield plan_cell(
            cell, data, space, nodes, device="cpu", concurrency=1,
            estimate=Estimate.from_json(estimate, "a test"),
        )  # fmt: skip


def with_epochs(plan: CellPlan, epochs: int) -> CellPlan:
    cell = dataclasses.replace(plan.cell, train={**plan.cell.train, "epochs": Fixed(epochs)})
    return dataclasses.replace(plan, cell=cell)


def courses(path: Path) -> list[list[tuple[int, float, float]]]:
    """Return epoch, validation loss and rate of every trial's epochs, as they are on record."""
    rows = json.loads((path / "all_trials.json").read_text())
    lines: list[list[dict[str, Any]]] = [
        [json.loads(line) for line in (path / row["folder"] / "result.json").open()] for row in rows
    ]
    return [[(e["epoch"], e["validation_loss"], e["learning_rate"]) for e in one] for one in lines]


def untimed(record: TrialRecord) -> TrialRecord:
    return dataclasses.replace(
        record, trial_id="", started=0.0, ended=0.0, seconds={}, faults=[], peak_memory_bytes=None
    )


def test_completed_trials_go_on_as_if_nothing_had_happened(plan: CellPlan, tmp_path: Path) -> None:
    paths = [tmp_path / name / "results" / plan.cell.name for name in ("straight", "killed")]
    ends = []
    for path, trainable in zip(paths, (CellTrainable, KilledOnce), strict=True):
        path.parent.mkdir(parents=True)
        begun = search(plan, path, trainable)
        assert {record.reason for record in begun.records} <= {"completed", "collapsed"}
        first = courses(path)
        assert [[epoch for epoch, *_ in course] for course in first] == [[1, 2]] * TRIALS
        # The first command again: nothing is left to do.
        assert search(plan, path, trainable).records == begun.records
        outcome = search(with_epochs(plan, 4), path, trainable)
        assert outcome.is_complete
        # A plain resume knows of the longer schedules.
        assert search(plan, path, trainable).records == outcome.records
        for record, course, earlier in zip(outcome.records, courses(path), first, strict=True):
            went_on = begun.records[record.number].reason == "completed"
            assert [epoch for epoch, *_ in course] == [1, 2, 3, 4][: 4 if went_on else 2]
            assert course[:2] == earlier
        ends.append(outcome.records)
    assert courses(paths[0]) == courses(paths[1])
    assert [*map(untimed, ends[0])] == [*map(untimed, ends[1])]
    assert any("worker died" in fault for fault in ends[1][0].faults)

    with pytest.raises(StudyError, match=r"asked for schedules of 4 epochs.* got --max-epochs 3"):
        search(with_epochs(plan, 3), paths[0])
    CheckpointFolder(paths[0] / ends[0][0].folder / "checkpoints").keep_best()
    with pytest.raises(StudyError, match="only be given a longer schedule from its state"):
        search(with_epochs(plan, 8), paths[0])
