import numpy as np
import pytest

from study.data.arrays import PriceArray
from study.data.features.closes import CLOSES, WARM_UP_DAYS, AssetCloses, asset_closes, regress

N_DAYS = 320


@pytest.fixture
def asset() -> AssetCloses:
    rng = np.random.default_rng(2)
    market = np.cumsum(rng.normal(0, 0.01, N_DAYS))
    sector = market + np.cumsum(rng.normal(0, 0.004, N_DAYS))
    close = 20 * np.exp(1.3 * market + np.cumsum(rng.normal(0, 0.012, N_DAYS)))
    return asset_closes(close, market, sector)


def last(name: str, asset: AssetCloses) -> float:
    (spec,) = (spec for spec in CLOSES if spec.name == name)
    return float(spec.compute(asset)[-1])


def average(values: PriceArray, n_days: int) -> PriceArray:
    """Return an exponential mean that starts at the mean of the first values, as TA-Lib's does."""
    means = np.full(len(values), np.nan)
    means[n_days - 1] = values[:n_days].mean()
    for day in range(n_days, len(values)):
        means[day] = means[day - 1] + 2 / (n_days + 1) * (values[day] - means[day - 1])
    return means


def wilder_rsi(close: PriceArray, n_days: int) -> float:
    moves = np.diff(close)
    up, down = np.maximum(moves[:n_days], 0).mean(), np.maximum(-moves[:n_days], 0).mean()
    for move in moves[n_days:]:
        up += (max(move, 0) - up) / n_days
        down += (max(-move, 0) - down) / n_days
    return float(100 * up / (up + down))


def test_values_are_those_of_the_formulas_by_hand(asset: AssetCloses) -> None:
    close, logs = asset.close, np.log(asset.close)
    own, market = np.diff(logs)[-60:], np.diff(asset.market)[-60:]
    slope, intercept = np.polyfit(market, own, 1)
    residuals = own - slope * market - intercept
    # TA-Lib's MACD starts its two means on the day on which the slower begins.
    fast, slow = average(close[14:], 12), average(close, 26)[14:]
    line = (fast - slow)[11:]
    by_hand = {
        "return_1d": logs[-1] - logs[-2],
        "return_250d": logs[-1] - logs[-251],
        "momentum_12_1": logs[-21] - logs[-251],
        "volatility_20d": own[-20:].std(ddof=1),
        "volatility_ratio_5_20": own[-5:].std(ddof=1) / own[-20:].std(ddof=1),
        "sma_200_distance": logs[-1] - np.log(close[-200:].mean()),
        "high_60d_distance": logs[-1] - logs[-60:].max(),
        "low_250d_distance": logs[-1] - logs[-250:].min(),
        "rsi_14": wilder_rsi(close, 14) / 50 - 1,
        "macd_histogram": (line - average(line, 9))[-1] / close[-1],
        "ppo": 100 * (average(close, 12) / average(close, 26) - 1)[-1],
        "highest_return_20d": own[-20:].max(),
        "market_beta_60d": slope,
        "market_correlation_60d": np.corrcoef(market, own)[0, 1],
        "idiosyncratic_volatility_60d": np.sqrt((residuals**2).sum() / 58),
        "residual_return_5d": own[-5:].sum() - slope * market[-5:].sum(),
        "sector_relative_return_20d": own[-20:].sum() - (asset.sector[-1] - asset.sector[-21]),
    }
    for name, value in by_hand.items():
        assert last(name, asset) == pytest.approx(value, rel=1e-8, abs=1e-12), name


def test_look_backs_are_what_the_table_says(asset: AssetCloses) -> None:
    for spec in CLOSES:
        values = spec.compute(asset)
        assert int(np.argmax(np.isfinite(values))) == spec.look_back - 1, spec.name
        assert np.isfinite(values[spec.look_back - 1 :]).all(), spec.name
    assert WARM_UP_DAYS == 250


def test_names_differ_and_no_feature_is_a_multiple_of_another(asset: AssetCloses) -> None:
    assert len({spec.name for spec in CLOSES}) == len(CLOSES)
    columns = np.stack([spec.compute(asset)[WARM_UP_DAYS:] for spec in CLOSES])
    alike = np.abs(np.corrcoef(columns)) - np.eye(len(CLOSES))
    assert alike.max() < 0.999


@pytest.mark.parametrize("factor", [1e-3, 1e4])
def test_no_feature_depends_on_the_level_of_the_price(asset: AssetCloses, factor: float) -> None:
    scaled = asset_closes(asset.close * factor, asset.market, asset.sector)
    for spec in CLOSES:
        np.testing.assert_allclose(
            spec.compute(scaled)[WARM_UP_DAYS:],
            spec.compute(asset)[WARM_UP_DAYS:],
            rtol=1e-6,
            atol=1e-9,
            err_msg=spec.name,
        )


def test_an_asset_or_a_market_at_rest_has_values_too() -> None:
    rng = np.random.default_rng(4)
    moving = np.cumsum(rng.normal(0, 0.01, N_DAYS))
    # An index is a sum, whose rounding moves while its assets rest.
    resting = rng.normal(0, 1e-16, N_DAYS)
    for close, market in ((np.exp(resting), moving), (np.exp(moving), resting)):
        asset = asset_closes(close, market, market)
        for spec in CLOSES:
            assert np.isfinite(spec.compute(asset)[WARM_UP_DAYS:]).all(), spec.name
        assert last("market_beta_60d", asset) == pytest.approx(0, abs=1e-12)
        assert last("market_correlation_60d", asset) == 0


def test_a_planted_slope_is_found_exactly_and_leaves_nothing() -> None:
    market = np.append(np.nan, np.random.default_rng(1).normal(0, 0.01, 100))
    found = regress(0.7 * market + 0.001, market, 60)
    np.testing.assert_allclose(found.beta[60:], 0.7, rtol=1e-9)
    np.testing.assert_allclose(found.correlation[60:], 1, rtol=1e-9)
    np.testing.assert_allclose(found.residual_sd[60:], 0, atol=1e-9)
    assert np.isnan(found.beta[:60]).all()
