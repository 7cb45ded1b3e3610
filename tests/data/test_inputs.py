import numpy as np
import pandas as pd
import pytest

from study.data.features import build_features
from study.data.inputs import fit_scaler, make_inputs, measure_shift, scale_inputs
from study.data.prices import Prices
from study.errors import DataError


def test_every_normalization_keeps_rows_columns_and_order(sp500: Prices) -> None:
    features = build_features(sp500)
    relative, levels = make_inputs(features, "relative"), make_inputs(features, "zscore")
    assert list(relative.columns) == list(levels.columns) == list(features.columns)
    assert relative.index.equals(levels.index)
    np.testing.assert_array_equal(levels, features.iloc[20:])


def test_some_relative_inputs_by_hand(sp500: Prices) -> None:
    bars, day = sp500.frame, pd.Timestamp("2008-10-10")
    inputs = make_inputs(build_features(sp500), "relative").loc[day]
    at = bars.index.get_loc(day)
    assert isinstance(at, int)
    today, yesterday = bars.iloc[at], bars.iloc[at - 1]
    assert inputs["Open"] == pytest.approx(np.log(today.Open / today.Close))
    assert inputs["Close"] == pytest.approx(np.log(today.Close / yesterday.Close))
    month = bars.iloc[at - 19 : at + 1]
    assert inputs["Volume"] == pytest.approx(today.Volume / month.Volume.mean() - 1)
    signs = np.sign(np.diff(bars.Close.iloc[at - 20 : at + 1]))
    signed = float((signs * month.Volume.to_numpy()).sum())
    assert inputs["obv"] == pytest.approx(signed / month.Volume.sum())


def test_the_scaler_uses_its_rows_and_no_others(sp500: Prices) -> None:
    inputs = make_inputs(build_features(sp500), "relative")
    # Rows from both ends: a scaler that took the first n rows would fail here.
    rows = np.r_[100:900, 3000:3500]
    scaler = fit_scaler(inputs, rows, "relative")
    scaled = scale_inputs(inputs, scaler, "relative")
    assert scaled.dtype == np.float32
    assert scaled.flags.c_contiguous
    np.testing.assert_allclose(scaled[rows].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[rows].std(axis=0), 1, rtol=1e-5)
    changed = inputs.copy()
    changed.iloc[900:3000] = changed.iloc[900:3000] * 3 + 1
    assert fit_scaler(changed, rows, "relative") == scaler


def test_raw_levels_are_left_alone(sp500: Prices) -> None:
    inputs = make_inputs(build_features(sp500), "none")
    scaler = fit_scaler(inputs, np.arange(1000), "none")
    np.testing.assert_array_equal(
        scale_inputs(inputs, scaler, "none"), inputs.to_numpy().astype(np.float32)
    )


def test_a_constant_input_is_refused_by_name(sp500: Prices) -> None:
    inputs = make_inputs(build_features(sp500), "relative")
    inputs.loc[inputs.index[:1000], "obv"] = 0.25
    with pytest.raises(DataError, match="must vary over the training rows, but got constant=obv"):
        fit_scaler(inputs, np.arange(1000), "relative")
    fit_scaler(inputs, np.arange(1001), "relative")


def test_an_input_beyond_float32_is_refused_by_name_and_day(sp500: Prices) -> None:
    inputs = make_inputs(build_features(sp500), "none")
    scaler = fit_scaler(inputs, np.arange(1000), "none")
    inputs.loc[pd.Timestamp("2010-05-06"), "Volume"] = 1e39
    with pytest.raises(DataError, match="none input Volume on 2010-05-06: must be a number of 32"):
        scale_inputs(inputs, scaler, "none")


def test_a_planted_shift_is_measured() -> None:
    inputs = pd.DataFrame({"still": [0.0, 2.0] * 4, "moved": [0.0, 2.0] * 2 + [5.0, 7.0] * 2})
    shift = measure_shift(inputs, np.arange(4), np.arange(4, 8))
    assert shift == {"still": 0.0, "moved": 5.0}
