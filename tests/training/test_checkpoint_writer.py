"""States are written while their trial goes on, and hold it as it was when they were taken."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from study.training.checkpoint import CheckpointFolder, CheckpointWriter
from study.training.state_file import HostCopy, NoSpaceError, State, load, save
from tests.training.planted import make_trainer, trace

ROOM = 2**20
"""Bytes of the largest state that is copied; those of these tests are smaller."""


class Disk:
    """A place for states that takes as long as a test wants; it keeps what is written there."""

    def __init__(self) -> None:
        self.is_free = threading.Event()
        self.is_free.set()
        self.error: OSError | None = None
        self.steps: list[int] = []
        self.values: list[list[float]] = []
        self.threads: set[str] = set()

    def write(self, state: State) -> None:
        assert self.is_free.wait(timeout=30)
        self.threads.add(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        self.steps.append(state["step"])
        self.values.append(state["model"]["w"].tolist())


def state(step: int) -> State:
    return {
        "step": step,
        "model": {"w": torch.full((3,), float(step))},
        "norms": [1.0],
        "best": None,
    }


def at(step: int) -> Callable[[], State]:
    return lambda: state(step)


@contextmanager
def writer(disk: Disk, *, seconds: float = 1e-9, room: int = ROOM) -> Iterator[CheckpointWriter]:
    made = CheckpointWriter(disk.write, seconds=seconds, most_copied_bytes=room, step=0)
    try:
        yield made
    finally:
        disk.is_free.set()
        made.close()


def test_a_state_is_written_as_it_was_taken_while_its_trial_goes_on() -> None:
    disk = Disk()
    with writer(disk) as kept:
        disk.is_free.clear()
        living = state(1)
        assert not kept.keep(lambda: living, at_once=False)
        living["model"]["w"] += 1
        living["norms"].append(2.0)
        assert disk.steps == []
        disk.is_free.set()
        assert kept.keep(lambda: {**living, "step": 2}, at_once=True)
    assert disk.steps == [1, 2]
    assert disk.values == [[1.0] * 3, [2.0] * 3]
    assert {name.partition("_")[0] for name in disk.threads} == {"checkpoint", "MainThread"}


def test_at_most_one_state_is_in_flight() -> None:
    disk = Disk()
    with writer(disk) as kept:
        disk.is_free.clear()
        kept.keep(at(1), at_once=False)
        threading.Timer(0.2, disk.is_free.set).start()
        # It waits for the first, or the buffers of the first would be written over.
        assert not kept.keep(at(2), at_once=False)
        assert disk.steps[0] == 1
    assert disk.steps == [1, 2]
    assert disk.values == [[1.0] * 3, [2.0] * 3]


def test_states_are_written_no_more_often_than_asked() -> None:
    disk = Disk()
    with writer(disk, seconds=3600.0) as kept:
        assert [kept.keep(at(step), at_once=False) for step in (1, 2, 3)] == [False] * 3
        assert disk.steps == []
        assert kept.keep(at(4), at_once=True)
    assert disk.steps == [4]


def test_without_an_interval_each_state_is_on_the_disk_first() -> None:
    disk = Disk()
    with writer(disk, seconds=0.0) as kept:
        for step in (1, 2):
            assert kept.keep(at(step), at_once=False)
            assert disk.steps[-1] == step
    assert disk.threads == {"MainThread"}


def test_a_state_too_large_for_a_copy_is_on_the_disk_first() -> None:
    disk = Disk()
    with writer(disk, room=11) as kept:
        assert kept.keep(at(1), at_once=False)
        assert disk.steps == [1]
    assert disk.threads == {"MainThread"}


def test_a_state_that_is_written_or_was_loaded_is_not_written_again() -> None:
    disk = Disk()
    with writer(disk) as kept:
        assert kept.keep(at(0), at_once=True)
        assert disk.steps == []
        disk.is_free.clear()
        kept.keep(at(1), at_once=False)
        threading.Timer(0.2, disk.is_free.set).start()
        assert kept.keep(at(1), at_once=True)
        assert disk.steps == [1]


@pytest.mark.parametrize("at_once", [False, True])
def test_an_error_of_the_thread_is_raised_by_the_next_call_and_once(at_once: bool) -> None:
    disk = Disk()
    disk.error = NoSpaceError(28, "no room")
    with writer(disk) as kept:
        assert not kept.keep(at(1), at_once=False)
        with pytest.raises(NoSpaceError, match="no room"):
            kept.keep(at(2), at_once=at_once)
        disk.error = None
        # The state that was lost is written when it is asked for again.
        assert kept.keep(at(1), at_once=True)
    assert disk.steps == [1]


def test_an_error_of_a_trial_that_is_over_is_dropped() -> None:
    disk = Disk()
    disk.error = OSError(5, "gone")
    kept = CheckpointWriter(disk.write, seconds=1e-9, most_copied_bytes=ROOM, step=0)
    kept.keep(at(1), at_once=False)
    kept.close()
    kept.close()


def test_a_copy_uses_the_buffers_of_the_copy_before_and_keeps_what_occurs_twice() -> None:
    kept = HostCopy()
    weight = torch.arange(6.0).reshape(2, 3).t()
    first = kept.of({"a": weight, "b": [weight, (1, None)], "c": torch.zeros(2)})
    assert torch.equal(first["a"], weight)
    assert first["a"] is first["b"][0]
    assert first["b"][1] == (1, None)
    weight += 1
    second = kept.of({"a": weight, "b": [weight, (2, "x")], "c": torch.zeros(4)})
    assert second["a"] is first["a"]
    assert torch.equal(second["a"], weight)
    assert second["c"].shape == (4,)
    assert second["a"].data_ptr() != weight.data_ptr()


def test_the_copy_of_a_trainers_state_resumes_as_the_state_itself(tmp_path: Path) -> None:
    trainer = make_trainer()
    trainer.run_epoch()
    trainer.run_epoch(lambda: True)
    copied = HostCopy().of(trainer.state_dict())
    save(trainer.state_dict(), tmp_path / "own.pt")
    save(copied, tmp_path / "copied.pt")
    following = trace([trainer.run_epoch()])
    for name in ("own.pt", "copied.pt"):
        resumed = make_trainer()
        resumed.load_state_dict(load(tmp_path / name))
        assert trace([resumed.run_epoch()]) == following


def test_a_trial_that_is_trained_again_from_an_older_state_has_the_same_numbers(
    tmp_path: Path,
) -> None:
    folder = CheckpointFolder(tmp_path)
    kept = CheckpointWriter(folder.save, seconds=1e-9, most_copied_bytes=ROOM, step=0)
    trainer = make_trainer()
    trainer.run_epoch()
    kept.keep(trainer.state_dict, at_once=False)
    reports = [trainer.run_epoch(), trainer.run_epoch()]
    kept.close()
    found = CheckpointFolder(tmp_path).newest_intact()
    assert found is not None
    again = make_trainer()
    again.load_state_dict(found.state)
    assert trace([again.run_epoch(), again.run_epoch()]) == trace(reports)
    best, best_again = trainer.best_weights(), again.best_weights()
    assert best is not None
    assert best_again is not None
    assert all(torch.equal(best[name], best_again[name]) for name in best)
