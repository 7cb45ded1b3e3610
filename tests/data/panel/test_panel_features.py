from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from study.data.arrays import PriceArray
from study.data.data_config import Tier
from study.data.features import feature_hash
from study.data.features.closes import CLOSES
from study.data.inputs import build_inputs
from study.data.panel.panel import Panel
from study.data.panel.panel_features import (
    features_by_asset,
    panel_feature_hash,
    panel_feature_names,
    panel_warm_up_days,
)
from study.data.prices import prices_from_frame
from study.errors import DataError
from tests.data.panel.walks import (
    EARLY,
    LATE,
    N_DAYS,
    PAUSED,
    SECTORS,
    SHORT,
    first_days,
    walk_panel,
    with_assets,
)

BAR_TIERS: tuple[Tier, ...] = ("a25", "a50", "a100", "a200")
LARGEST: tuple[Tier, ...] = ("a25", "a200")
"""Tiers whose every column is tested; a50 and a100 are the first columns of a200."""


def raw(panel: Panel, tier: Tier = "closes") -> PriceArray:
    """Return unstandardised features, shape (n_days, n_assets, n_features), NaN where unknown."""
    features = np.full((*panel.close.shape, len(panel_feature_names(tier))), np.nan)
    for asset, (days, values) in enumerate(features_by_asset(panel, tier)):
        features[days, asset] = values
    return features


def column(name: str) -> int:
    return panel_feature_names("closes").index(name)


def later_doubled(panel: Panel, first: int, assets: list[int]) -> Panel:
    factor = np.ones(panel.close.shape)
    factor[first:, assets] = 2.0
    bars = {name: values * factor for name, values in panel.bars.items()}
    return replace(panel, close=panel.close * factor, bars=bars)


@pytest.mark.parametrize("tier", ["closes", *LARGEST])
def test_no_column_of_any_asset_sees_a_later_day(tier: Tier) -> None:
    panel = walk_panel(bars=True)
    if tier != "closes":
        panel = with_assets(panel, [0, PAUSED])
    whole, names = raw(panel, tier), panel_feature_names(tier)
    # Five cuts in a row end on every weekday, so an unfinished week of a25 would show.
    for n_days in (*range(371, 375), 305, 375) if tier == "a25" else (305, 375):
        part = raw(first_days(panel, n_days), tier)
        others = raw(later_doubled(panel, n_days, [0, 1]), tier)
        for asset in range(len(panel.assets)):
            for place, name in enumerate(names):
                for changed in (part, others):
                    np.testing.assert_array_equal(
                        changed[:n_days, asset, place],
                        whole[:n_days, asset, place],
                        err_msg=f"{name} of asset {asset}",
                    )
    assert np.isfinite(part).any(axis=(0, 1)).all()


def test_a_day_without_a_price_has_no_features_and_look_backs_count_own_days() -> None:
    panel = walk_panel()
    features, close = raw(panel), panel.close
    warm_up = panel_warm_up_days("closes")
    known = np.asarray(np.isfinite(features).all(axis=2))
    np.testing.assert_array_equal(known, np.isfinite(features).any(axis=2))
    priced = np.isfinite(close)
    np.testing.assert_array_equal(known, priced & (np.cumsum(priced, axis=0) > warm_up))
    assert known[:, SHORT].sum() == 0
    assert np.flatnonzero(known[:, EARLY])[-1] == 340
    assert np.flatnonzero(known[:, LATE])[0] == 60 + warm_up
    # The day after the pause looks back to the days before it.
    expected = np.log(close[310, PAUSED] / close[295, PAUSED])
    assert features[310, PAUSED, column("return_5d")] == pytest.approx(expected, rel=1e-12)


def test_returns_relative_to_the_sector_and_the_market_span_the_assets_own_days() -> None:
    panel = walk_panel()
    features, logs = raw(panel), np.log(panel.close)
    # Each asset's return since its last day with a price, whenever that was.
    returns = pd.DataFrame(logs).ffill().diff().where(np.isfinite(logs)).to_numpy()
    chips = np.array(SECTORS) == "chips"
    # The first day has no returns.
    market, sector = (np.nanmean(each[1:], axis=1) for each in (returns, returns[:, chips]))
    own = logs[310, PAUSED] - logs[295, PAUSED]
    assert features[310, PAUSED, column("sector_relative_return_5d")] == pytest.approx(
        own - sector[295:310].sum(), rel=1e-9
    )
    beta = features[310, PAUSED, column("market_beta_60d")]
    assert features[310, PAUSED, column("residual_return_5d")] == pytest.approx(
        own - beta * market[295:310].sum(), rel=1e-9
    )


def test_without_sectors_the_sector_is_the_market() -> None:
    alone, everyone = walk_panel(sectors=False), walk_panel()
    of_one = raw(replace(everyone, sectors=("all",) * len(SECTORS)))
    np.testing.assert_array_equal(raw(alone), of_one)
    assert not np.array_equal(raw(everyone), of_one, equal_nan=True)


@pytest.mark.parametrize("tier", ["closes", "a25"])
def test_the_order_of_assets_does_not_matter(tier: Tier) -> None:
    panel, order = walk_panel(bars=True), [5, 2, 7, 0, 6, 3, 1, 4]
    permuted = raw(with_assets(panel, order), tier)
    np.testing.assert_allclose(permuted, raw(panel, tier)[:, order], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("tier", ["closes", "a25"])
def test_an_asset_without_prices_changes_nothing(tier: Tier) -> None:
    panel = walk_panel(bars=True)
    wider = with_assets(panel, [*range(8), 0])
    wider.close[:, 8] = np.nan
    for values in wider.bars.values():
        values[:, 8] = np.nan
    features = raw(wider, tier)
    np.testing.assert_array_equal(features[:, :8], raw(panel, tier))
    assert np.isnan(features[:, 8]).all()


@pytest.mark.parametrize("tier", LARGEST)
def test_features_of_bars_are_those_of_the_asset_as_a_market_of_its_own(tier: Tier) -> None:
    panel = with_assets(walk_panel(bars=True), [LATE, PAUSED] if tier == "a25" else [0])
    features = raw(panel, tier)
    prices = {**panel.bars, "Close": panel.close}
    for asset in range(len(panel.assets)):
        days = np.isfinite(panel.close[:, asset])
        frame = pd.DataFrame(
            {name: prices[name][days, asset] for name in ("Open", "High", "Low", "Close")}
            | {"Volume": prices["Volume"][days, asset]},
            index=pd.DatetimeIndex(panel.dates[days], name="Date"),
        )
        alone = build_inputs(prices_from_frame("alone", frame), tier, "relative")
        known = np.isfinite(features[:, asset]).all(axis=1)
        np.testing.assert_array_equal(panel.dates[known], alone.index.to_numpy())
        np.testing.assert_array_equal(features[known, asset], alone.to_numpy())
        assert tuple(alone.columns) == panel_feature_names(tier)
        assert known.sum() == days.sum() - panel_warm_up_days(tier)


@pytest.mark.parametrize("n_days", [0, 1, 2, 14, 60, 61, 250, 251])
def test_an_asset_of_few_days_has_features_of_none_but_those_after_the_warm_up(
    n_days: int,
) -> None:
    panel = walk_panel()
    panel.close[n_days:, 0] = np.nan
    days, values = next(features_by_asset(panel, "closes"))
    assert len(days) == max(n_days - panel_warm_up_days("closes"), 0)
    assert values.shape == (len(days), len(CLOSES))


def test_a_tier_of_bars_is_refused_for_a_panel_of_closes() -> None:
    with pytest.raises(DataError, match=r"walks: tier a25 needs open.*but got a panel of closes"):
        features_by_asset(walk_panel(), "a25")


def test_a_tier_with_a_volatility_index_is_refused() -> None:
    with pytest.raises(DataError, match="must be made of its own prices, but got tier=c"):
        features_by_asset(walk_panel(bars=True), "c")


def test_the_hash_names_the_features_and_their_definitions() -> None:
    assert panel_feature_hash("a50") == feature_hash("a50")
    assert len({panel_feature_hash(tier) for tier in ("closes", *BAR_TIERS)}) == 5
    for smaller in BAR_TIERS:
        names = panel_feature_names(smaller)
        assert panel_feature_names("a200")[: len(names)] == names
    assert panel_feature_names("closes") == tuple(spec.name for spec in CLOSES)
    assert 30 <= len(CLOSES) <= 36
    assert N_DAYS > panel_warm_up_days("a200")
