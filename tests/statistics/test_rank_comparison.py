import numpy as np
import pytest
from scipy.stats import t as student

from study.statistics.block_length import block_days
from study.statistics.mean_error import standard_error
from study.statistics.rank_comparison import compare_days


def test_a_difference_is_paired_and_stands_with_its_interval() -> None:
    draw = np.random.default_rng(0)
    weather, own = draw.normal(0, 1.0, 520), draw.normal(0.05, 0.1, 520)
    found = compare_days(weather + own, weather, block=20)
    # What both have in common is in neither the value nor the error.
    assert found.value == pytest.approx(own.mean())
    assert found.se == pytest.approx(standard_error(own, 20))
    assert found.se is not None
    reach = float(student(520 / 20 - 1).ppf(0.975)) * found.se
    assert found.high == pytest.approx(found.value + reach)
    assert found.low == pytest.approx(found.value - reach)
    assert (found.is_better, found.claim) == (True, "better")


def test_a_difference_is_called_by_its_interval_alone() -> None:
    noise = np.random.default_rng(1).normal(0, 1.0, 520)
    noise -= noise.mean()
    error = standard_error(noise, 20) or 0
    for shift, claim in ((1.9, "not told apart"), (2.2, "better"), (-2.2, "worse")):
        found = compare_days(noise + shift * error, np.zeros(520), block=20)
        assert found.claim == claim
        assert (found.is_better, found.is_worse) == (claim == "better", claim == "worse")


def test_few_days_and_equal_models_are_not_told_apart() -> None:
    few = compare_days(np.ones(39), np.zeros(39), block=20)
    assert (few.value, few.se, few.low, few.high) == (1.0, None, None, None)
    assert few.claim == "not told apart"
    same = np.random.default_rng(2).normal(size=500)
    assert compare_days(same, same, block=20).claim == "not told apart"


@pytest.mark.parametrize("horizon", [1, 5])
def test_nineteen_of_twenty_intervals_hold_the_truth(horizon: int) -> None:
    draw = np.random.default_rng(horizon)
    hits = 0
    for _ in range(1000):
        sums = np.cumsum(np.concatenate(([0.0], draw.normal(size=520 + horizon - 1))))
        overlapping = sums[horizon:] - sums[:-horizon]
        found = compare_days(overlapping, np.zeros(520), block=block_days(horizon))
        hits += not found.excludes_zero
    # .942 and .947 of 2,000 at 520 days; intervals of a normal distribution hold .929 to .934.
    assert 0.936 <= hits / 1000 <= 0.965
