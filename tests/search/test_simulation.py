"""A search on the clock alone, against arithmetic that can be done by hand."""

import heapq
from collections.abc import Sequence

import numpy as np
import pytest

from study.search.simulation import Played, TrialCost, play
from study.spec import SearchConfig

FIFO = SearchConfig(trials=20, scheduler="fifo")
MIXED = [TrialCost(epochs=4 + i % 3, epoch_seconds=1.0 + i % 5) for i in range(20)]


def run(trials: Sequence[TrialCost], search: SearchConfig, *, slots: int, seed: int = 1) -> Played:
    rng = np.random.default_rng(seed)
    return play(trials, search, slots=slots, trial_seconds=0.5, rng=rng)


def share(n_trials: int) -> float:
    """Return the mean share of epochs that ASHA leaves of many equal trials."""
    search = SearchConfig(trials=n_trials, grace_share=0.25, reduction_factor=3)
    trials = [TrialCost(epochs=12, epoch_seconds=1.0)] * n_trials
    return float(np.mean([run(trials, search, slots=2, seed=s).trained_share for s in range(20)]))


def test_one_slot_takes_the_sum() -> None:
    found = run(MIXED, FIFO, slots=1)
    assert found.seconds == pytest.approx(sum(t.epochs * t.epoch_seconds + 0.5 for t in MIXED))
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


def test_asha_saves_more_of_many_trials_than_of_few() -> None:
    few, some, many = share(8), share(30), share(200)
    assert 1.0 > few > some > many
    # A quarter for all, half more for a third, the last quarter for a ninth, and what is let
    # through before a rung has seen enough trials to judge.
    assert 0.25 + 0.5 / 3 + 0.25 / 9 < many < 0.5


def test_the_time_of_a_trial_that_is_judged_on_its_way_is_that_of_its_epochs() -> None:
    search = SearchConfig(trials=30, grace_share=0.25, reduction_factor=3)
    found = run([TrialCost(epochs=12, epoch_seconds=2.0)] * 30, search, slots=1)
    assert found.trained_share < 1.0
    assert found.seconds == pytest.approx(found.trained_share * 30 * 12 * 2.0 + 30 * 0.5)
