"""Workers time side by side how many of them train best, as they would on an accelerator."""

from pathlib import Path

from study.cluster.runtime import cluster
from study.data.dataset import build_dataset
from study.planning.step_probe import measure_steps
from study.search.space import build_space
from study.spec.spec_file import load_study
from study.training.windows import TrainingData
from tests.tuner.in_process import MARKS, ray_environment

pytestmark = MARKS


def test_workers_find_their_best_number_and_the_steps_are_timed_with_it() -> None:
    cell = load_study(Path("search_spaces/smoke.yaml")).cell("750k", 1)
    data = build_dataset(cell.data)
    space = build_space(cell, n_features=len(data.feature_names))
    said: list[str] = []
    with ray_environment(), cluster(None, use_accelerators=False):
        times = measure_steps(
            space,
            TrainingData.of(data),
            request={"CPU": 0.5},
            device="cpu",
            capture=True,
            concurrency=2,
            shared_by=2,
            meanwhile=lambda: said.append("meanwhile"),
            say=said.append,
        )
    assert said == ["2 workers, to time steps of 6 models", "meanwhile"]
    assert times.per_device in (1, 2)
    # The two ends of the straight line.
    assert len(times.checkpoints) == 2
    assert times.checkpoints[0].n_params < times.checkpoints[1].n_params
    # The CPUs that train are those that write.
    assert all(each.copied_seconds == each.written_seconds > 0 for each in times.checkpoints)
    assert times.layers[0].shallow.begin_seconds > 0
    assert times.layers[0].shallow.window_seconds > 0
