"""The trend over size: every search is one observation, and chance is called chance."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import linregress
from scipy.stats import t as student

from analysis.answers.law_answer import components_sentence
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate
from analysis.statistics.run_resampling import Runs
from analysis.statistics.trend import permutation_p, steps, trend_of
from analysis.statistics.winner_noise import Components

SIZES = np.geomspace(2e4, 2e6, 5)


def runs_of(
    means: Floats, spread: float = 0.0, *, n_seeds: int = 5, n_searches: int = 1, seed: int = 0
) -> Runs:
    """Return the runs of winners, shape (n_budgets * n_searches,) of their mean losses."""
    n_budgets = len(means) // n_searches
    unit = np.repeat(np.arange(len(means)), n_seeds)
    moves = spread * np.random.default_rng(seed).standard_normal((len(means), n_seeds))
    moves -= moves.mean(axis=1, keepdims=True)
    sizes = np.geomspace(2e4, 2e6, n_budgets)[unit // n_searches]
    return Runs(
        names=("n",),
        sizes=sizes[:, None],
        losses=means[unit] + moves.ravel(),
        search=unit % n_searches,
    )


def test_the_interval_is_that_of_a_line_through_the_means_of_budgets() -> None:
    means = np.array([0.41, 0.40, 0.42, 0.39, 0.40])
    runs = runs_of(means)
    found = trend_of(runs).slope
    line = linregress(np.log(SIZES), np.log(means))
    assert found.value == pytest.approx(line.slope)
    assert found.se == pytest.approx(line.stderr)
    assert found.high is not None
    assert found.high - found.value == pytest.approx(student.ppf(0.975, 3) * line.stderr, rel=1e-3)
    # More seeds of the same winners say no more of other searches.
    assert trend_of(runs_of(means, n_seeds=50)).slope.se == pytest.approx(found.se)


@pytest.mark.parametrize(("n", "least"), [(3, 1 / 6), (4, 1 / 24), (5, 1 / 120)])
def test_no_permutation_is_rarer_than_one_order(n: int, least: float) -> None:
    sizes = np.array([1e3, 1e4, 3e5, 1e7, 1e8])[:n]
    assert permutation_p(sizes, -np.log(sizes)) == pytest.approx(least)
    even = np.geomspace(1, 100, n)
    # Of evenly spaced sizes the mirror image is as steep.
    assert permutation_p(even, -np.log(even)) == pytest.approx(2 * least)


@pytest.mark.parametrize("n", [3, 5, 12])
def test_equal_losses_have_a_p_of_one(n: int) -> None:
    sizes = np.geomspace(1e3, 1e8, n)
    assert permutation_p(sizes, np.log(np.full(n, 0.1 + 0.2))) == 1
    trend = trend_of(Runs(names=("n",), sizes=sizes[:, None], losses=np.full(n, 0.1 + 0.2)))
    assert trend.p == 1
    assert trend.slope.low is None
    assert not trend.is_told


def test_four_sizes_claim_nothing_and_five_do() -> None:
    means = 0.4 - 0.01 * np.arange(5) + np.array([0, 1e-4, 0, -1e-4, 0])
    assert trend_of(runs_of(means)).is_told
    four = trend_of(runs_of(means[:4]))
    assert four.slope.high is not None
    assert four.slope.high < 0
    assert not four.is_told
    # Two searches of each of four budgets are still four sizes.
    assert not trend_of(runs_of(np.repeat(means[:4], 2), n_searches=2)).is_told


def test_one_order_in_twenty_is_not_below_one_in_twenty() -> None:
    found = trend_of(runs_of(0.4 - 0.01 * np.arange(5) + np.array([0, 1e-4, 0, -1e-4, 0])))
    assert dataclasses.replace(found, p=5 / 120).is_told
    # In floats 1 - .95 is a little more than .05.
    assert not dataclasses.replace(found, p=6 / 120).is_told


def test_a_budget_with_one_run_weighs_as_much_as_its_run_is_worth() -> None:
    means = np.array([0.40, 0.40, 0.40, 0.40, 0.46])
    whole = runs_of(means, 0.02)
    once = whole.without(np.arange(21, 25))
    # The outlier at the end is one noisy run, no mean of five: it leads the slope less.
    assert abs(trend_of(once).slope.value) < abs(trend_of(whole).slope.value)
    assert trend_of(once).slope.low is not None


def test_days_that_tell_small_from_large_widen_the_interval() -> None:
    draw = np.random.default_rng(0)
    means = np.array([0.401, 0.399, 0.401, 0.399, 0.400])
    moves = draw.normal(0, 0.02, (500, 1))
    plain = runs_of(means)
    budget = np.repeat(np.linspace(-1, 1, 5), 5)

    def on_days(factor: Floats) -> float:
        runs = Runs(
            names=("n",), sizes=plain.sizes, losses=plain.losses,
            resampled=plain.losses * np.exp(moves * factor),
        )  # fmt: skip
        se = trend_of(runs).slope.se
        assert se is not None
        return se

    # What moves all sizes alike moves no slope.
    assert on_days(np.ones(25)) == pytest.approx(trend_of(plain).slope.se)
    assert on_days(budget) == pytest.approx(0.02 / np.log(100) * 2, rel=0.1)


def test_a_deviation_that_other_noise_explains_whole_is_not_said_to_be_zero() -> None:
    none = Estimate(value=0.0, low=0.0, high=0.0, se=0.0)
    some = Estimate(value=0.001, low=0.0, high=0.002, se=0.0005)
    said = components_sentence(Components(days=some, seeds=none, winners=none))
    assert "seeds none beyond days; winners none beyond seeds and days (of" in said
    said = components_sentence(Components(days=some, seeds=some, winners=some))
    assert said.count("0.0010 [0.0000, 0.0020]") == 3


def test_components_are_what_is_planted() -> None:
    draw = np.random.default_rng(1)
    n = 200
    means = 0.4 + 0.003 * draw.standard_normal(n)
    runs = runs_of(means, 0.002, n_searches=2)
    found = trend_of(runs).components
    assert found.days is None
    assert found.seeds is not None
    assert found.seeds.value == pytest.approx(0.002, rel=0.1)
    assert found.winners is not None
    assert found.winners.value == pytest.approx(0.003, rel=0.2)
    assert found.winners.low is not None
    assert found.winners.high is not None
    assert found.winners.low < 0.003 < found.winners.high
    assert trend_of(runs_of(means[:5], 0.002)).components.winners is None
    assert trend_of(runs_of(means[:5], n_seeds=1)).components.seeds is None


def test_a_step_between_budgets_holds_what_another_search_would_change() -> None:
    (first, *_) = steps(runs_of(np.array([0.41, 0.40, 0.42, 0.39, 0.40])))
    assert first.value == pytest.approx(-0.01)
    assert first.low is not None
    assert first.high is not None
    assert first.low < 0 < first.high
    # Three searches in all show no scatter beside a line and a step.
    step, _ = steps(runs_of(np.array([0.41, 0.40, 0.42])))
    assert step.value == pytest.approx(-0.01)
    assert step.low is None
