"""Fractions of an accelerator, proven with a logical one and the device mapped to the CPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from study.cluster.resources import MOST_TRIALS_PER_DEVICE, Node, plan_resources
from study.data.dataset import build_dataset
from study.model.memory import step_memory
from study.planning.cell_plan import plan_cell
from study.results.plans.plan_record import Estimate
from study.search.space import SearchSpace, build_space
from study.spec.spec_file import load_study
from tests.cluster.meeting import meet
from tests.tuner.command import ESTIMATE
from tests.tuner.in_process import MARKS, ray_of, search, tiny_cell

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
GIB = 2**30

pytestmark = MARKS


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[Node]]:
    """A cluster of one machine with 16 CPUs, one GPU and 128 GiB, all of them only logical."""
    with ray_of(n_cpus=16, n_gpus=1, memory_bytes=128 * GIB) as found:
        yield found


def space(budget: str) -> SearchSpace:
    cell = load_study(SPACES / "phase6a.yaml").cell(budget, 1)
    return build_space(cell, n_features=25)


def request(nodes: list[Node], budget: str) -> dict[str, float]:
    configs = [config.model for config in space(budget).configs()]
    return plan_resources(
        nodes,
        wanted_bytes=max(step_memory(c, 256, bf16=True, ema=True).total for c in configs),
    ).request()


def run(
    requests: list[dict[str, float]], folder: Path, *, meeting: int
) -> list[tuple[float, float, float]]:
    """Run tasks, each of which ends a second after ``meeting`` of them have begun."""
    folder.mkdir()
    tasks = [
        ray.remote(meet).options(
            num_gpus=request["GPU"], num_cpus=request["CPU"], memory=request["memory"]
        )
        for request in requests
    ]
    found: list[tuple[float, float, float]] = ray.get(
        [task.remote(folder, meeting) for task in tasks]
    )
    return found


def overlap(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    return one[1] < other[2] and other[1] < one[2]


def test_2m_trials_share_the_device_and_a_2b_trial_has_it_alone(
    nodes: list[Node], tmp_path: Path
) -> None:
    small, large = request(nodes, "2M"), request(nodes, "2B")
    assert small["GPU"] == 1 / MOST_TRIALS_PER_DEVICE
    assert large["GPU"] == 1
    assert large["CPU"] == 16

    together = run([small, small, small], tmp_path / "together", meeting=3)
    assert [share for share, *_ in together] == [1 / MOST_TRIALS_PER_DEVICE] * 3
    assert all(overlap(one, other) for one in together for other in together)

    whole, *others = run([large, small, small], tmp_path / "alone", meeting=1)
    assert whole[0] == 1
    assert not any(overlap(whole, other) for other in others)


def test_trials_of_a_cell_run_on_their_fraction(nodes: list[Node], tmp_path: Path) -> None:
    cell = tiny_cell(epochs=1, trials=4)
    data = build_dataset(cell.data)
    drawn_from = build_space(cell, n_features=25)
    plan = plan_cell(
        cell, data, drawn_from, nodes, device="cpu", concurrency=2,
        estimate=Estimate.from_json(ESTIMATE, "made up"),
    )  # fmt: skip
    assert plan.resources.by_budget["50k"].gpus == 1 / MOST_TRIALS_PER_DEVICE
    outcome = search(plan, tmp_path / cell.name)
    assert len(outcome.records) == 4
    assert {record.assigned_gpus for record in outcome.records} == {1 / MOST_TRIALS_PER_DEVICE}
    assert {record.device for record in outcome.records} == {"cpu"}
