"""The way from features to model inputs: scale-free, then standardised by the training rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.data_config import Normalization, Tier
from study.data.features import (
    SPECS,
    InputRule,
    days_with_vix,
    features_of_all_days,
    has_vix,
    require_finite,
    warm_up_days,
)
from study.data.features.rolling import earlier, ratio, trailing_sum
from study.data.prices import Prices
from study.data.vix_series import VixSeries
from study.errors import DataError, require

INPUT_WARM_UP_DAYS = 20
"""Feature rows dropped at the front, under every normalization alike, so that all of them speak of
the same days: the on-balance volume looks back 20 days."""

_VOLUME_DAYS = 20
_OBV_DAYS = 20
STANDARDISED: tuple[Normalization, ...] = ("relative", "zscore")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaler:
    """What was subtracted from and divided into each input; 0 and 1 where levels stay raw."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]


def dropped_days(tier: Tier) -> int:
    """Return the bars at the front of a history that have no inputs."""
    return warm_up_days(tier) + INPUT_WARM_UP_DAYS


def make_inputs(features: pd.DataFrame, normalization: Normalization) -> pd.DataFrame:
    """Return unstandardised model inputs: relative values, or the levels themselves.

    Row t depends on feature rows up to t only.

    Args:
        features: as ``build_features`` returns them, of days in a row.
        normalization: ``relative`` gives scale-free values, all others the levels.

    Returns: float64 of shape (n_rows - 20, n_features), the same columns in the same order.

    Raises:
        DataError: a value is undefined, such as the logarithm of an average below zero.
    """
    inputs = inputs_of_all_rows(features, normalization)
    return _require_defined(inputs, normalization)


def build_inputs(
    prices: Prices,
    tier: Tier,
    normalization: Normalization,
    vix_series: VixSeries | None = None,
) -> pd.DataFrame:
    """Return the unstandardised inputs of every day of a history that has all of a tier's.

    What is made of prices sees every bar; only then are days without the volatility index dropped.

    Args:
        prices: checked bars.
        tier: which features.
        normalization: as for ``make_inputs``.
        vix_series: the volatility index, for a tier that is made of it.

    Returns: float64 of shape (n_days, n_features), the days that ``usable_bars`` names.

    Raises:
        DataError: there are too few bars, or a value is undefined.
    """
    features = features_of_all_days(prices, tier, vix_series)
    inputs = inputs_of_all_rows(features, normalization)
    known = days_with_vix(features.iloc[INPUT_WARM_UP_DAYS:])
    return _require_defined(inputs.iloc[known], normalization)


def usable_bars(prices: Prices, tier: Tier, vix_series: VixSeries | None = None) -> IndexArray:
    """Return the rows of the bars that have inputs, without computing those made of prices.

    Args:
        prices: checked bars.
        tier: which features.
        vix_series: the volatility index, for a tier that is made of it.
    """
    bars = np.arange(dropped_days(tier), len(prices.frame))
    if vix_series is None:
        return bars
    return bars[has_vix(prices.frame.index.to_numpy()[bars].astype("datetime64[D]"), vix_series)]


def inputs_of_all_rows(features: pd.DataFrame, normalization: Normalization) -> pd.DataFrame:
    """Return inputs as ``make_inputs`` does, NaN or infinite where a value is undefined."""
    if normalization != "relative":
        return features.iloc[INPUT_WARM_UP_DAYS:]
    columns = _as_relative(features)
    return pd.DataFrame(columns, index=features.index).iloc[INPUT_WARM_UP_DAYS:]


def _require_defined(inputs: pd.DataFrame, normalization: Normalization) -> pd.DataFrame:
    require_finite(
        inputs,
        f"{normalization} inputs",
        "Check the bars before that day, or use the normalization zscore.",
    )
    return inputs


def fit_scaler(inputs: pd.DataFrame, rows: IndexArray, normalization: Normalization) -> Scaler:
    """Return mean and standard deviation (ddof 0) of the given rows; 0 and 1 for raw levels.

    Args:
        inputs: as ``make_inputs`` returns them.
        rows: the training rows, an index set in any order.
        normalization: ``revin`` and ``none`` keep levels.

    Raises:
        DataError: an input does not vary in these rows.
    """
    values = inputs.to_numpy()[rows]
    spread = values.max(axis=0) - values.min(axis=0)
    constant = inputs.columns[spread <= 1e-9 * np.abs(values).max(axis=0)]
    require(
        len(constant) == 0,
        "features",
        "must vary over the training rows",
        got=f"constant={', '.join(constant)}",
        remedy="Give a source in which they move, or choose a tier without them.",
        error=DataError,
    )
    names = tuple(str(name) for name in inputs.columns)
    if normalization not in STANDARDISED:
        return Scaler(names=names, mean=(0.0,) * len(names), sd=(1.0,) * len(names))
    mean, sd = values.mean(axis=0), values.std(axis=0)
    return Scaler(names=names, mean=tuple(mean.tolist()), sd=tuple(sd.tolist()))


def scale_inputs(inputs: pd.DataFrame, scaler: Scaler, normalization: Normalization) -> SampleArray:
    """Return (inputs - mean) / sd, float32 and C-contiguous, shape (n_rows, n_features).

    Raises:
        DataError: a value is beyond the range of float32.
    """
    scaled = (inputs.to_numpy() - np.array(scaler.mean)) / np.array(scaler.sd)
    beyond = np.abs(scaled) > np.finfo(np.float32).max
    row, column = divmod(int(beyond.argmax()), scaled.shape[1])
    require(
        not beyond.any(),
        f"{normalization} input {scaler.names[column]} on {inputs.index[row]:%Y-%m-%d}",
        "must be a number of 32 bits",
        got=f"{scaler.names[column]}={scaled[row, column]:.4g}",
        remedy="Use the normalization relative, or give volumes in another unit.",
        error=DataError,
    )
    return np.ascontiguousarray(scaled, dtype=np.float32)


def measure_shift(
    inputs: pd.DataFrame, train_rows: IndexArray, validation_rows: IndexArray
) -> dict[str, float]:
    """Return (validation mean - train mean) / train standard deviation, by input."""
    values = inputs.to_numpy()
    train = values[train_rows]
    shift = (values[validation_rows].mean(axis=0) - train.mean(axis=0)) / train.std(axis=0)
    return {str(name): float(value) for name, value in zip(inputs.columns, shift, strict=True)}


def require_small_shift(
    shift: dict[str, float], max_shift: float, normalization: Normalization
) -> None:
    """Refuse inputs whose validation mean left the range that training saw.

    Raw levels are let through: whoever chose ``revin`` or ``none`` normalises inside the model.

    Raises:
        DataError: an input moved more than ``max_shift`` training standard deviations.
    """
    if normalization not in STANDARDISED:
        return
    moved = {name: value for name, value in shift.items() if abs(value) > max_shift}
    worst = sorted(moved, key=lambda name: -abs(moved[name]))
    require(
        not moved,
        f"{normalization} inputs",
        f"must not shift more than max_shift={max_shift:g} from training to validation",
        got=", ".join(f"{name}={moved[name]:+.1f}" for name in worst),
        remedy="Use the normalization relative, or raise max_shift if the drift is meant.",
        error=DataError,
    )


def _as_relative(features: pd.DataFrame) -> dict[str, PriceArray]:
    """Return every feature by its rule, NaN where that looks back before the first row."""
    close: PriceArray = features["Close"].to_numpy()
    volume: PriceArray = features["Volume"].to_numpy()
    # Where twenty days had no volume at all, what is measured in it is 0.
    traded = trailing_sum(volume, _VOLUME_DAYS)

    def relative(name: str, rule: InputRule) -> PriceArray:
        level: PriceArray = features[name].to_numpy()
        match rule:
            case "as_is":
                return level
            case "log":
                return _log(level)
            case "log_to_close":
                # A value <= 0 has no logarithm; the caller names the feature and the day.
                return _log(level / close)
            case "to_close":
                return level / close
            case "centred_percent":
                return (level - 50) / 50
            case "centred_share":
                return 2 * level - 1
            case "log_return":
                return _log(level / earlier(level, 1))
            case "to_mean_volume":
                return ratio(level * _VOLUME_DAYS, traded) - 1
            case "to_volume":
                return ratio(level * _VOLUME_DAYS, traded)
            case "change_to_volume":
                return ratio(level - earlier(level, _OBV_DAYS), traded)

    return {str(name): relative(str(name), SPECS[str(name)].to_input) for name in features.columns}


def _log(values: PriceArray) -> PriceArray:
    return np.log(values, where=values > 0, out=np.full_like(values, np.nan))


def scaled_inputs(
    inputs: pd.DataFrame,
    train_rows: IndexArray,
    validation_days: IndexArray,
    normalization: Normalization,
) -> tuple[SampleArray, Scaler, dict[str, float]]:
    """Return the inputs of the days that a search may see, their scaler and their shift.

    The scaler knows the rows that training windows hold and no others, those of a share too: with
    statistics of days that a share leaves out, its runs would have learnt from more data than they
    are counted with. In return, inputs of two shares differ a little where they have a day in
    common.

    Args:
        inputs: unstandardised inputs of the days.
        train_rows: rows of training windows.
        validation_days: rows of validation days.
        normalization: how features become inputs.

    Raises:
        DataError: an input is constant.
    """
    scaler = fit_scaler(inputs, train_rows, normalization)
    shift = measure_shift(inputs, train_rows, validation_days)
    return scale_inputs(inputs, scaler, normalization), scaler, shift
