import numpy as np
import pandas as pd
import pytest
import talib

from study.data.embedded.synthetic import SyntheticMarket
from study.data.features import A25, WARM_UP_DAYS, build_features, compute_columns, feature_hash
from study.data.inputs import INPUT_WARM_UP_DAYS, make_inputs
from study.data.prices import Prices, prices_from_frame
from study.data.sources import load_prices
from study.errors import DataError

NAMES = (
    *("Open", "High", "Low", "Close", "Volume", "dema_9", "dema_10", "sma_12", "dema_20"),
    *("dema_25", "sma_50", "dema_90", "sma_100", "sma_200", "rsi_daily", "rsi_weekly"),
    *("stochrsi_daily", "stochrsi_weekly", "macd_line", "obv", "adosc", "atr_14", "adx_14"),
    *("bb_percent_b", "vwap_20"),
)


def weeks_of(frame: pd.DataFrame) -> pd.PeriodIndex:
    return pd.DatetimeIndex(frame.index).to_period("W")


def cut(prices: Prices, n_bars: int) -> Prices:
    return prices_from_frame(prices.name, prices.frame.iloc[:n_bars])


def test_the_table_is_date_and_25_named_columns(sp500: Prices) -> None:
    features = build_features(sp500)
    assert tuple(features.reset_index().columns) == ("Date", *NAMES)
    assert features.shape == (5031 - 199, 25)
    assert np.isfinite(features.to_numpy()).all()
    assert tuple(spec.name for spec in A25) == NAMES


@pytest.mark.parametrize("n_bars", [900, 901, 902, 903, 904, 2477])
def test_no_feature_and_no_input_sees_the_future(sp500: Prices, n_bars: int) -> None:
    # Five cuts in a row end on every weekday, so an unfinished week would show.
    whole, part = build_features(sp500), build_features(cut(sp500, n_bars))
    for name in NAMES:
        np.testing.assert_array_equal(whole[name].iloc[: len(part)], part[name], err_msg=name)
    all_inputs, part_inputs = make_inputs(whole, "relative"), make_inputs(part, "relative")
    for name in NAMES:
        np.testing.assert_array_equal(
            all_inputs[name].iloc[: len(part_inputs)], part_inputs[name], err_msg=name
        )
    assert len(part_inputs) == n_bars - WARM_UP_DAYS - INPUT_WARM_UP_DAYS


def test_look_backs_are_what_the_table_says(sp500: Prices) -> None:
    columns = compute_columns(sp500.frame)
    for spec in A25:
        first = int(np.argmax(np.isfinite(columns[spec.name])))
        if spec.weekly:
            weeks = weeks_of(sp500.frame).unique()
            week = weeks_of(sp500.frame)[first]
            assert list(weeks).index(week) + 1 == spec.look_back, spec.name
        else:
            assert first + 1 == spec.look_back, spec.name


def test_weekly_values_are_those_of_the_week_before_even_after_a_holiday_monday(
    sp500: Prices,
) -> None:
    features = build_features(sp500)
    weeks = weeks_of(sp500.frame)
    weekly = sp500.frame["Close"].groupby(weeks).last()
    rsi = pd.Series(talib.RSI(weekly.to_numpy(), 14), index=weekly.index).shift(1)
    expected = rsi.reindex(weeks_of(features)).to_numpy()
    np.testing.assert_allclose(features["rsi_weekly"], expected, rtol=1e-12)
    # Memorial Day 2000: Tuesday already knows the week that ended on Friday 26 May.
    assert pd.Timestamp("2000-05-29") not in features.index
    closes = weekly.loc[: pd.Period("2000-05-26", "W-SUN")].to_numpy()
    tuesday = features["rsi_weekly"][pd.Timestamp("2000-05-30")]
    assert tuesday == pytest.approx(talib.RSI(closes, 14)[-1])
    friday = features["rsi_weekly"][pd.Timestamp("2000-05-26")]
    assert friday != tuesday


def test_some_values_by_hand(sp500: Prices) -> None:
    features, bars = build_features(sp500), sp500.frame
    day = pd.Timestamp("2008-10-10")
    at = bars.index.get_loc(day)
    assert isinstance(at, int)
    last = bars.iloc[at - 19 : at + 1]
    row = features.loc[day]
    assert row["vwap_20"] == pytest.approx((last.Close * last.Volume).sum() / last.Volume.sum())
    mean, sd = last.Close.mean(), last.Close.std(ddof=0)
    assert row["bb_percent_b"] == pytest.approx((last.Close.iloc[-1] - mean + 2 * sd) / (4 * sd))
    assert row["sma_200"] == pytest.approx(bars.Close.iloc[at - 199 : at + 1].mean())
    fast, slow = (bars.Close.ewm(span=span, adjust=False).mean() for span in (12, 26))
    assert row["macd_line"] == pytest.approx((fast - slow).loc[day], rel=1e-6)


def test_flat_and_silent_stretches_stay_finite(market: SyntheticMarket) -> None:
    bars = market.prices.frame.copy()
    flat_price = float(bars["Close"].iloc[1000])
    bars.iloc[1000:1060] = [flat_price] * 4 + [0.0]
    prices = prices_from_frame("flat", bars, accept=["constant-prices"])
    features = build_features(prices)
    assert features["bb_percent_b"].loc[bars.index[1050]] == 0.5
    assert features["vwap_20"].loc[bars.index[1050]] == pytest.approx(flat_price)
    inputs = make_inputs(features, "relative")
    assert inputs["Volume"].loc[bars.index[1050]] == -1.0
    assert inputs["obv"].loc[bars.index[1050]] == 0.0


def test_zero_volume_days_of_the_nasdaq_give_finite_inputs() -> None:
    inputs = make_inputs(build_features(load_prices("nasdaq")), "relative")
    assert inputs["Volume"].loc[pd.Timestamp("2015-05-12")] == -1.0


def test_relative_inputs_do_not_depend_on_the_units(sp500: Prices) -> None:
    scaled = sp500.frame.copy()
    scaled[["Open", "High", "Low", "Close"]] *= 8.0
    scaled["Volume"] /= 1024.0
    original = make_inputs(build_features(sp500), "relative")
    other = make_inputs(build_features(prices_from_frame("scaled", scaled)), "relative")
    np.testing.assert_allclose(original, other, rtol=1e-7, atol=1e-9)


def test_a_short_history_is_refused(sp500: Prices) -> None:
    assert build_features(cut(sp500, 200)).shape == (1, 25)
    with pytest.raises(
        DataError, match=r"more than 199 bars for its 200-day mean, but got rows=199"
    ):
        build_features(cut(sp500, 199))


def test_the_feature_hash_is_pinned() -> None:
    # It is in records: change it only together with a definition.
    assert feature_hash("a25").startswith("9f06f2d3adcd6b75")


def test_weeks_turn_on_monday_where_every_day_has_a_bar(market: SyntheticMarket) -> None:
    days = pd.date_range("2000-01-01", periods=len(market.prices.frame), name="Date")
    weekly = build_features(prices_from_frame("coin", market.prices.frame.set_axis(days)))
    turns = weekly.index[1:][np.diff(weekly["rsi_weekly"].to_numpy()) != 0]
    assert set(pd.DatetimeIndex(turns).day_name()) == {"Monday"}
