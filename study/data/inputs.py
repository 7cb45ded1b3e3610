"""Features to model inputs: scale-free, then standardised with statistics of training rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.config import Normalization
from study.data.features import require_finite, trailing_sum
from study.errors import DataError, require

INPUT_WARM_UP_DAYS = 20
"""Feature rows dropped at the front, under every normalization alike, so that all of them speak of
the same days: the on-balance volume looks back 20 days."""

LARGEST_INPUT = 100.0
"""A standardised input beyond this is a broken bar, not a market: 1987-10-19 was about 20."""

_VOLUME_DAYS = 20
_OBV_DAYS = 20
_STANDARDISED: tuple[Normalization, ...] = ("relative", "zscore")

# How each feature becomes free of the level of price and volume.
_LOG_TO_CLOSE = (
    *("Open", "High", "Low", "atr_14", "vwap_20"),
    *(f"dema_{n}" for n in (9, 10, 20, 25, 90)),
    *(f"sma_{n}" for n in (12, 50, 100, 200)),
)
_PERCENT = ("rsi_daily", "rsi_weekly", "stochrsi_daily", "stochrsi_weekly", "adx_14")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaler:
    """What was subtracted from and divided into each input; 0 and 1 where levels stay raw."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]


def make_inputs(features: pd.DataFrame, normalization: Normalization) -> pd.DataFrame:
    """Return unstandardised model inputs: relative values, or the levels themselves.

    Row t depends on feature rows up to t only.

    Args:
        features: as ``build_features`` returns them.
        normalization: ``relative`` gives scale-free values, all others the levels.

    Returns: float64 of shape (n_rows - 20, n_features), the same columns in the same order.

    Raises:
        DataError: a value is undefined, such as the logarithm of an average below zero.
    """
    columns = (
        _relative_columns(features)
        if normalization == "relative"
        else {name: features[name].to_numpy() for name in features.columns}
    )
    frame = pd.DataFrame(
        {name: columns[name] for name in features.columns}, index=features.index
    ).iloc[INPUT_WARM_UP_DAYS:]
    require_finite(
        frame,
        f"{normalization} inputs",
        "Check the bars before that day, or use the normalization zscore.",
    )
    return frame


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
        remedy="Give a source in which they move; an index without volume cannot serve tier a25.",
        error=DataError,
    )
    names = tuple(str(name) for name in inputs.columns)
    if normalization not in _STANDARDISED:
        return Scaler(names=names, mean=(0.0,) * len(names), sd=(1.0,) * len(names))
    mean, sd = values.mean(axis=0), values.std(axis=0)
    return Scaler(names=names, mean=tuple(mean.tolist()), sd=tuple(sd.tolist()))


def scale_inputs(inputs: pd.DataFrame, scaler: Scaler, normalization: Normalization) -> SampleArray:
    """Return (inputs - mean) / sd, float32 and C-contiguous, shape (n_rows, n_features).

    Raises:
        DataError: a standardised value exceeds LARGEST_INPUT.
    """
    scaled = (inputs.to_numpy() - np.array(scaler.mean)) / np.array(scaler.sd)
    if normalization in _STANDARDISED:
        row, column = divmod(int(np.abs(scaled).argmax()), scaled.shape[1])
        require(
            abs(scaled[row, column]) <= LARGEST_INPUT,
            f"{normalization} input {scaler.names[column]} on {inputs.index[row]:%Y-%m-%d}",
            f"must lie within {LARGEST_INPUT:g} standard deviations of the training mean",
            got=f"{scaler.names[column]}={scaled[row, column]:.1f}",
            remedy="Look for a wrong bar near that day.",
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
    if normalization not in _STANDARDISED:
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


def _relative_columns(features: pd.DataFrame) -> dict[str, PriceArray]:
    level = {str(name): features[name].to_numpy() for name in features.columns}
    close, volume = level["Close"], level["Volume"]
    traded = trailing_sum(volume, _VOLUME_DAYS)
    relative = {
        # A value <= 0 has no logarithm; the caller names the feature and the day.
        **{name: _log(level[name] / close) for name in _LOG_TO_CLOSE},
        **{name: (level[name] - 50) / 50 for name in _PERCENT},
        "Close": _log(close / _earlier(close, 1)),
        "Volume": _ratio(volume * _VOLUME_DAYS, traded) - 1,
        "macd_line": level["macd_line"] / close,
        "obv": _ratio(level["obv"] - _earlier(level["obv"], _OBV_DAYS), traded),
        "adosc": _ratio(level["adosc"] * _VOLUME_DAYS, traded),
        "bb_percent_b": 2 * level["bb_percent_b"] - 1,
    }
    return relative


def _log(values: PriceArray) -> PriceArray:
    return np.log(values, where=values > 0, out=np.full_like(values, np.nan))


def _ratio(numerator: PriceArray, volume: PriceArray) -> PriceArray:
    """Return numerator / volume, 0 where twenty days had no volume at all."""
    silent = volume == 0
    ratio: PriceArray = np.where(silent, 0.0, numerator / np.where(silent, 1.0, volume))
    return ratio


def _earlier(values: PriceArray, n_days: int) -> PriceArray:
    return np.append(np.full(min(n_days, len(values)), np.nan), values[:-n_days])
