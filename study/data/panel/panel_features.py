"""Features of every asset of a panel, computed over the asset's own days.

A day without prices of an asset has no features of it, and no look-back counts it: nothing is
filled in.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.data.arrays import IndexArray, PriceArray
from study.data.data_config import TIER_SOURCES, Tier
from study.data.features import TIERS, compute_columns, feature_hash, warm_up_days
from study.data.features.closes import CLOSES, WARM_UP_DAYS, asset_closes
from study.data.inputs import dropped_days, inputs_of_all_rows
from study.data.panel.panel import BAR_COLUMNS, Panel
from study.data.reading.columns import DATE_COLUMN
from study.errors import DataError, require


def panel_feature_names(tier: Tier) -> tuple[str, ...]:
    """Return the names of a tier's features, in order."""
    specs = CLOSES if tier == "closes" else TIERS[tier]
    return tuple(spec.name for spec in specs)


def panel_feature_hash(tier: Tier) -> str:
    """Return the sha256 of the tier's names, order and definitions."""
    if tier != "closes":
        return feature_hash(tier)
    text = "\n".join(f"{spec.name}\t{spec.formula}\t{spec.look_back}" for spec in CLOSES)
    return hashlib.sha256(text.encode()).hexdigest()


def panel_warm_up_days(tier: Tier) -> int:
    """Return the own days at the front of an asset's history without all features of a tier."""
    return WARM_UP_DAYS if tier == "closes" else dropped_days(tier)


def features_by_asset(panel: Panel, tier: Tier) -> Iterator[tuple[IndexArray, PriceArray]]:
    """Yield for each asset, in order, the rows of its days after the warm-up and their features.

    A value of bars may be undefined, such as the logarithm of an average below zero: it is NaN or
    infinite. An asset with too few days has no rows.

    Args:
        panel: checked prices.
        tier: which features; every one but ``closes`` needs bars.

    Raises:
        DataError: the tier needs bars, and the panel is of closes alone.
    """
    if tier == "closes":
        return _of_closes(panel)
    require(
        panel.has_bars,
        panel.name,
        f"tier {tier} needs open, high, low and volume of every asset",
        got="a panel of closes alone",
        remedy="Choose the tier closes, or import a panel with bars.",
        error=DataError,
    )
    require(
        TIER_SOURCES[tier] == ("ohlcv",),
        panel.name,
        "a panel's features must be made of its own prices",
        got=f"tier={tier} of {', '.join(TIER_SOURCES[tier])}",
        remedy="Choose another tier.",
        error=DataError,
    )
    return _of_bars(panel, tier)


def _of_closes(panel: Panel) -> Iterator[tuple[IndexArray, PriceArray]]:
    sector_of_asset = _numbered(panel.sectors or ("all",) * len(panel.assets))
    market_D, sector_DS = _log_indices(panel, sector_of_asset)
    for asset, sector in enumerate(sector_of_asset):
        days = np.flatnonzero(np.isfinite(panel.close[:, asset]))
        closes = asset_closes(panel.close[days, asset], market_D[days], sector_DS[days, sector])
        columns = [spec.compute(closes)[WARM_UP_DAYS:] for spec in CLOSES]
        yield days[WARM_UP_DAYS:], np.stack(columns, axis=1)


def _numbered(sectors: tuple[str, ...]) -> npt.NDArray[np.int64]:
    return np.unique(sectors, return_inverse=True)[1].astype(np.int64)


def _log_indices(
    panel: Panel, sector_of_asset: npt.NDArray[np.int64]
) -> tuple[PriceArray, PriceArray]:
    """Return the log index of the market, and of each sector, on every day of the calendar.

    A day adds the mean of the log returns of the assets that have a price on it, each since the
    asset's last day with a price; 0 where no asset has one.
    """
    shape = (len(panel.dates), int(sector_of_asset.max()) + 1)
    sum_DS, count_DS = np.zeros(shape), np.zeros(shape)
    for asset, sector in enumerate(sector_of_asset):
        days = np.flatnonzero(np.isfinite(panel.close[:, asset]))
        sum_DS[days[1:], sector] += np.diff(np.log(panel.close[days, asset]))
        count_DS[days[1:], sector] += 1
    market_D = np.cumsum(sum_DS.sum(axis=1) / np.maximum(count_DS.sum(axis=1), 1))
    return market_D, np.cumsum(sum_DS / np.maximum(count_DS, 1), axis=0)


def _of_bars(panel: Panel, tier: Tier) -> Iterator[tuple[IndexArray, PriceArray]]:
    open_, high, low, volume = (panel.bars[name] for name in BAR_COLUMNS)
    prices = {"Open": open_, "High": high, "Low": low, "Close": panel.close, "Volume": volume}
    for asset in range(len(panel.assets)):
        of_asset = {name: values[:, asset] for name, values in prices.items()}
        days = np.flatnonzero(np.isfinite(np.stack(list(of_asset.values()))).all(axis=0))
        if len(days) <= dropped_days(tier):
            yield days[:0], np.empty((0, len(TIERS[tier])))
            continue
        frame = pd.DataFrame(
            {name: values[days] for name, values in of_asset.items()},
            index=pd.DatetimeIndex(panel.dates[days], name=DATE_COLUMN),
        )
        features = pd.DataFrame(compute_columns(frame, tier), index=frame.index)
        inputs = inputs_of_all_rows(features.iloc[warm_up_days(tier) :], "relative")
        yield days[dropped_days(tier) :], inputs.to_numpy()
