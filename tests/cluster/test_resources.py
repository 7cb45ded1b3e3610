import pytest

from study.cluster.resources import (
    MOST_TRIALS_PER_DEVICE,
    Node,
    TrialResources,
    plan_resources,
    plan_search,
)

GIB = 2**30


def node(
    *, cpus: int = 16, gpus: int = 0, memory: int = 64, device: int | None = None, name: str = "a"
) -> Node:
    return Node(
        name=name,
        cpus=cpus,
        gpus=gpus,
        memory_bytes=memory * GIB,
        device_bytes=(memory if device is None else device) * GIB,
        unified_memory=device is None,
    )


def plan(*nodes: Node, wanted: float) -> TrialResources:
    return plan_resources(nodes, wanted_bytes=int(wanted * GIB))


def test_small_trials_on_the_cpu_take_one_core_each() -> None:
    found = plan(node(cpus=2, memory=20), wanted=0.5)
    assert found.request() == {"CPU": 1, "memory": found.memory_bytes}
    assert found.capacity == 2
    assert not found.exclusive


def test_the_share_of_a_grant_holds_the_step_for_which_it_was_asked() -> None:
    for wanted in [*range(1, 2000), *range(GIB, GIB + 2000)]:
        assert plan_resources([node()], wanted_bytes=wanted).share_bytes >= wanted


def test_memory_bounds_the_trials_at_once() -> None:
    found = plan(node(cpus=16, memory=20), wanted=4.0)
    assert found.capacity == 20 * GIB // found.memory_bytes < 16


def test_small_trials_share_a_device_up_to_the_floor() -> None:
    found = plan(node(gpus=1, device=80), wanted=0.5)
    assert found.gpus == 1 / MOST_TRIALS_PER_DEVICE
    assert found.capacity == MOST_TRIALS_PER_DEVICE
    assert found.cpus == 2


def test_fractions_follow_the_memory_of_the_device() -> None:
    found = plan(node(gpus=1, device=24), wanted=6.0)
    assert found.gpus == 0.3333
    assert found.capacity == 3
    assert found.share_bytes >= 5.9 * GIB


@pytest.mark.parametrize("at_once", range(1, 9))
def test_as_many_fractions_fit_as_are_planned(at_once: int) -> None:
    device = node(gpus=1, memory=256, device=100)
    found = plan(device, wanted=100 / 1.25 / (at_once + 0.5))
    if found.exclusive:
        return
    assert found.capacity == at_once
    assert round(found.gpus * 10_000) * at_once <= 10_000


def test_a_trial_that_needs_most_of_a_machine_gets_it_alone() -> None:
    found = plan(node(cpus=16, gpus=1, memory=128), wanted=80.0)
    assert found.exclusive
    assert found.gpus == 1
    assert found.cpus == 16
    assert found.capacity == 1
    assert found.memory_bytes > 0.9 * 128 * GIB


def test_an_exclusive_trial_leaves_the_other_devices_of_its_node() -> None:
    found = plan(node(cpus=16, gpus=4, memory=256, device=80), wanted=60.0)
    assert found.exclusive
    assert found.cpus == 4
    assert found.capacity == 4


def test_capacity_counts_every_node() -> None:
    nodes = [node(cpus=4, memory=16, name=name) for name in "abc"]
    assert plan(*nodes, wanted=0.5).capacity == 12


def test_budgets_of_which_as_many_fit_share_one_request_and_the_others_have_their_own() -> None:
    wanted = {"200M": 16.0, "750k": 0.5, "20M": 3.0, "2M": 1.0}
    found = plan_search([node(cpus=2, memory=20)], {b: int(n * GIB) for b, n in wanted.items()})
    small = plan(node(cpus=2, memory=20), wanted=3.0)
    assert {b: found.by_budget[b] for b in ("750k", "2M", "20M")} == dict.fromkeys(
        ("750k", "2M", "20M"), small
    )
    assert found.by_budget["200M"].exclusive
    assert found.capacity == 2
    assert found.largest == found.by_budget["200M"]
    assert found.has_room(["2M"])
    assert not found.has_room(["2M", "20M"])
    assert not found.has_room(["200M"])
    assert found.shares(["2M", "200M"]) > 1


def test_budgets_of_a_device_ask_for_their_fractions_of_it() -> None:
    device = node(cpus=16, gpus=1, memory=128, device=80)
    found = plan_search([device], {"2M": GIB, "200M": 14 * GIB, "2B": 60 * GIB})
    assert {b: each.capacity for b, each in found.by_budget.items()} == {
        "2M": MOST_TRIALS_PER_DEVICE, "200M": 4, "2B": 1,
    }  # fmt: skip
    assert found.has_room(["200M", "200M", "200M", "2M"])
    assert not found.has_room(["200M"] * 4)
