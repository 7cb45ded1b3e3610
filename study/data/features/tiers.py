"""The tiers of features, and their values on each day that has all of them."""

import hashlib

import numpy as np
import pandas as pd

from study.data.arrays import IndexArray, PriceArray
from study.data.data_config import Tier
from study.data.features import (
    a50,
    a100_momentum,
    a100_risk,
    a200_averages,
    a200_candles,
    a200_channels,
    a200_durations,
    a200_states,
    vix,
)
from study.data.features.a25 import A25
from study.data.features.feature import FeatureSpec, bars_of
from study.data.prices import Prices
from study.data.vix_series import VixSeries
from study.errors import DataError, require

_A50 = (*A25, *a50.ADDED)
_A100 = (*_A50, *a100_momentum.ADDED, *a100_risk.ADDED)
_A200 = (
    *_A100,
    *a200_averages.ADDED,
    *a200_durations.ADDED,
    *a200_channels.ADDED,
    *a200_candles.ADDED,
    *a200_states.ADDED,
)

TIERS: dict[Tier, tuple[FeatureSpec, ...]] = {
    "a25": A25,
    "a50": _A50,
    "a100": _A100,
    "a200": _A200,
    "c": (*A25, *vix.ADDED),
}

SPECS: dict[str, FeatureSpec] = {spec.name: spec for tier in TIERS.values() for spec in tier}
"""Every feature by its name; a name means the same in every tier."""

_LONGEST_WEEK = 7


def warm_up_days(tier: Tier) -> int:
    """Return the bars at the front without all features of a tier.

    Every week has a bar, and at most seven, so weekly indicators have values after seven days for
    each week. The days that wait for the volatility index are not counted in.
    """
    needed = (
        spec.look_back * (_LONGEST_WEEK if spec.weekly else 1)
        for spec in TIERS[tier]
        if spec.source == "ohlcv"
    )
    return max(needed) - 1


WARM_UP_DAYS = warm_up_days("a25")


def feature_hash(tier: Tier) -> str:
    """Return the sha256 of the tier's names, order and definitions."""
    text = "\n".join(f"{spec.name}\t{spec.formula}\t{spec.source}" for spec in TIERS[tier])
    return hashlib.sha256(text.encode()).hexdigest()


def build_features(
    prices: Prices, tier: Tier = "a25", vix_series: VixSeries | None = None
) -> pd.DataFrame:
    """Return the features of every day that has all of them.

    Args:
        prices: checked bars.
        tier: which features.
        vix_series: the volatility index, for a tier that is made of it.

    Returns: float64 of shape (n_days, n_features) in the order of the tier, indexed by ``Date``;
        all days after the warm-up, except those without a value of the volatility index.

    Raises:
        DataError: there are too few bars, or a later value is undefined.
    """
    frame = features_of_all_days(prices, tier, vix_series)
    return frame.loc[frame.index[days_with_vix(frame)]]


def features_of_all_days(
    prices: Prices, tier: Tier, vix_series: VixSeries | None = None
) -> pd.DataFrame:
    """Return the features of all days after the warm-up, NaN where the volatility index is unknown.

    Raises:
        DataError: there are too few bars, or a value made of prices is undefined.
    """
    n_bars, warm_up = len(prices.frame), warm_up_days(tier)
    longest = max(TIERS[tier], key=lambda spec: 0 if spec.weekly else spec.look_back)
    require(
        n_bars > warm_up,
        prices.name,
        f"tier {tier} needs more than {warm_up} bars for its "
        + ("200-day mean" if longest.name == "sma_200" else longest.name),
        got=f"rows={n_bars}",
        remedy="Give a longer history.",
        error=DataError,
    )
    columns = compute_columns(prices.frame, tier, vix_series)
    frame = pd.DataFrame(columns, index=prices.frame.index).iloc[warm_up:]
    of_prices = [spec.name for spec in TIERS[tier] if spec.source == "ohlcv"]
    require_finite(frame[of_prices], prices.name, "Check the bars before that day.")
    return frame


def days_with_vix(features: pd.DataFrame) -> IndexArray:
    """Return the rows in which every column made of the volatility index is known."""
    names = [name for name in features.columns if SPECS[str(name)].source == "vix"]
    return np.flatnonzero(features[names].notna().to_numpy().all(axis=1))


def require_finite(frame: pd.DataFrame, where: str, remedy: str) -> None:
    """Refuse NaN and infinity in a frame of features or inputs, naming the first day and column.

    Raises:
        DataError: a value is not finite.
    """
    values = frame.to_numpy()
    undefined = np.argwhere(~np.isfinite(values))
    if len(undefined):
        row, column = undefined[0]
        day = frame.index.to_numpy()[row].astype("datetime64[D]")
        name = frame.columns[column]
        raise DataError(
            f"{where} {day} column {name}: must be finite after the warm-up, "
            f"but got {name}={values[row, column]}. {remedy}"
        )


def compute_columns(
    frame: pd.DataFrame, tier: Tier = "a25", vix_series: VixSeries | None = None
) -> dict[str, PriceArray]:
    """Return each feature of a tier for every bar, in order, NaN in its own warm-up.

    Args:
        frame: bars, as in ``Prices``.
        tier: which features.
        vix_series: the volatility index, for a tier that is made of it.
    """
    bars = bars_of(frame, vix_series)
    columns = {}
    for spec in TIERS[tier]:
        values = spec.compute(bars).astype(np.float64)
        if spec.source == "ohlcv" and not spec.weekly:
            values[: spec.look_back - 1] = np.nan
        columns[spec.name] = values
    return columns
