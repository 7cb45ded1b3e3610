"""Schedulers on planted curves, against what can be counted by hand."""

import math
from collections.abc import Sequence

import pytest

from study.results.scheduling.curves import Curve
from study.results.scheduling.rules import Rule, outcome
from study.results.scheduling.schedulers import PromotingScheduler, Scheduler
from study.results.scheduling.simulation import Slots, play
from tests.results.scheduling.planted import flat, planted

WORST_FIRST = flat([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], epochs=10)
BEST_FIRST = flat([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], epochs=10)
RUNGS = "grace=0.1,eta=3"
"""Rungs after epochs 1, 3 and 9 of 10."""


def trained(rule: str, curves: Sequence[Curve]) -> tuple[int, ...]:
    return Rule.parse(rule).play(curves, slots=1).trained


def test_promotion_spares_the_first_trials_that_stopping_runs_whole() -> None:
    # Stopping lets each of these pass: it is the best that its rungs have seen.
    assert trained(f"asha:{RUNGS}", WORST_FIRST) == (10,) * 9
    # Promotion waits for three at a rung. Here every later trial is the best of all, and goes on.
    found = trained(f"promote:{RUNGS},finish=0", WORST_FIRST)
    assert found == (1, 1, 3, 3, 9, 9, 10, 10, 10)
    assert trained(f"promote:{RUNGS},finish=0", BEST_FIRST) == (9, 3, 3, 1, 1, 1, 1, 1, 1)


def test_the_best_paused_trial_goes_on_to_its_end_once_all_others_wait() -> None:
    few = flat([0.3, 0.1, 0.2, 0.4], epochs=10)

    def make(finish: int) -> Scheduler:
        return PromotingScheduler([50.0], 5, finish=finish)

    assert play(few, lambda: make(0), Slots(2)).trained == (5, 5, 5, 5)
    assert play(few, lambda: make(2), Slots(2)).trained == (5, 10, 10, 5)
    # It passes every rung on its way.
    assert play(few, lambda: PromotingScheduler([20, 50], 5), Slots(2)).trained == (2, 10, 2, 2)
    # The first has paused for long when the second, which is better, reaches the rung.
    slow = planted([0.1] * 10, 1, epoch_seconds=(3.0,) * 10)
    assert play([few[0], slow], lambda: make(1), Slots(2)).trained == (5, 10)


def test_of_two_that_may_be_promoted_the_one_at_the_later_rung_goes_on() -> None:
    scheduler = PromotingScheduler([25, 50], 2)
    for number in range(4):
        scheduler.report(number, 25, 0.1 * number, has_ended=False)
    for number in range(2):
        assert scheduler.next_paused(is_idle=False) == number
        scheduler.resume(number)
        scheduler.report(number, 50, 0.1 * number, has_ended=False)
    scheduler.report(4, 25, -0.1, has_ended=False)
    assert scheduler.next_paused(is_idle=False) == 0
    scheduler.resume(0)
    assert scheduler.next_paused(is_idle=False) == 4


def test_a_trial_that_returns_to_a_slot_pays_for_its_begin_and_one_that_stays_does_not() -> None:
    # Trial 0 waits for two others and begins twice; of the last rung it goes on where it is.
    three = flat([0.1, 0.2, 0.3], epochs=10)
    found = play(three, lambda: PromotingScheduler([10.0], 3, finish=0), Slots(1))
    assert found.trained == (10, 1, 1)
    assert found.seconds == pytest.approx(12 + 4 * 0.5)
    stays = play(three[:1], lambda: PromotingScheduler([10.0], 1, finish=0), Slots(1))
    assert stays.seconds == pytest.approx(10 + 0.5)


def test_a_free_slot_prefers_a_promoted_trial_to_a_new_one() -> None:
    four = flat([0.2, 0.3, 0.1, 0.4], epochs=4)
    found = play(four, lambda: PromotingScheduler([25.0], 2, finish=0), Slots(2))
    # Trial 0 waits while trial 2 takes its slot; trial 1 reaches the rung at once after it, and
    # trial 0 goes on in that slot, which is free for trial 3 at 5.0 s.
    assert found.trained == (4, 1, 4, 1)
    assert found.seconds == pytest.approx(1.5 + (0.5 + 3) + (0.5 + 1))


def test_pasha_grows_only_where_ranks_change() -> None:
    # Epochs 1, 3 and 9 of 10, and the end.
    rule = f"pasha:{RUNGS},tolerance=0,finish=0"
    assert max(trained(rule, BEST_FIRST)) == 3
    levels = [c.losses[0] for c in BEST_FIRST]
    # From the third epoch on the ranks of the first three are turned around.
    crossing = [
        planted([level] * 2 + [level - 0.05 * (9 - n if n > 2 else 2 * n)] * 8, n)
        for n, level in enumerate(levels)
    ]
    assert max(trained(rule, crossing)) == 9
    # They differ by no more than this at the first rung.
    assert max(trained(rule.replace("tolerance=0", "tolerance=0.25"), crossing)) == 3


def test_cheap_ones_of_the_first_begin_first() -> None:
    # The third has the longest epochs, and so few that it is cheaper than the second.
    costs, epochs = (math.nan, 1.0, 1.5, 0.5), (4, 4, 2, 4)
    curves = [
        planted([0.1 * number] * n, number, epoch_cost=cost)
        for number, (cost, n) in enumerate(zip(costs, epochs, strict=True))
    ]
    assert [c.number for c in Rule.parse("fifo:cheap=3").order(curves)] == [2, 1, 0, 3]


def test_what_is_lost_is_told_of_the_stopped_winner_and_of_its_whole_curve() -> None:
    late = planted([0.5, 0.4, 0.3, 0.1], 0, fresh_loss=0.2)
    early = planted([0.3, 0.25, 0.25, 0.22], 1, fresh_loss=0.3)
    found = outcome(Rule.parse("fifo:patience=1,gain=0.2"), [late, early], slots=2)
    # Late gains too little in its second epoch.
    assert (found.winner, found.n_epochs) == (1, 4)
    assert found.lost == pytest.approx(0.25 - 0.1)
    assert found.lost_whole == pytest.approx(0.22 - 0.1)
    assert found.lost_fresh == pytest.approx(0.1)
    collapsed = planted([0.2] * 4, 2, is_collapsed=(True,) * 4)
    assert outcome(Rule.parse("fifo"), [collapsed, early], slots=1).winner == 1
    assert outcome(Rule.parse("fifo"), [collapsed], slots=1).winner is None
