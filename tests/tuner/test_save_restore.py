"""Ray's save and restore use the trial's own folder of checkpoints, with real Ray."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from study.cluster.runtime import cluster
from study.planning.cell_plan import CellPlan
from study.results.epoch_report import EpochRecord
from study.search.assignment import Assignment
from study.training.state_file import CheckpointError
from study.tuner.trainable import CellTrainable, StepResult, TrialSettings
from tests.tuner.in_process import MARKS, planned, ray_environment, tiny_cell

pytestmark = MARKS


@pytest.fixture(scope="module")
def plan() -> Iterator[CellPlan]:
    cell = tiny_cell(epochs=8)
    with ray_environment(), cluster(None, use_accelerators=False) as nodes:
        yield planned(cell, nodes, concurrency=1)


def trial(plan: CellPlan, number: int) -> dict[str, Any]:
    config = next(slot.config for slot in plan.forced if slot.config is not None)
    return Assignment(
        number=number, source="sampled", group=None, seed=1, config=config, micro_batch_limit=None
    ).flat()


def worker(plan: CellPlan, folder: Path, number: int) -> Any:
    """Return an actor of the trainable, made as Tune makes one."""
    settings = TrialSettings(
        cell_folder=folder, device="cpu", capture=False, share_bytes=plan.share_bytes
    )
    prepared = ray.tune.with_parameters(CellTrainable, data=plan.training_data, settings=settings)
    return ray.remote(num_cpus=1)(prepared).remote(config=trial(plan, number))


def epoch(result: dict[str, Any]) -> EpochRecord:
    report = StepResult.read(result).report
    assert report is not None
    return report


def content(folder: Path) -> dict[str, int]:
    return {str(f.relative_to(folder)): f.stat().st_size for f in folder.rglob("*") if f.is_file()}


def test_ray_saves_where_the_state_is_and_restores_from_there(
    plan: CellPlan, tmp_path: Path
) -> None:
    cell = tmp_path / "cell"
    cell.mkdir()
    first = worker(plan, cell, 0)
    ray.get(first.train.remote())
    second = epoch(ray.get(first.train.remote()))
    before = content(cell)
    saved = ray.get(first.save.remote(str(tmp_path / "saved")))
    # Ray's checkpoint is a line of text and no second copy of the state.
    assert content(cell) == before
    assert sum(content(tmp_path / "saved").values()) < 1000 < sum(before.values())
    third = epoch(ray.get(first.train.remote()))
    ray.get(first.stop.remote())
    ray.kill(first)

    again = worker(plan, cell, 0)
    ray.get(again.restore.remote(saved))
    # The newest state is restored, which repeats its last report; it is never the older one.
    repeated = epoch(ray.get(again.train.remote()))
    assert (repeated.epoch, repeated.train_loss) == (3, third.train_loss)
    assert third.epoch == second.epoch + 1
    assert epoch(ray.get(again.train.remote())).epoch == 4

    # The same worker takes another trial, and then this one, whose state is lost.
    assert ray.get(again.reset.remote(trial(plan, 1)))
    with pytest.raises(CheckpointError, match="can be resumed from its own state"):
        ray.get(again.restore.remote(saved))
    assert ray.get(again.reset.remote(trial(plan, 0)))
    for checkpoints in cell.glob("trial_0000_*/checkpoints"):
        shutil.rmtree(checkpoints)
    with pytest.raises(CheckpointError, match="must hold the state of epoch 2, but got that of 0"):
        ray.get(again.restore.remote(saved))
    ray.get(again.stop.remote())
    ray.kill(again)
