import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data.arrays import PriceArray
from study.data.checks.acceptable import ACCEPTABLE
from study.data.data_config import TIER_SOURCES, DataConfig, Tier
from study.data.dataset import build_dataset
from study.data.features import (
    SPECS,
    TIERS,
    build_features,
    compute_columns,
    feature_hash,
    warm_up_days,
)
from study.data.features.feature import bars_of
from study.data.holdout import open_holdout
from study.data.inputs import build_inputs, dropped_days, usable_bars
from study.data.prices import Prices, prices_from_frame
from study.data.sources import load_prices
from study.data.vix_series import VixSeries, load_vix
from study.errors import DataError

MOST_SECONDS = 5.0
"""The bar is ten."""


@pytest.fixture(scope="module")
def a200(sp500: Prices) -> dict[str, PriceArray]:
    return compute_columns(sp500.frame, "a200")


@pytest.fixture(scope="module")
def nasdaq() -> Prices:
    return load_prices("nasdaq")


@pytest.fixture(scope="module")
def vix() -> VixSeries:
    return load_vix("embedded")


def names(tier: Tier) -> list[str]:
    return [spec.name for spec in TIERS[tier]]


def cut(prices: Prices, n_bars: int) -> Prices:
    return prices_from_frame(prices.name, prices.frame.iloc[:n_bars], accept=ACCEPTABLE)


def random_market(seed: int, n_bars: int) -> pd.DataFrame:
    """Return a walk with days that stand still, and days and a whole month without volume."""
    generator = np.random.default_rng(seed)
    moves = generator.standard_t(4, size=n_bars) * 0.01 * (generator.random(n_bars) > 0.1)
    close = 50 * np.exp(np.cumsum(moves))
    open_ = np.append(50.0, close[:-1]) * np.exp(generator.choice([0, 0.002], n_bars))
    reach = generator.choice([0.0, 0.004], size=(2, n_bars))
    volume = generator.integers(1, 9, n_bars) * 1e6 * (generator.random(n_bars) > 0.05)
    start = int(generator.integers(0, n_bars - 90))
    close[start : start + 30] = open_[start : start + 30] = close[start]
    reach[:, start : start + 30] = volume[start : start + 30] = 0.0
    bars = {
        "Open": open_,
        "High": np.maximum(open_, close) * (1 + reach[0]),
        "Low": np.minimum(open_, close) * (1 - reach[1]),
        "Close": close,
        "Volume": volume,
    }
    return pd.DataFrame(bars, index=pd.bdate_range("2001-01-01", periods=n_bars, name="Date"))


def test_tiers_hold_what_they_are_named_for_and_contain_one_another() -> None:
    sizes = {tier: len(specs) for tier, specs in TIERS.items()}
    assert sizes == {"a25": 25, "a50": 55, "a100": 105, "a200": 211, "c": 33}
    pairs: tuple[tuple[Tier, Tier], ...] = (
        *(("a25", "a50"), ("a50", "a100"), ("a100", "a200"), ("a25", "c")),
    )
    for smaller, larger in pairs:
        assert names(larger)[: sizes[smaller]] == names(smaller)
    for specs in TIERS.values():
        assert len({spec.name for spec in specs}) == len({spec.formula for spec in specs})
        assert len({spec.name for spec in specs}) == len(specs)


def test_only_tier_c_is_made_of_the_vix() -> None:
    for tier, specs in TIERS.items():
        assert {spec.source for spec in specs} == set(TIER_SOURCES[tier])
    assert [spec.name for spec in TIERS["c"] if spec.source == "vix"] == names("c")[25:]


def test_the_larger_tiers_drop_the_same_days() -> None:
    assert [warm_up_days(tier) for tier in ("a25", "c")] == [199, 199]
    assert [warm_up_days(tier) for tier in ("a50", "a100", "a200")] == [252, 252, 252]


@pytest.mark.parametrize(
    ("tier", "digits"),
    [
        ("a25", "9f06f2d3adcd6b75"),
        ("a50", "25eb3a21522570fb"),
        ("a100", "6c55f7c2bcd6d998"),
        ("a200", "3eedd6d2fa444cb4"),
        ("c", "ec8e9740a1b941a1"),
    ],
)
def test_feature_hashes_are_pinned(tier: Tier, digits: str) -> None:
    # They are in records: change one only together with a definition.
    assert feature_hash(tier).startswith(digits)


@pytest.mark.slow
@pytest.mark.parametrize("market", ["sp500", "nasdaq"])
def test_every_value_after_the_warm_up_is_finite(
    market: str, request: pytest.FixtureRequest
) -> None:
    prices = request.getfixturevalue(market)
    features = build_features(prices, "a200")
    assert features.shape == (5031 - 252, 211)
    assert np.isfinite(features.to_numpy()).all()
    inputs = build_inputs(prices, "a200", "relative")
    assert inputs.shape == (5031 - dropped_days("a200"), 211)
    assert np.isfinite(inputs.to_numpy()).all()


@pytest.mark.slow
def test_no_two_features_and_no_two_inputs_tell_the_same(
    sp500: Prices, a200: dict[str, PriceArray]
) -> None:
    values = np.stack(list(a200.values()))[:, warm_up_days("a200") :]
    assert len(np.unique(values, axis=0)) == 211
    inputs = build_inputs(sp500, "a200", "relative").to_numpy()
    standard = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    correlation = np.abs(standard.T @ standard) / len(standard) - np.eye(211)
    # A daily return in percent and its logarithm correlate by 0.9998; a copy would by 1.
    assert correlation.max() < 0.9999


def test_look_backs_are_what_the_table_says(sp500: Prices, a200: dict[str, PriceArray]) -> None:
    for spec in TIERS["a200"]:
        if not spec.weekly:
            assert int(np.argmax(np.isfinite(a200[spec.name]))) + 1 == spec.look_back, spec.name
    # What is not recursive is the same when older bars are not there at all.
    for last in (400, 1777, 4090):
        for spec in TIERS["a200"]:
            if not spec.recursive:
                bars = bars_of(sp500.frame.iloc[last - spec.look_back + 1 : last + 1])
                alone = spec.compute(bars)[-1]
                known = a200[spec.name][last]
                assert alone == pytest.approx(known, rel=1e-6, abs=1e-8), (spec.name, last)


def test_recursive_features_forget(sp500: Prices, a200: dict[str, PriceArray]) -> None:
    late = compute_columns(sp500.frame.iloc[2000:], "a200")
    for spec in TIERS["a200"]:
        # The level of the running sum of volume is not used: its input looks at its change.
        if spec.recursive and spec.name != "obv":
            known = a200[spec.name][-1]
            assert late[spec.name][-1] == pytest.approx(known, rel=1e-5, abs=1e-6), spec.name


@pytest.mark.slow
@pytest.mark.parametrize("n_bars", [900, 901, 902, 903, 904, 2477])
def test_no_feature_and_no_input_sees_the_future(
    sp500: Prices, a200: dict[str, PriceArray], n_bars: int
) -> None:
    # Five cuts in a row end on every weekday, so an unfinished week would show.
    part = compute_columns(sp500.frame.iloc[:n_bars], "a200")
    for name in names("a200"):
        np.testing.assert_array_equal(a200[name][:n_bars], part[name], err_msg=name)
    whole = build_inputs(sp500, "a200", "relative")
    inputs = build_inputs(cut(sp500, n_bars), "a200", "relative")
    pd.testing.assert_frame_equal(whole.iloc[: len(inputs)], inputs, check_exact=True)


@pytest.mark.parametrize("n_bars", [4000, 4001, 4700, 5000])
def test_nothing_of_tier_c_sees_the_future(sp500: Prices, vix: VixSeries, n_bars: int) -> None:
    last = sp500.frame.index.to_numpy()[n_bars - 1].astype("datetime64[D]")
    known = vix.days <= last
    before = VixSeries(
        name="cut",
        days=vix.days[known],
        values=vix.values[known],
        fingerprint="",
        origin="",
    )
    whole = build_features(sp500, "c", vix)
    part = build_features(cut(sp500, n_bars), "c", before)
    assert len(part) == (whole.index <= sp500.frame.index[n_bars - 1]).sum()
    pd.testing.assert_frame_equal(whole.iloc[: len(part)], part, check_exact=True)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_bars=st.integers(290, 420), cut_at=st.integers(273, 289))
def test_any_market_gives_finite_values_that_no_later_bar_changes(
    seed: int, n_bars: int, cut_at: int
) -> None:
    # A walk of fat tails may do whatever a check refuses; its features must be right all the same.
    prices = prices_from_frame("walk", random_market(seed, n_bars), accept=ACCEPTABLE)
    whole = build_inputs(prices, "a200", "relative")
    assert np.isfinite(whole.to_numpy()).all()
    part = build_inputs(cut(prices, cut_at), "a200", "relative")
    pd.testing.assert_frame_equal(whole.iloc[: len(part)], part, check_exact=True)


def test_a_year_without_any_move_or_volume_has_values(sp500: Prices) -> None:
    bars = sp500.frame.iloc[:900].copy()
    bars.iloc[400:700] = [float(bars["Close"].iloc[400])] * 4 + [0.0]
    prices = prices_from_frame("flat", bars, accept=["constant-prices"])
    inputs = build_inputs(prices, "a200", "relative")
    flat = build_features(prices, "a200").loc[bars.index[690]]
    for name, value in (
        ("sharpe_20d", 0.0),
        ("sortino_60d", 0.0),
        ("implied_vs_realized_ratio", 1.0),
        ("volume_ratio_20d", 1.0),
        ("kvo_signal", 0.0),
        ("mfi_14", 50.0),
        ("williams_r_14", -50.0),
        ("stoch_k_14", 50.0),
        ("expectancy_20d", 0.0),
        ("skewness_60d", 0.0),
        ("candle_body", 0.0),
        ("range_252d_position", 0.5),
        ("permutation_entropy_5", 0.0),
    ):
        assert flat[name] == value, name
    assert np.isfinite(inputs.to_numpy()).all()


def test_days_of_the_nasdaq_without_volume_have_values(nasdaq: Prices) -> None:
    features = build_features(nasdaq, "a200")
    for day in (pd.Timestamp("2015-05-12"), pd.Timestamp("2018-01-09")):
        assert features.loc[day, "Volume"] == 0
        assert features.loc[day, "volume_ratio_20d"] == 0


@pytest.mark.slow
def test_units_do_not_matter(sp500: Prices) -> None:
    scaled = sp500.frame.copy()
    scaled[["Open", "High", "Low", "Close"]] *= 8.0
    scaled["Volume"] /= 1024.0
    original = build_inputs(sp500, "a200", "relative")
    other = build_inputs(prices_from_frame("scaled", scaled), "a200", "relative")
    np.testing.assert_allclose(original, other, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("market", ["sp500", "nasdaq"])
@pytest.mark.parametrize("tier", ["a50", "a100", "a200"])
def test_every_tier_builds_for_both_markets_in_seconds(market: str, tier: Tier) -> None:
    started = time.process_time()
    dataset = build_dataset(DataConfig(horizon=1, source=market, tier=tier))
    assert time.process_time() - started < MOST_SECONDS
    assert dataset.features.shape[1] == len(TIERS[tier]) == len(dataset.feature_names)
    assert dataset.n_rows == 5031 - dropped_days(tier) == 4759
    assert np.isfinite(dataset.features).all()
    assert max(abs(shift) for shift in dataset.shift.values()) < 1.5
    assert np.abs(dataset.features).max() < 20
    assert dataset.feature_hash == feature_hash(tier)


@pytest.mark.slow
def test_the_test_part_opens_on_the_same_values(sp500: Prices, vix: VixSeries) -> None:
    for config in (
        DataConfig(horizon=3, tier="a200"),
        DataConfig(horizon=1, tier="c", vix="embedded", task="direction"),
    ):
        dataset = build_dataset(config, sp500)
        holdout = open_holdout(config, dataset, sp500)
        n_visible = len(dataset.dates)
        np.testing.assert_array_equal(holdout.features[:n_visible], dataset.features)
        np.testing.assert_array_equal(holdout.dates[:n_visible], dataset.dates)
        assert len(holdout.features) == len(holdout.bars) == dataset.n_rows
        used = None if config.vix is None else vix
        np.testing.assert_array_equal(holdout.bars, usable_bars(sp500, config.tier, used))


def test_a_short_history_is_refused(sp500: Prices) -> None:
    assert build_features(cut(sp500, 253), "a200").shape == (1, 211)
    with pytest.raises(DataError, match="a50 needs more than 252 bars for its return_252d"):
        build_features(cut(sp500, 252), "a50")
    with pytest.raises(DataError, match="tier a200 needs more than 272 bars before its first"):
        build_dataset(DataConfig(horizon=1, tier="a200"), cut(sp500, 272))


def row_of(prices: Prices, day: str) -> int:
    at = prices.frame.index.get_loc(pd.Timestamp(day))
    assert isinstance(at, int)
    return at


def test_some_values_by_hand(sp500: Prices, a200: dict[str, PriceArray]) -> None:
    bars, at = sp500.frame, row_of(sp500, "2008-10-10")
    value = {name: column[at] for name, column in a200.items()}
    close, high, low = (bars[name].to_numpy() for name in ("Close", "High", "Low"))
    simple = 100 * (close[1:] / close[:-1] - 1)
    logs = np.diff(np.log(close))
    assert value["return_252d"] == pytest.approx(100 * (close[at] / close[at - 252] - 1))
    month = simple[at - 20 : at]
    assert value["sharpe_20d"] == pytest.approx(month.mean() / month.std(ddof=1) * 252**0.5)
    downside = np.sqrt((np.minimum(month, 0) ** 2).mean())
    assert value["sortino_20d"] == pytest.approx(month.mean() / downside * 252**0.5)
    assert value["win_rate_20d"] == pytest.approx(100 * (month > 0).mean())
    wins, losses = month[month > 0], -month[month < 0]
    edge = (wins.sum() - losses.sum()) / 20
    assert value["expectancy_20d"] == pytest.approx(edge / losses.mean())
    variance = logs[0] ** 2
    for step in logs[1:at]:
        variance = 0.94 * variance + 0.06 * step**2
    forecast = 100 * np.sqrt(252 * variance)
    assert value["vrp_10d"] == pytest.approx(
        forecast - 100 * 252**0.5 * logs[at - 10 : at].std(ddof=1)
    )
    quarter = simple[at - 60 : at]
    assert value["var_95_60d"] == pytest.approx(-np.quantile(quarter, 0.05))
    assert value["cvar_95_60d"] == pytest.approx(-np.sort(quarter)[:3].mean())
    below = (bars["Volume"].to_numpy()[at - 59 : at] < bars["Volume"].iloc[at]).sum()
    assert value["volume_percentile_60d"] == pytest.approx(100 * below / 59)
    top, bottom = high[at - 59 : at + 1].max(), low[at - 59 : at + 1].min()
    assert value["fibonacci_position_60d"] == pytest.approx((close[at] - bottom) / (top - bottom))
    assert value["high_252d_recency"] == high[at - 251 : at + 1][::-1].argmax()
    past = slice(at - 26 - 51, at - 26 + 1)
    assert value["ichimoku_span_b"] == pytest.approx((high[past].max() + low[past].min()) / 2)
    ranges = np.log(high[at - 19 : at + 1] / low[at - 19 : at + 1])
    assert value["parkinson_vol_20d"] == pytest.approx(
        100 * np.sqrt(252 * (ranges**2).mean() / (4 * np.log(2)))
    )


def test_the_calendar_by_hand(sp500: Prices, a200: dict[str, PriceArray]) -> None:
    for day, weekday, month_end, quarter_end, expiry, gap in (
        ("2008-10-10", 4, 21, 82, 7, 1),
        ("2008-10-17", 4, 14, 75, 0, 1),
        ("2008-10-20", 0, 11, 72, 32, 3),
        ("2008-12-31", 2, 0, 0, 16, 1),
        ("2001-09-17", 0, 13, 13, 4, 7),
    ):
        at = row_of(sp500, day)
        assert a200["weekday_sin"][at] == pytest.approx(np.sin(2 * np.pi * weekday / 7))
        assert a200["days_to_month_end"][at] == month_end
        assert a200["days_to_quarter_end"][at] == quarter_end
        assert a200["days_to_third_friday"][at] == expiry
        assert a200["days_since_last_bar"][at] == gap


def test_every_spec_is_found_by_its_name() -> None:
    assert len(SPECS) == 211 + 8
