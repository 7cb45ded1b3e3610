"""The number of trials on an accelerator follows from how fast they train side by side."""

from pathlib import Path

import pytest

from study.cluster.resources import MOST_TRIALS_PER_DEVICE, Node, plan_resources
from study.planning.device_sharing import (
    measured_sharing,
    recorded_sharing,
    shared_by,
    timed_architectures,
    tried_numbers,
    untimed_sharing,
)
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.spec_file import load_study


def space() -> SearchSpace:
    return build_space(load_study(Path("search_spaces/phase6a.yaml")).cell("2M", 3), n_features=25)


def device(gpus: int = 1) -> Node:
    return Node(
        name="a", cpus=16 * gpus, gpus=gpus, memory_bytes=2**37, device_bytes=80 * 2**30,
        unified_memory=False,
    )  # fmt: skip


def test_the_number_with_the_most_samples_a_second_wins() -> None:
    assert shared_by([{1: 100.0, 2: 190.0, 4: 300.0, 8: 250.0}]) == 4


def test_a_device_that_gains_nothing_from_sharing_has_one_trial() -> None:
    assert shared_by([{1: 100.0, 2: 101.0, 4: 99.0}]) == 1


def test_of_equal_numbers_the_smaller_one_leaves_more_memory() -> None:
    assert shared_by([{1: 100.0, 2: 200.0, 4: 400.0, 8: 405.0, 16: 410.0}]) == 4


def test_fast_and_slow_architectures_count_alike() -> None:
    fast, slow = {1: 10_000.0, 4: 9_000.0}, {1: 5.0, 4: 15.0}
    assert shared_by([fast, slow]) == 4
    assert shared_by([fast, fast, {1: 5.0, 4: 5.5}]) == 1


@pytest.mark.parametrize(
    ("most", "tried"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])]
)
def test_powers_of_two_and_the_most_are_tried(most: int, tried: list[int]) -> None:
    assert tried_numbers(most) == tried


def test_the_smallest_the_middle_and_the_largest_architecture_are_timed() -> None:
    prepared: list[TrialConfig] = []
    asked: list[int] = []

    def rate(number: int) -> float:
        asked.append(number)
        return float(min(number, 3))

    found = measured_sharing(space(), 6, prepared.append, rate)
    assert found == 4
    assert prepared == timed_architectures(space())
    assert len({config.model for config in prepared}) == 3
    assert asked == [1, 2, 4, 6] * 3


def test_memory_bounds_the_number_from_above() -> None:
    step = 8 * 2**30
    assert plan_resources([device()], wanted_bytes=step, per_device=16).per_device == 7
    assert plan_resources([device()], wanted_bytes=step, per_device=4).per_device == 4


@pytest.mark.parametrize("number", range(1, 17))
def test_the_number_of_an_earlier_plan_is_read_from_its_share(number: int) -> None:
    own = plan_resources([device()], wanted_bytes=2**30, per_device=number)
    known = {"budget_resources": {"2M": {"request": own.request(), "exclusive": own.exclusive}}}
    assert own.per_device == number
    assert recorded_sharing(known) == {"2M": number}


def test_a_plan_without_accelerator_records_no_number() -> None:
    assert recorded_sharing({}) == {}
    assert recorded_sharing({"budget_resources": {"2M": {"request": {}, "exclusive": False}}}) == {}


def test_more_trials_than_usual_share_a_device_where_the_user_asks_for_them() -> None:
    assert untimed_sharing(None, [device()]) == MOST_TRIALS_PER_DEVICE
    assert untimed_sharing(12, [device()]) == 12
    assert untimed_sharing(12, [device(2)]) == MOST_TRIALS_PER_DEVICE
