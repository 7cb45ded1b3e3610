"""Workers time side by side how many of them train best, as they would on an accelerator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.cluster.runtime import cluster
from study.data.dataset import build_dataset
from study.planning.device_sharing import measured_sharing
from study.planning.probing import step_probe
from study.planning.probing.remembered_times import RememberedTimes
from study.planning.probing.step_probe import Probing, measure_steps
from study.planning.step_times import StepTimes
from study.search.space import build_space
from study.spec.spec_file import load_study
from study.training.windows import TrainingData
from tests.tuner.in_process import MARKS, ray_environment

pytestmark = MARKS


def one(*tried: Any) -> int:
    """Let workers train side by side, and take one for their best number on any machine."""
    measured_sharing(*tried)
    return 1


def test_workers_find_their_best_number_and_the_steps_are_timed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_probe, "measured_sharing", one)
    study = load_study(Path("search_spaces/smoke.yaml"))
    data = build_dataset(study.cell("750k", 1).data)
    said: list[str] = []

    def measure(probing: Probing, budget: str, shared_by: int = 0) -> StepTimes:
        return measure_steps(
            build_space(study.cell(budget, 1), n_features=len(data.feature_names)),
            TrainingData.of(data),
            probing=probing,
            request={"CPU": 0.5, "memory": len(said) * 2**20},
            device="cpu",
            capture=True,
            concurrency=2,
            shared_by=shared_by,
            meanwhile=lambda: said.append("meanwhile"),
            say=said.append,
        )

    def command(work: Callable[[Probing], None]) -> None:
        said.clear()
        with Probing(RememberedTimes(tmp_path, nodes), n_nodes=1) as probing:
            work(probing)

    def first(probing: Probing) -> None:
        times = measure(probing, "750k", shared_by=2)
        assert said == ["2 workers, to time steps of 4 models", "meanwhile"]
        # The second worker was ended before steps were timed.
        assert (times.per_device, len(probing._workers)) == (1, 1)
        # The two ends of the straight line.
        assert len(times.checkpoints) == 2
        assert times.checkpoints[0].n_params < times.checkpoints[1].n_params
        # The CPUs that train are those that write.
        assert all(each.copied_seconds == each.written_seconds > 0 for each in times.checkpoints)
        assert times.layers[0].shallow.begin_seconds > 0
        assert times.layers[0].shallow.window_seconds > 0
        assert times.measured_at is None
        measured.append(times)

    def second(probing: Probing) -> None:
        times = measure(probing, "750k", shared_by=2)
        assert said == ["meanwhile"]
        assert not probing.has_workers
        assert times.measured_at is not None
        assert times.layers == measured[0].layers
        assert (times.worker_seconds, times.per_device) == (
            measured[0].worker_seconds, measured[0].per_device,
        )  # fmt: skip

    def of_two_budgets(probing: Probing) -> None:
        measure(probing, "50k")
        workers = probing.workers(
            2, TrainingData.of(data), {"CPU": 0.5, "memory": 2**30}, device="cpu", capture=True
        )
        # Those of the budget before, whatever the next one's memory.
        assert workers[1] is False

    measured: list[StepTimes] = []
    with ray_environment(), cluster(None, use_accelerators=False) as nodes:
        for work in (first, second, of_two_budgets):
            command(work)
