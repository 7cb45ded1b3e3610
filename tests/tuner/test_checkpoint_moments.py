"""A worker saves its trial at the moments that need it, and trains the rest again, without Ray."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from study.data.dataset import Dataset
from study.errors import StudyError
from study.results.scores import Validation
from study.search.assignment import Assignment
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.storage.layout import CHECKPOINTS_FOLDER, STOP_FILE
from study.storage.place import StoredPlace
from study.training.checkpoint import CheckpointFolder
from study.training.state_file import NoSpaceError
from study.training.windows import TrainingData
from study.tuner.trainable import CellTrainable, StepResult, TrialSettings
from tests.store import Line, Server, s3_server
from tests.tuner.command import SPACES
from tests.tuner.small_trial import small_trial

EPOCHS = 6
SELDOM = 3600.0
"""Seconds between two checkpoints that no test lives to see."""


@pytest.fixture(scope="module")
def cell() -> tuple[Dataset, Assignment]:
    """Return a data set, and a small trial on it."""
    return small_trial(epochs=EPOCHS)


@pytest.fixture(autouse=True)
def _assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    context = SimpleNamespace(get_assigned_resources=lambda: {"CPU": 1.0})
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)


@contextmanager
def worker(
    cell: tuple[Dataset, Assignment], folder: Path, **settings: Any
) -> Iterator[CellTrainable]:
    """Yield an actor's trainable before its first step, as Tune sets it up."""
    data, trial = cell
    chosen = TrialSettings(
        cell_folder=folder,
        device=None,
        capture=False,
        share_bytes={trial.config.budget: 2**30},
        **{"checkpoint_seconds": SELDOM, **settings},
    )
    folder.mkdir(exist_ok=True)
    found = CellTrainable.__new__(CellTrainable)
    found.setup(
        trial.flat(), data=[[TrainingData.of(own) for own in data.per_network]], settings=chosen
    )
    try:
        yield found
    finally:
        found.cleanup()


def steps(trainable: CellTrainable, count: int) -> list[StepResult]:
    return [StepResult.read(trainable.step()) for _ in range(count)]


def losses(results: list[StepResult]) -> list[tuple[int, float]]:
    """Return number and validation loss of every epoch."""
    found = []
    for result in results:
        assert result.report is not None
        assert isinstance(result.report.validation, Validation)
        found.append((result.report.epoch, result.report.validation.loss))
    return found


def saved_epoch(folder: Path) -> int | None:
    """Return the epoch of the newest state on the disk; None without one."""
    (trial,) = folder.glob("trial_*")
    found = CheckpointFolder(trial / CHECKPOINTS_FOLDER).newest_intact()
    return None if found is None else found.state["epoch"]


@pytest.mark.slow
def test_a_worker_that_dies_trains_again_and_finds_the_same_numbers(
    cell: tuple[Dataset, Assignment], tmp_path: Path
) -> None:
    with worker(cell, tmp_path) as first:
        before = steps(first, 3)
        assert [each.is_saved for each in before] == [False] * 3
        assert saved_epoch(tmp_path) is None
    with worker(cell, tmp_path) as second:
        again = steps(second, EPOCHS)
    assert losses(again)[:3] == losses(before)
    assert all(each.report is not None and not each.report.is_repeated for each in again)
    # The end of a trial is on the disk before it is reported.
    assert again[-1].is_saved
    assert saved_epoch(tmp_path) == EPOCHS


@pytest.mark.slow
def test_a_trial_on_folds_that_pauses_within_an_epoch_finds_the_same_numbers(
    cell: tuple[Dataset, Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, trial = cell
    early, late = data.train_days[:512], data.train_days[512:]
    folds = (
        replace(data, train_days=early, validation_days=late),
        replace(data, train_days=late, validation_days=early),
    )
    folded = (replace(data, search_folds=folds), trial)
    with worker(folded, tmp_path / "straight") as trainable:
        straight = losses(steps(trainable, 2))
    monkeypatch.setattr("study.tuner.trainable._LOOK_SECONDS", 0.0)
    with worker(folded, tmp_path / "paused") as first:
        before = steps(first, 1)
        # Each network has one step, so that the first question comes between the two.
        (tmp_path / "paused" / STOP_FILE).touch()
        monkeypatch.setattr(first, "_asked_to_pause", _not_at_first(first._asked_to_pause))
        (pause,) = steps(first, 1)
        assert (pause.is_paused, pause.report) == (True, None)
    found = CheckpointFolder(next((tmp_path / "paused").glob("trial_*")) / CHECKPOINTS_FOLDER)
    state = found.newest_intact()
    assert state is not None
    assert [network["epoch"] for network in state.state["networks"]] == [2, 1]
    (tmp_path / "paused" / STOP_FILE).unlink()
    with worker(folded, tmp_path / "paused") as second:
        repeated, following = steps(second, 2)
    assert repeated.report is not None
    assert repeated.report.is_repeated
    assert losses([*before, following]) == straight


def _not_at_first(ask: Callable[[], StepResult | None]) -> Callable[[], StepResult | None]:
    """Return a question whose first answer, before any step, is no."""
    is_first = iter((True,))
    return lambda: None if next(is_first, False) else ask()


@pytest.mark.slow
def test_a_rung_finds_the_state_on_the_disk(
    cell: tuple[Dataset, Assignment], tmp_path: Path
) -> None:
    with worker(cell, tmp_path, milestones=(25.0, 50.0)) as trainable:
        found = []
        for _ in range(EPOCHS):
            (result,) = steps(trainable, 1)
            found.append((result.is_saved, saved_epoch(tmp_path)))
    # A quarter of six epochs has passed after the second one, half of them after the third.
    assert found == [(False, None), (True, 2), (True, 3), (False, 3), (False, 3), (True, 6)]


@pytest.mark.slow
def test_a_search_that_is_to_end_finds_every_epoch_on_the_disk(
    cell: tuple[Dataset, Assignment], tmp_path: Path
) -> None:
    with worker(cell, tmp_path) as first:
        steps(first, 2)
        (tmp_path / STOP_FILE).touch()
        (pause,) = steps(first, 1)
        assert (pause.is_paused, pause.problem, pause.report) == (True, None, None)
        assert saved_epoch(tmp_path) == 2
    (tmp_path / STOP_FILE).unlink()
    with worker(cell, tmp_path) as second:
        repeated, following = steps(second, 2)
    assert losses([repeated, following])[0][0] == 2
    assert repeated.report is not None
    assert repeated.report.is_repeated
    assert losses([following])[0][0] == 3


@pytest.mark.slow
def test_the_interval_starts_a_write_that_the_trial_does_not_wait_for(
    cell: tuple[Dataset, Assignment], tmp_path: Path
) -> None:
    with worker(cell, tmp_path, checkpoint_seconds=1e-9) as trainable:
        results = steps(trainable, 3)
        assert [each.is_saved for each in results] == [False] * 3
    # The worker has waited for the last write before it ended.
    assert saved_epoch(tmp_path) == 3


@pytest.mark.slow
def test_without_an_interval_every_epoch_is_on_the_disk(
    cell: tuple[Dataset, Assignment], tmp_path: Path
) -> None:
    with worker(cell, tmp_path, checkpoint_seconds=0.0) as trainable:
        for epoch in (1, 2):
            (result,) = steps(trainable, 1)
            assert result.is_saved
            assert saved_epoch(tmp_path) == epoch


@pytest.mark.slow
def test_a_disk_that_is_full_while_a_trial_goes_on_pauses_it(
    cell: tuple[Dataset, Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise NoSpaceError(errno.ENOSPC, "no room")

    with worker(cell, tmp_path, checkpoint_seconds=1e-9) as trainable:
        steps(trainable, 1)
        monkeypatch.setattr(CheckpointFolder, "save", full)
        for _ in range(EPOCHS):
            (result,) = steps(trainable, 1)
            if result.is_paused:
                break
        assert result.problem is not None
        assert "a checkpoint must be saved, but got" in result.problem
        assert "no room" in result.problem


@pytest.mark.slow
def test_nothing_is_written_after_the_error_of_a_trial(
    cell: tuple[Dataset, Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise StudyError("a mistake in the code")

    with worker(cell, tmp_path, checkpoint_seconds=1e-9) as trainable:
        steps(trainable, 1)
        monkeypatch.setattr("study.training.trainer.Trainer.run_epoch", broken)
        with pytest.raises(StudyError, match="a mistake in the code"):
            trainable.step()
        # The driver removes them as soon as the error is reported.
        (trial,) = tmp_path.glob("trial_*")
        CheckpointFolder(trial / CHECKPOINTS_FOLDER).clear()
    assert saved_epoch(tmp_path) is None


@pytest.mark.slow
def test_a_store_has_what_the_thread_has_written_and_its_loss_pauses_the_trial(
    cell: tuple[Dataset, Assignment], tmp_path: Path
) -> None:
    folder = tmp_path / "cell"
    folder.mkdir()
    with s3_server(tmp_path / "log") as server:
        line = Line(server.port)
        place = StoredPlace(Server(line.port, server.log).uri(), folder)
        try:
            with place.claim():
                chosen = {"store": place.for_workers, "checkpoint_seconds": 1e-9}
                with worker(cell, folder, **chosen) as first:
                    assert losses(steps(first, 2))[-1][0] == 2
                # The worker has waited for the thread, so that another one finds the last state.
                with worker(cell, folder, **chosen) as second:
                    repeated, following = losses(steps(second, 2))
                    assert (repeated[0], following[0]) == (2, 3)
                    second._writer.keep(second._trainer.state_dict, at_once=True)
                    line.cut()
                    problem = None
                    while problem is None:
                        (result,) = steps(second, 1)
                        problem = result.problem
                    assert "a checkpoint must be saved, but got" in problem
        finally:
            line.cut()


@pytest.mark.slow
def test_a_smaller_micro_batch_is_saved_at_once(
    cell: tuple[Dataset, Assignment], tmp_path: Path
) -> None:
    with worker(cell, tmp_path) as trainable:
        steps(trainable, 1)
        assert saved_epoch(tmp_path) is None
        # It adds in another order, so that a replay from before would not give the same numbers.
        trainable._trainer.limit_micro_batch(128)
        saved, following = steps(trainable, 2)
        assert (saved.is_saved, following.is_saved) == (True, False)
    assert saved_epoch(tmp_path) == 2


@pytest.mark.slow
def test_the_interval_is_a_number_of_the_search() -> None:
    study = load_study(SPACES / "smoke.yaml")
    assert study.cell("50k", 1).search.checkpoint_seconds == 10.0
    chosen = study.cell("50k", 1, Overrides(search={"checkpoint_seconds": 0.5}))
    assert chosen.search.checkpoint_seconds == 0.5
    with pytest.raises(StudyError, match="checkpoint_seconds"):
        study.cell("50k", 1, Overrides(search={"checkpoint_seconds": -1.0}))
