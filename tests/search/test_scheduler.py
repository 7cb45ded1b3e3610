import pickle
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from study.search.scheduler import RungKeeper, build_scheduler
from study.search.searcher import METRIC, PROGRESS
from study.spec import SearchConfig

SEARCH = SearchConfig(trials=20, grace_share=0.25, reduction_factor=3)


def decide(scheduler: TrialScheduler, trial_id: str, percent: int, loss: float | None) -> str:
    trial: Any = SimpleNamespace(trial_id=trial_id)
    if trial_id not in scheduler._trial_info:
        scheduler.on_trial_add(None, trial)
    result = {PROGRESS: percent} if loss is None else {PROGRESS: percent, METRIC: loss}
    decision: str = scheduler.on_trial_result(None, trial, result)
    return decision


def test_trials_are_compared_at_equal_share_of_their_schedule() -> None:
    scheduler = build_scheduler(SEARCH)
    assert decide(scheduler, "long", 20, 0.9) == TrialScheduler.CONTINUE
    assert decide(scheduler, "good", 26, 0.4) == TrialScheduler.CONTINUE
    assert decide(scheduler, "worse", 25, 0.5) == TrialScheduler.STOP
    assert decide(scheduler, "better", 27, 0.3) == TrialScheduler.CONTINUE
    assert decide(scheduler, "good", 75, 0.35) == TrialScheduler.CONTINUE
    assert decide(scheduler, "better", 80, 0.36) == TrialScheduler.STOP


def test_a_trial_without_a_value_is_not_compared() -> None:
    scheduler = build_scheduler(SEARCH)
    assert decide(scheduler, "good", 26, 0.4) == TrialScheduler.CONTINUE
    assert decide(scheduler, "diverged", 40, None) == TrialScheduler.CONTINUE
    assert [len(rung) for _, rung in scheduler._brackets[0]._rungs] == [0, 1]


@pytest.mark.parametrize(
    "search",
    [SearchConfig(trials=5, reduction_factor=3), SearchConfig(trials=50, scheduler="fifo")],
)
def test_a_search_too_small_for_rungs_runs_without(search: SearchConfig) -> None:
    assert type(build_scheduler(search)) is FIFOScheduler
    assert RungKeeper(build_scheduler(search)).get_state() is None


def test_rungs_survive_a_restore() -> None:
    scheduler = build_scheduler(SEARCH)
    # Ray pickles both before the first trial, and restores from that file.
    keeper = RungKeeper(scheduler)
    file = pickle.dumps((scheduler, keeper))
    decide(scheduler, "good", 26, 0.4)
    state = pickle.loads(pickle.dumps(keeper.get_state()))

    restored, restored_keeper = pickle.loads(file)
    assert isinstance(restored, ASHAScheduler)
    restored_keeper.set_state(state)
    for each in (scheduler, restored):
        # First, before anything else could refill an empty rung.
        assert decide(each, "worse", 25, 0.5) == TrialScheduler.STOP
        assert decide(each, "good", 40, 0.35) == TrialScheduler.CONTINUE
        assert decide(each, "better", 25, 0.3) == TrialScheduler.CONTINUE
