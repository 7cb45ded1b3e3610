"""The lines on the best trial of a search: what leads, and what is said to be missing."""

import dataclasses

import pytest

from study.results.records import TrialRecord
from study.terminal.overview import best_lines
from tests.results.conftest import record
from tests.results.reports import OF_HEADS, panel_best


def of_panel(rank_ic: float) -> TrialRecord:
    return dataclasses.replace(record(4), best=panel_best(rank_ic), objective=1 - rank_ic)


def test_the_best_is_led_by_its_skill_on_its_own_days_and_fresh_seeds_are_asked_for() -> None:
    best = record(4, skill=0.139, skill_own_base_rate=0.111)
    text = " ".join(
        best_lines([best], best, metric="log_loss", baseline_name="logistic", n_blocks=20)
    )
    assert "skill +0.111 against the base rate of these days" in text
    # The constant at the training base rate is beaten by networks that have learnt nothing.
    assert "0.139" not in text
    assert "study.train adds the value with fresh seeds, which is the one to report" in text


def test_the_best_of_a_panel_is_led_by_its_rank_ic_and_says_what_it_earns() -> None:
    best = of_panel(0.05)
    lines = best_lines([best], best, metric="rank_ic", baseline_name="ridge", n_blocks=20)
    assert lines[0] == (
        "best        RankIC +0.0500 +- 0.0200 on the validation days (trial 4, epoch 1), "
        "IC +0.0300 +- 0.0200"
    )
    assert "Sharpe +0.60 a year before costs, +0.10 after; 80% of it is traded a day" in lines[1]
    # A positive difference is one in which the trial ranks better than the baseline.
    assert lines[2:5] == [
        "verdict     RankIC +0.0100 +- 0.0100 against ridge: not told apart",
        "            RankIC +0.0300 +- 0.0100 against boosting: better",
        "            (by 95 % intervals; the best of 1, chosen on these days, is optimistic)",
    ]
    of_heads = dataclasses.replace(best, best=panel_best(0.05, **OF_HEADS))
    more = best_lines([best], of_heads, metric="rank_ic", baseline_name="ridge", n_blocks=20)
    assert more[2] == "            other heads: RankIC 1 d +0.0110 +- 0.0040, 20 d +0.0300"
    assert [*more[:2], *more[3:]] == lines


@pytest.mark.parametrize(
    ("n_blocks", "claim"),
    [
        (20, "better"),
        # With as few blocks the same error leaves zero inside: t is 3.18 for three degrees.
        (4, "not told apart"),
    ],
)
def test_a_panels_best_is_called_better_where_its_interval_excludes_zero(
    n_blocks: float, claim: str
) -> None:
    scores = panel_best(0.05, difference=-0.03, boosting_difference=0.03)
    best = dataclasses.replace(record(4), best=scores, objective=0.95)
    lines = best_lines([best], best, metric="rank_ic", baseline_name="ridge", n_blocks=n_blocks)
    assert lines[2].endswith(f"against ridge: {claim}")
    assert lines[3].endswith(f"against boosting: {'worse' if claim == 'better' else claim}")


def test_a_panels_record_without_boosting_is_compared_with_ridge_alone() -> None:
    scores = panel_best(0.05, boosting_difference=None, boosting_difference_se=None)
    best = dataclasses.replace(record(4), best=scores, objective=0.95)
    text = " ".join(best_lines([best], best, metric="rank_ic", baseline_name="ridge", n_blocks=20))
    assert "against ridge: not told apart" in text
    assert "boosting" not in text


@pytest.mark.parametrize(
    ("metric", "line"),
    [
        ("ic", "scored by   IC +0.0300 +- 0.0200: the highest of all"),
        ("sharpe", "scored by   Sharpe +0.6000 +- 0.4000 a year before costs: the highest of all"),
        ("loss", "scored by   loss 0.9000 +- 0.0200: the lowest of all"),
    ],
)
def test_a_panel_that_was_scored_by_something_else_says_by_what(metric: str, line: str) -> None:
    best = of_panel(0.05)
    first, second, *_ = best_lines([best], best, metric=metric, baseline_name="ridge", n_blocks=20)
    assert first == line
    assert second.startswith("best        RankIC")


def test_a_panel_without_a_usable_trial_speaks_of_ranks_and_of_no_base_rate() -> None:
    collapsed = dataclasses.replace(of_panel(0.0), reason="collapsed")
    assert best_lines([collapsed], None, metric="rank_ic", baseline_name="ridge", n_blocks=20) == [
        "best        none: no trial learnt to rank the assets of a day; a collapsed one has RankIC "
        "+0.0000"
    ]
