"""What a worker makes of a model's steps, in this process."""

import itertools
import statistics
import time
from types import SimpleNamespace

import pytest

from study.data.dataset import build_dataset
from study.planning.probing import probe_worker
from study.planning.probing.probe_worker import ProbeWorker
from study.training.windows import TrainingData
from tests.search.simulated_search import CELL, SPACE

CONFIG = next(iter(SPACE.configs()))


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData.of(build_dataset(CELL.data))


@pytest.fixture
def worker(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> ProbeWorker:
    context = SimpleNamespace(get_assigned_resources=lambda: {"CPU": 1.0})
    monkeypatch.setattr(f"{probe_worker.__name__}.ray.get_runtime_context", lambda: context)
    return ProbeWorker(data, "cpu", False)


def test_a_large_step_is_split_into_its_windows_and_the_rest(
    worker: ProbeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_worker, "WHOLE_FLOPS", 0.0)
    taken: list[tuple[int, ...]] = []

    def epoch(trainer: object) -> object:
        taken.append(worker_steps)
        # A window takes 0.01 s and a step 0.5 s besides.
        steps = tuple(0.5 + 0.01 * windows for windows in worker_steps)
        return probe_worker._Epoch(steps=steps, validation=0.1)

    few = 256 // 9
    worker_steps = (8 * few, few)
    monkeypatch.setattr(worker, "_epoch", epoch)
    found = worker.measure(CONFIG, saves=False)
    assert found.window_seconds == pytest.approx(0.01)
    assert found.step_seconds == pytest.approx(0.5)
    assert found.validation_seconds == pytest.approx(0.1 / few)
    # One that is not timed, and two that agree.
    assert len(taken) == 3


def test_both_steps_of_an_epoch_are_timed_each_for_itself(
    worker: ProbeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_worker, "WHOLE_FLOPS", 0.0)
    seen: list[tuple[float, ...]] = []
    of_epoch = worker._epoch

    def epoch(trainer: object) -> object:
        found = of_epoch(trainer)  # type: ignore[arg-type]
        seen.append(found.steps)
        return found

    monkeypatch.setattr(worker, "_epoch", epoch)
    found = worker.measure(CONFIG, saves=True)
    assert all(len(steps) == 2 and min(steps) > 0 for steps in seen)
    assert found.checkpoint is not None
    # The two parts of the smaller step.
    assert found.window_seconds * (256 // 9) + found.step_seconds == pytest.approx(
        statistics.median(smaller for _, smaller in seen[1:])
    )


@pytest.mark.parametrize(("is_busy", "share"), [(True, 1.0), (False, 0.0)])
def test_the_share_of_waiting_is_that_in_which_no_processor_was_had(
    worker: ProbeWorker, monkeypatch: pytest.MonkeyPatch, is_busy: bool, share: float
) -> None:
    clock = (lambda: 0.0) if is_busy else time.perf_counter
    monkeypatch.setattr(f"{probe_worker.__name__}.time.thread_time", clock)
    monkeypatch.setattr(probe_worker, "_SHARED_SECONDS", 0.01)
    monkeypatch.setattr(probe_worker, "_SHARED_STEPS", 1)

    def epoch(trainer: object) -> object:
        time.sleep(0.01)
        return probe_worker._Epoch(steps=(0.01,), validation=0.1)

    worker.prepare(CONFIG)
    rate, waited_share = worker.rate()
    assert rate > 0
    assert waited_share == pytest.approx(share, abs=0.01)
    monkeypatch.setattr(worker, "_epoch", epoch)
    assert worker.measure(CONFIG, saves=False).waited_share == pytest.approx(share, abs=0.01)


def test_a_long_epoch_is_timed_once(worker: ProbeWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=1.0)
    monkeypatch.setattr(f"{probe_worker.__name__}.time.perf_counter", lambda: float(next(ticks)))
    epochs = iter([probe_worker._Epoch(steps=(9.0,), validation=0.1)] * 2)
    monkeypatch.setattr(worker, "_epoch", lambda trainer: next(epochs))
    # The first is not timed, and a third would find no epoch.
    assert worker.measure(CONFIG, saves=False).window_seconds == pytest.approx(9.0 / 256)
