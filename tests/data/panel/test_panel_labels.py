from statistics import NormalDist
from typing import Any, get_args

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from study.data.arrays import SampleArray
from study.data.data_config import Target
from study.data.panel.panel_labels import (
    labelled_returns,
    make_targets,
    market_volatility,
    relative_volatility,
    returns_ahead,
)

NAN = np.nan


def floats(values: list[Any]) -> SampleArray:
    return np.array(values, dtype=np.float32)


def test_returns_reach_over_the_days_of_the_calendar_and_end_with_the_asset() -> None:
    close = np.array([[1.0, 4.0], [2.0, 5.0], [NAN, 6.0], [4.0, NAN], [8.0, NAN]])
    np.testing.assert_array_equal(
        returns_ahead(close, 2), floats([[NAN, 0.5], [1, NAN], [NAN] * 2, [NAN] * 2, [NAN] * 2])
    )
    np.testing.assert_array_equal(returns_ahead(close, 1)[:, 0], floats([1, NAN, NAN, 1, NAN]))
    assert np.isnan(returns_ahead(close, 5)).all()
    assert np.isnan(returns_ahead(close, 9)).all()


def test_days_that_cannot_be_ranked_have_no_labels() -> None:
    returns = floats(
        [
            [0.1, 0.2, 0.3, 0.4],
            [0.1, NAN, 0.3, 0.4],  # one is not ranked, one is unknown: two are left
            [0.1, 0.1, 0.1, 0.9],  # those that are ranked earn the same
            [0.1, 0.1, 0.2, 0.9],
            [NAN] * 4,
        ]
    )
    present = np.array([[True, True, True, False]] * 5)
    found = labelled_returns(returns, present)
    np.testing.assert_array_equal(np.isfinite(found).sum(axis=1), [3, 0, 0, 3, 0])
    np.testing.assert_array_equal(found[[0, 3], :3], returns[[0, 3], :3])


RETURNS = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(3, 9)),
    # Few values, so that ties are common.
    elements=st.sampled_from([-0.5, -0.02, -0.01, 0.0, 0.01, 0.02, 0.03, 4.0, NAN]),
)


def target_by_hand(earned: list[float], target: Target) -> list[float]:
    """Return the target of the labelled assets of one day."""
    n = len(earned)
    if target == "rank":
        return [NormalDist().inv_cdf((rank - 0.5) / n) for rank in rankdata(earned)]
    if target == "winsorized":
        median = (
            sorted(earned)[n // 2] if n % 2 else sum(sorted(earned)[n // 2 - 1 : n // 2 + 1]) / 2
        )
        deviation = float(np.median([abs(each - median) for each in earned]))
        if deviation > 0:
            reach = 3 * 1.4826 * deviation
            earned = [min(max(each, median - reach), median + reach) for each in earned]
    mean = sum(earned) / n
    sd = (sum((each - mean) ** 2 for each in earned) / n) ** 0.5
    return [(each - mean) / sd for each in earned]


@pytest.mark.parametrize("target", get_args(Target))
@settings(deadline=None, max_examples=40)
@given(values=RETURNS)
def test_targets_are_those_of_a_loop_over_days(target: Target, values: SampleArray) -> None:
    returns = labelled_returns(values, np.ones(values.shape, dtype=np.bool_))
    found = make_targets(returns, target)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), np.isnan(returns))
    for day, earned in zip(found, returns, strict=True):
        known = np.isfinite(earned)
        if known.any():
            by_hand = target_by_hand(earned[known].astype(float).tolist(), target)
            np.testing.assert_allclose(day[known], by_hand, rtol=1e-5, atol=1e-6)


def test_targets_of_many_days_are_those_of_each_by_itself() -> None:
    returns = np.random.default_rng(0).normal(size=(600, 5)).astype(np.float32)
    returns[::7] = NAN
    for target in get_args(Target):
        whole = make_targets(returns, target)
        for day in (1, 255, 256, 300, 599):
            np.testing.assert_array_equal(
                whole[day], make_targets(returns[day : day + 1], target)[0]
            )


def test_an_outlier_is_cut_to_three_robust_standard_deviations() -> None:
    returns = floats([[-0.02, -0.01, 0.0, 0.01, 9.0]])
    cut = floats([[-0.02, -0.01, 0.0, 0.01, 3 * 1.4826 * 0.01]])
    np.testing.assert_allclose(
        make_targets(returns, "winsorized"), make_targets(cut, "z"), rtol=1e-5
    )


def test_volatility_is_the_mean_move_of_the_market_over_the_last_twenty_days() -> None:
    rng = np.random.default_rng(1)
    close = np.exp(np.cumsum(rng.normal(0, 0.01, (60, 3)), axis=0))
    close[30:, 1] = NAN
    found = market_volatility(close)
    assert np.isnan(found[:20]).all()
    change = close[1:] / close[:-1] - 1
    for day in (20, 35, 59):
        market = [abs(np.nanmean(change[each - 1])) for each in range(day - 19, day + 1)]
        assert found[day] == pytest.approx(np.mean(market))
    later = close.copy()
    later[41:] *= 3
    np.testing.assert_array_equal(market_volatility(later)[:41], found[:41])
    assert np.isnan(market_volatility(close[:20])).all()


def test_volatility_is_relative_to_the_training_days_and_one_where_it_is_unknown() -> None:
    volatility = np.array([NAN, 1.0, 2.0, 4.0, 9.0])
    found = relative_volatility(volatility, np.array([0, 1, 2, 3]))
    np.testing.assert_array_equal(found, floats([1, 0.5, 1, 2, 4.5]))
    assert (relative_volatility(volatility, np.array([0])) == 1).all()
    assert (relative_volatility(np.zeros(3), np.arange(3)) == 1).all()
