"""A search on the clock alone, against arithmetic that can be done by hand."""

import heapq
from collections.abc import Sequence

import numpy as np
import pytest

from study.cluster.resources import SearchResources
from study.planning.simulation import ForetoldSearch, TrialCost, play_plan
from study.spec.search_config import SearchConfig
from tests.search.simulated_search import request

FIFO = SearchConfig(trials=20, scheduler="fifo")
BEGIN = 0.5


def trial(budget: str, epochs: int, epoch_seconds: float) -> TrialCost:
    return TrialCost(budget, epochs, epoch_seconds, begin_seconds=BEGIN)


MIXED = [trial("2M", epochs=4 + i % 3, epoch_seconds=1.0 + i % 5) for i in range(20)]


TWO_CORES = SearchResources(
    by_budget={"2M": request(2), "20M": request(2), "200M": request(1, cpus=2)}, n_nodes=1
)
"""Two small trials fit at once, or one large one."""


def run(
    trials: Sequence[TrialCost],
    search: SearchConfig,
    *,
    slots: int,
    seed: int = 1,
    resources: SearchResources | None = None,
    worker_seconds: float = 0.0,
) -> ForetoldSearch:
    return play_plan(
        trials,
        search,
        slots=slots,
        resources=resources or SearchResources(by_budget={"2M": request(slots)}, n_nodes=1),
        worker_seconds=worker_seconds,
        rng=np.random.default_rng(seed),
    )


def share(n_trials: int) -> float:
    """Return the mean share of epochs that ASHA leaves of many equal trials."""
    search = SearchConfig(trials=n_trials, grace_share=0.25, reduction_factor=3)
    trials = [trial("2M", epochs=12, epoch_seconds=1.0)] * n_trials
    return float(np.mean([run(trials, search, slots=2, seed=s).trained_share for s in range(20)]))


def test_one_slot_takes_the_sum() -> None:
    found = run(MIXED, FIFO, slots=1)
    assert found.seconds == pytest.approx(sum(t.epochs * t.epoch_seconds + BEGIN for t in MIXED))
    assert found.trained_share == 1.0


@pytest.mark.parametrize("slots", [2, 3, 7, 50])
def test_without_asha_each_trial_takes_the_slot_that_is_free_first(slots: int) -> None:
    free = [0.0] * slots
    for trial in MIXED:
        heapq.heapreplace(free, free[0] + trial.epochs * trial.epoch_seconds + 0.5)
    assert run(MIXED, FIFO, slots=slots).seconds == pytest.approx(max(free))


def test_too_few_trials_for_rungs_run_their_whole_schedules() -> None:
    search = SearchConfig(trials=5, grace_share=0.25, reduction_factor=3)
    assert run(MIXED[:5], search, slots=2).trained_share == 1.0


@pytest.mark.slow
def test_asha_saves_more_of_many_trials_than_of_few() -> None:
    few, some, many = share(8), share(30), share(200)
    assert 1.0 > few > some > many
    # A quarter for all, half more for a third, the last quarter for a ninth, and what is let
    # through before a rung has seen enough trials to judge.
    assert 0.25 + 0.5 / 3 + 0.25 / 9 < many < 0.5


def test_the_time_of_a_trial_that_is_judged_on_its_way_is_that_of_its_epochs() -> None:
    search = SearchConfig(trials=30, grace_share=0.25, reduction_factor=3)
    found = run([trial("2M", epochs=12, epoch_seconds=2.0)] * 30, search, slots=1)
    assert found.trained_share < 1.0
    assert found.seconds == pytest.approx(found.trained_share * 30 * 12 * 2.0 + 30 * 0.5)


def test_small_trials_run_side_by_side_and_a_large_one_alone_in_its_turn() -> None:
    small, large = trial("2M", 10, 1.0), trial("200M", 10, 3.0)
    found = run([small] * 3 + [large, small, small], FIFO, slots=2, resources=TWO_CORES)
    # Two, then one with which the large one waits, the large one, then two.
    assert found.seconds == pytest.approx(10.5 + 10.5 + 30.5 + 10.5)


def test_a_worker_is_started_once_and_again_after_one_that_needs_its_room() -> None:
    small, other, large = (trial(b, 10, 1.0) for b in ("2M", "20M", "200M"))

    def seconds(*trials: TrialCost) -> float:
        found = run(trials, FIFO, slots=1, resources=TWO_CORES, worker_seconds=7.0)
        return found.seconds - 10.5 * len(trials)

    assert seconds(small, small, other, small) == pytest.approx(7.0)
    assert seconds(small, large, small) == pytest.approx(3 * 7.0)
    assert seconds(large, large) == pytest.approx(2 * 7.0)


def test_budgets_do_not_compete_on_the_clock_either() -> None:
    search = SearchConfig(trials=30, grace_share=0.25, reduction_factor=3)
    one = [trial("2M", epochs=12, epoch_seconds=1.0)] * 30
    each = [trial("2M" if i % 2 else "20M", 12, 1.0) for i in range(30)]
    shares = [
        np.mean([run(t, search, slots=1, seed=s, resources=TWO_CORES).trained_share
                 for s in range(20)])
        for t in (one, each)
    ]  # fmt: skip
    # Fewer to be compared with are fewer that are cut.
    assert shares[0] < shares[1]
