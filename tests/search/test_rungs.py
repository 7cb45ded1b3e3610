from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from study.results.scheduling.rungs import rung_epochs
from study.search.rungs import Rungs, milestones, uses_asha
from study.spec.search_config import SearchConfig

SEARCH = SearchConfig(trials=20, grace_share=0.25, reduction_factor=3)


def is_cut(found: Rungs, number: int, percent: int, loss: float) -> bool:
    return found.is_cut(number, percent, loss, has_ended=False)


def test_trials_are_compared_at_equal_share_of_their_schedule() -> None:
    good, worse, better, long = 0, 1, 2, 3
    found = Rungs(SEARCH)
    assert not is_cut(found, long, 20, 0.9)
    assert not is_cut(found, good, 26, 0.4)
    assert is_cut(found, worse, 25, 0.5)
    assert not is_cut(found, better, 27, 0.3)
    assert not is_cut(found, good, 75, 0.35)
    assert is_cut(found, better, 80, 0.36)
    assert found.recorded() == [(75, {0: 0.35, 2: 0.36}), (25, {0: 0.4, 1: 0.5, 2: 0.3})]


def test_a_trial_that_ended_by_itself_is_recorded_and_not_cut() -> None:
    found = Rungs(SEARCH)
    assert not is_cut(found, 0, 25, 0.4)
    assert not found.is_cut(1, 25, 0.9, has_ended=True)
    assert found.recorded()[-1] == (25, {0: 0.4, 1: 0.9})


@pytest.mark.parametrize(
    ("search", "is_used"),
    [
        (SearchConfig(trials=5, reduction_factor=3), False),
        (SearchConfig(trials=6, reduction_factor=3), True),
        (SearchConfig(trials=50, scheduler="fifo"), False),
    ],
)
def test_a_search_too_small_for_rungs_runs_without(search: SearchConfig, is_used: bool) -> None:
    assert uses_asha(search) is is_used
    found = Rungs(search)
    cut = [is_cut(found, number, 100, 0.1 + 0.1 * number) for number in range(20)]
    assert any(cut) is is_used
    assert bool(found.recorded()) is is_used


@given(
    grace=st.floats(0.01, 1.0),
    reduction=st.floats(1.1, 5.0),
    epochs=st.integers(1, 120),
)
def test_the_epochs_that_a_rung_may_end_are_known_beforehand(
    grace: float, reduction: float, epochs: int
) -> None:
    search = SearchConfig(trials=20, grace_share=grace, reduction_factor=reduction)
    found = Rungs(search)
    decided = set()
    for epoch in range(1, epochs + 1):
        before = found.recorded()
        found.is_cut(0, 100 * epoch // epochs, 0.5, has_ended=epoch == epochs)
        if found.recorded() != before:
            decided.add(epoch)
    assert rung_epochs(milestones(search), epochs) == decided
    assert rung_epochs((), epochs) == set()


class Library:
    """Ray's ASHA, called as Ray calls it, by the ids of Ray's trials."""

    def __init__(self, search: SearchConfig) -> None:
        self.asha = ASHAScheduler(
            time_attr="percent", metric="loss", mode="min", max_t=100,
            grace_period=round(100 * search.grace_share),
            reduction_factor=search.reduction_factor,
        )  # fmt: skip

    def add(self, name: str) -> None:
        self.asha.on_trial_add(None, self._trial(name))

    def is_cut(self, name: str, percent: int, loss: float, *, has_ended: bool) -> bool:
        result = {"percent": percent, "loss": loss}
        if has_ended:
            self.asha.on_trial_complete(None, self._trial(name), result)
            return False
        decision = self.asha.on_trial_result(None, self._trial(name), result)
        return bool(decision == TrialScheduler.STOP)

    def recorded(self) -> list[list[float]]:
        (bracket,) = self.asha._brackets
        return [sorted(-reward for reward in losses.values()) for _, losses in bracket._rungs]

    @staticmethod
    def _trial(name: str) -> Any:
        return SimpleNamespace(trial_id=name)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    # Some losses are drawn from a few values, so that ties occur.
    losses=st.lists(
        st.tuples(
            st.integers(0, 7),
            st.sampled_from([0.1, 0.3, 0.1 + 0.2, 0.7]) | st.floats(1e-300, 1e300),
        ),
        max_size=60,
    ),
    restarts=st.sets(st.integers(0, 60)),
    epochs=st.lists(st.integers(1, 12), min_size=8, max_size=8),
    eta=st.sampled_from([2.0, 3.0, 4.0]) | st.floats(1.5, 5.0),
    grace=st.sampled_from([0.1, 0.25, 0.5]) | st.floats(0.01, 0.99),
)
def test_rebuilt_rungs_decide_like_a_library_that_was_never_stopped(
    losses: list[tuple[int, float]],
    restarts: set[int],
    epochs: list[int],
    eta: float,
    grace: float,
) -> None:
    search = SearchConfig(trials=20, grace_share=grace, reduction_factor=eta)
    library, found = Library(search), Rungs(search)
    calls: list[tuple[int, int, float, bool]] = []
    trained, over = dict.fromkeys(range(8), 0), set[int]()
    for step, (number, loss) in enumerate(losses):
        if step in restarts:
            found = Rungs(search)
            for call in calls:
                found.is_cut(*call[:3], has_ended=call[3])
        if number in over:
            continue
        if not trained[number]:
            library.add(f"ray-{number}")
        trained[number] += 1
        percent = 100 * trained[number] // epochs[number]
        has_ended = trained[number] == epochs[number]
        calls.append((number, percent, loss, has_ended))
        decided = library.is_cut(f"ray-{number}", percent, loss, has_ended=has_ended)
        assert found.is_cut(number, percent, loss, has_ended=has_ended) == decided
        if decided or has_ended:
            over.add(number)
    assert [sorted(each.values()) for _, each in found.recorded()] == library.recorded()


def test_a_half_grown_trial_does_not_stop_every_new_one() -> None:
    def filled(*, from_percent: int) -> Rungs:
        found = Rungs(SEARCH)
        for percent in range(from_percent, 86, 5):
            assert not is_cut(found, 0, percent, (200 - percent) / 256)
        return found

    # After a restore Ray's rungs are empty and fill with losses of late epochs.
    empty = filled(from_percent=80)
    assert empty.recorded() == [(75, {0: 120 / 256}), (25, {0: 115 / 256})]
    assert [is_cut(empty, 1, 25, 0.5), is_cut(empty, 2, 25, 0.49)] == [True, True]
    rebuilt = filled(from_percent=5)
    assert rebuilt.recorded() == [(75, {0: 125 / 256}), (25, {0: 175 / 256})]
    assert [is_cut(rebuilt, 1, 25, 0.5), is_cut(rebuilt, 2, 25, 0.49)] == [False, False]
