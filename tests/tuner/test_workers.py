"""Idle workers are kept while there is room beside the running trials."""

from ray.tune.execution.placement_groups import PlacementGroupFactory, resource_dict_to_pg_factory

from study.cluster.resources import SearchResources, TrialResources
from study.tuner.worker_cache import Workers


def of_a_device(capacity: int) -> TrialResources:
    return TrialResources(
        cpus=1, gpus=1 / capacity, memory_bytes=2**30, share_bytes=2**30, exclusive=capacity == 1,
        capacity=capacity,
    )  # fmt: skip


BY_BUDGET = {"20M": of_a_device(8), "200M": of_a_device(4), "2B": of_a_device(1)}


def key(budget: str) -> PlacementGroupFactory:
    return resource_dict_to_pg_factory(BY_BUDGET[budget].request())


def workers(at_work: list[str], *, n_nodes: int = 1) -> Workers:
    return Workers(SearchResources(by_budget=BY_BUDGET, n_nodes=n_nodes), lambda: at_work)


def test_workers_are_kept_by_kind_as_long_as_there_is_room() -> None:
    at_work = ["20M"] * 4
    kept = workers(at_work)
    assert kept.cache_object(key("200M"), "a")
    assert kept.cache_object(key("20M"), "b")
    # Half of the device is in use; workers of a quarter and an eighth are idle.
    assert list(kept.flush_cached_objects()) == []
    at_work.append("200M")
    kept.increase_max(key("200M"))
    # The new trial takes over the worker of its kind.
    assert list(kept.flush_cached_objects()) == []
    assert kept.pop_cached_object(key("200M")) == "a"
    kept.decrease_max(key("200M"))
    assert list(kept.flush_cached_objects()) == []
    assert kept.num_cached_objects == 1


def test_a_trial_gets_the_room_of_idle_workers_and_of_no_more_than_it_needs() -> None:
    at_work = ["20M"] * 4
    kept = workers(at_work)
    for name in "abcd":
        assert kept.cache_object(key("20M"), name)
    at_work.append("200M")
    kept.increase_max(key("200M"))
    assert list(kept.flush_cached_objects()) == ["a", "b"]
    assert kept.num_cached_objects == 2


def test_one_that_takes_the_whole_device_is_never_kept_and_gets_all_the_room() -> None:
    at_work: list[str] = []
    kept = workers(at_work)
    assert not kept.cache_object(key("2B"), "whole")
    assert kept.cache_object(key("20M"), "a")
    assert kept.cache_object(key("200M"), "b")
    at_work.append("2B")
    kept.increase_max(key("2B"))
    assert sorted(kept.flush_cached_objects()) == ["a", "b"]
    assert list(kept.flush_cached_objects()) == []
    assert kept.num_cached_objects == 0


def test_on_several_machines_idle_workers_go_whenever_another_kind_is_to_start() -> None:
    at_work = ["20M"]
    kept = workers(at_work, n_nodes=2)
    kept.cache_object(key("20M"), "a")
    assert list(kept.flush_cached_objects()) == []
    at_work.append("200M")
    kept.increase_max(key("200M"))
    assert list(kept.flush_cached_objects()) == ["a"]


def test_all_are_given_back_if_all_are_asked_for() -> None:
    kept = workers([])
    kept.cache_object(key("20M"), "a")
    kept.cache_object(key("200M"), "b")
    kept.increase_max(key("20M"))
    assert sorted(kept.flush_cached_objects(force_all=True)) == ["a", "b"]
    assert kept.num_cached_objects == 0
