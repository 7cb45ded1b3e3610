import numpy as np
import pytest

from study.data.features.a200_states import permutation_entropy
from study.data.features.rolling import (
    crossed,
    days_since,
    over_windows,
    percentile_below,
    position_in_range,
    ratio,
    run_length,
    trailing_sd,
)

NAN = np.nan


def test_a_window_with_nan_has_no_value() -> None:
    values = np.array([NAN, 1.0, 2.0, 4.0, 8.0])
    sums = over_windows(values, 2, lambda windows: windows.sum(axis=1))
    np.testing.assert_array_equal(sums, [NAN, NAN, 3.0, 6.0, 12.0])
    assert np.isnan(over_windows(values, 6, lambda windows: windows.sum(axis=1))).all()


def test_only_values_strictly_below_count() -> None:
    values = np.array([1.0, 2.0, 2.0, 2.0, 0.0])
    np.testing.assert_array_equal(percentile_below(values, 3), [NAN, NAN, 50.0, 0.0, 0.0])


def test_equal_values_have_no_spread_and_are_in_the_middle() -> None:
    values = np.full(9, 0.1)
    assert trailing_sd(values, 3)[-1] == 0.0
    assert position_in_range(values, 3)[-1] == 0.5
    np.testing.assert_array_equal(ratio(np.array([1.0, 1.0]), np.array([0.0, 4.0])), [0, 0.25])


def test_days_since_an_event_are_capped() -> None:
    event = np.array([False, True, False, False, False, True])
    np.testing.assert_array_equal(days_since(event, 2), [2, 0, 1, 2, 2, 0])


def test_runs_have_the_sign_of_their_state() -> None:
    state = np.array([NAN, 1.0, 2.0, 3.0, -1.0, -1.0, 0.0, 5.0])
    np.testing.assert_array_equal(run_length(state, 2), [0, 1, 2, 2, -1, -2, 0, 1])


def test_the_first_known_sign_is_no_crossing() -> None:
    difference = np.array([NAN, 1.0, 1.0, -1.0, 0.0, 2.0])
    np.testing.assert_array_equal(crossed(difference), [False, False, False, True, False, True])


def test_entropy_of_planted_orders() -> None:
    rising = np.arange(40.0)
    assert permutation_entropy(rising, 3, 20)[-1] == 0.0
    # 0 1 0 1 ...: up-down and down-up in turn, one bit of the log2(6) of three values.
    turns = np.tile([0.0, 1.0], 30)
    assert permutation_entropy(turns, 3, 20)[-1] == pytest.approx(np.log(2) / np.log(6))
    noise = np.random.default_rng(0).normal(size=5000)
    assert permutation_entropy(noise, 3, 4000)[-1] == pytest.approx(1, abs=0.001)
    assert int(np.argmax(np.isfinite(permutation_entropy(noise, 3, 20)))) + 1 == 22
