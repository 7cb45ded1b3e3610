import numpy as np
import pandas as pd
import pytest

from study.data.arrays import PriceArray
from study.data.data_config import DataConfig
from study.data.dataset import build_dataset, data_fingerprint
from study.data.features import build_features
from study.data.features.vix import ADDED, on_days
from study.data.inputs import build_inputs
from study.data.prices import Prices
from study.data.vix_series import VixSeries, load_vix
from study.errors import DataError, SpecError


@pytest.fixture(scope="module")
def vix() -> VixSeries:
    return load_vix("embedded")


def series(days: pd.DatetimeIndex, values: PriceArray) -> VixSeries:
    stamps = days.to_numpy().astype("datetime64[D]")
    return VixSeries(name="made", days=stamps, values=values, fingerprint="f", origin="memory")


def test_the_eight_columns_are_as_defined(sp500: Prices, vix: VixSeries) -> None:
    features = build_features(sp500, "c", vix)
    assert features.shape[1] == 33
    assert list(features.columns[25:]) == [
        *("vix_close", "vix_sma_10", "vix_sma_20", "vix_percentile_60d", "vix_zscore_20d"),
        *("vix_regime", "vix_change_1d", "vix_change_5d"),
    ]
    index = pd.Series(vix.values, index=pd.DatetimeIndex(vix.days))
    for day in ("2014-03-31", "2015-08-24", "2018-12-31"):
        row, past = features.loc[pd.Timestamp(day)], index.loc[:day]
        today, month = past.iloc[-1], past.iloc[-20:]
        assert row["vix_close"] == today
        assert row["vix_sma_10"] == pytest.approx(past.iloc[-10:].mean())
        assert row["vix_sma_20"] == pytest.approx(month.mean())
        below = (past.iloc[-60:-1] < today).sum()
        assert row["vix_percentile_60d"] == pytest.approx(100 * below / 59)
        assert row["vix_zscore_20d"] == pytest.approx((today - month.mean()) / month.std(ddof=1))
        assert row["vix_regime"] == (0 if today < 15 else 1 if today < 25 else 2)
        assert row["vix_change_1d"] == pytest.approx(100 * (today / past.iloc[-2] - 1))
        assert row["vix_change_5d"] == pytest.approx(100 * (today / past.iloc[-6] - 1))
    assert set(features["vix_regime"]) == {0.0, 1.0, 2.0}


def test_edges_of_the_definitions(sp500: Prices) -> None:
    days = pd.DatetimeIndex(sp500.frame.index[:400])
    values = np.full(400, 15.0)
    values[380:] = 25.0
    values[399] = 14.99
    features = build_features(sp500, "c", series(days, values))
    flat, calm, stress, last = (features.loc[days[at]] for at in (350, 379, 380, 399))
    assert flat["vix_zscore_20d"] == 0.0
    assert flat["vix_percentile_60d"] == 0.0
    assert (calm["vix_regime"], stress["vix_regime"], last["vix_regime"]) == (1, 2, 0)
    assert stress["vix_percentile_60d"] == 100.0


def test_prices_see_every_bar_and_only_the_vix_costs_days(sp500: Prices, vix: VixSeries) -> None:
    features = build_features(sp500, "c", vix)
    assert (features.index[0], features.index[-1]) == (
        pd.Timestamp("2014-03-31"),
        pd.Timestamp("2018-12-31"),
    )
    of_prices = build_features(sp500).loc[features.index]
    pd.testing.assert_frame_equal(features[of_prices.columns], of_prices)
    inputs = build_inputs(sp500, "c", "relative", vix)
    assert inputs.index.equals(features.index)
    alone = build_inputs(sp500, "a25", "relative").loc[inputs.index]
    pd.testing.assert_frame_equal(inputs[alone.columns], alone)
    np.testing.assert_allclose(inputs["vix_close"], np.log(features["vix_close"]))


def test_a_day_without_a_value_is_left_out_and_nothing_is_filled_in(
    sp500: Prices, vix: VixSeries
) -> None:
    gap = np.datetime64("2016-06-24")
    kept = vix.days != gap
    holed = series(pd.DatetimeIndex(vix.days[kept]), vix.values[kept])
    whole, part = (build_inputs(sp500, "c", "relative", each) for each in (vix, holed))
    assert len(part) == len(whole) - 1
    assert pd.Timestamp(gap) not in part.index
    of_prices = list(part.columns[:25])
    pd.testing.assert_frame_equal(part[of_prices], whole.loc[part.index, of_prices])
    assert np.isnan(on_days(np.array([gap]), holed, holed.values)).all()


def test_a_dataset_of_tier_c_states_what_it_can_use(sp500: Prices, vix: VixSeries) -> None:
    config = DataConfig(horizon=1, tier="c", vix="embedded", task="direction")
    dataset = build_dataset(config, sp500)
    assert dataset.features.shape[1] == 33
    assert dataset.n_rows == 1198
    assert dataset.warnings[-1] == (
        "vix embedded (2014-01-03 to 2019-01-03): 3614 of 4812 days are left out, having no value "
        "or fewer than 59 before it; usable are 1198, 2014-03-31 to 2018-12-31"
    )
    assert dataset.fingerprint == data_fingerprint(sp500, vix) != sp500.fingerprint
    bars = np.searchsorted(sp500.frame.index.to_numpy(), dataset.dates)
    close = sp500.frame["Close"].to_numpy()
    for day in dataset.validation_days[::20]:
        assert dataset.labels[day] == float(close[bars[day] + 1] > close[bars[day]])


def test_a_series_of_other_years_is_refused(market_of_2050: Prices) -> None:
    config = DataConfig(horizon=1, tier="c", vix="embedded", task="direction")
    with pytest.raises(DataError, match=r"must have 60 values up to a day of the prices, .*2050"):
        build_dataset(config, market_of_2050)


@pytest.fixture
def market_of_2050(sp500: Prices) -> Prices:
    days = pd.bdate_range("2050-01-03", periods=1000, name="Date")
    return Prices(
        name="later",
        frame=sp500.frame.iloc[:1000].set_axis(days),
        fingerprint="x",
        origin="memory",
    )


def test_tier_c_asks_for_its_series_and_says_what_there_is() -> None:
    with pytest.raises(SpecError) as caught:
        DataConfig(horizon=1, tier="c")
    for words in ("needs a VIX series", "embedded (2014-01-03 to 2019-01-03)", "--series vix"):
        assert words in str(caught.value)
    with pytest.raises(SpecError, match="a200 uses no VIX series, but got vix='embedded'"):
        DataConfig(horizon=1, tier="a200", vix="embedded")


def test_a_tier_can_be_asserted_free_of_a_source() -> None:
    for tier in ("a25", "a50", "a100", "a200"):
        assert DataConfig(horizon=1, tier=tier, without="vix").without == "vix"
    with pytest.raises(SpecError, match="tier c must be free of vix, but got features made of"):
        DataConfig(horizon=1, tier="c", vix="embedded", without="vix")
    with pytest.raises(
        SpecError, match="without must be one of ohlcv, vix, closes, or null, but got without='vxi'"
    ):
        DataConfig(horizon=1, without="vxi")


def test_there_are_eight() -> None:
    assert len(ADDED) == 8
    assert max(spec.look_back for spec in ADDED) == 60
