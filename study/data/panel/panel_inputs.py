"""The way from the features of a panel's assets to model inputs: standardised, 0 where unknown."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.data_config import Normalization, Tier
from study.data.panel.panel import MaskArray, Panel
from study.data.panel.panel_features import (
    features_by_asset,
    panel_feature_hash,
    panel_feature_names,
    panel_warm_up_days,
)
from study.errors import DataError, require
from study.statistics.tied_ranks import average_ranks

__all__ = ["PanelInputs", "build_panel_inputs", "panel_feature_hash", "panel_warm_up_days"]

_FEWEST_ASSETS = 3
"""Least number of assets that are compared: two differ by their order alone."""

_LARGEST = 5.0
"""Largest absolute z: among thousands of assets a takeover or a wrong price is tens of standard
deviations away, and would rule the gradient of its day. An own choice."""

_LEAST_SPREAD, _LEAST_SHARE = 1e-9, 1e-6
"""Standard deviation, and its share of the largest absolute value, below which differences are
rounding: features are free of a price's level, so a real spread is far above the first, and a value
of 32 bits is known to a share of 6e-8."""

_VALUES_AT_ONCE = 2**20
"""Number of values standardised together: a copy of 64 bits has 8 MiB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelInputs:
    """Model inputs of a panel."""

    names: tuple[str, ...]
    values: SampleArray
    """Standardised features, float32 of shape (n_days, n_assets, n_features); 0 where unknown."""
    known: MaskArray
    """Are all features of the asset known on the day? Shape (n_days, n_assets)."""


def build_panel_inputs(
    panel: Panel, tier: Tier, normalization: Normalization, train_rows: IndexArray
) -> PanelInputs:
    """Return the inputs of every asset on every day of a panel.

    Day t depends on prices up to t, and under ``zscore`` on the training rows' mean and spread.

    Args:
        panel: checked prices.
        tier: which features.
        normalization: ``cross_z`` and ``cross_rank`` compare the assets of a day, ``zscore`` takes
            the mean and standard deviation of all assets on the training rows.
        train_rows: rows of days in training windows; only ``zscore`` reads them.

    Raises:
        DataError: the tier needs bars that the panel lacks, or no training row has inputs.
    """
    names = panel_feature_names(tier)
    values = np.zeros((*panel.close.shape, len(names)), np.float32)
    known = np.zeros(panel.close.shape, np.bool_)
    for asset, (days, features) in enumerate(features_by_asset(panel, tier)):
        # What is beyond 32 bits becomes infinite, and is unknown as an undefined value is.
        with np.errstate(over="ignore"):
            rounded = features.astype(np.float32)
        finite = np.isfinite(rounded).all(axis=1)
        values[days[finite], asset] = rounded[finite]
        known[days[finite], asset] = True
    match normalization:
        case "cross_z":
            _standardise_days(values, known)
        case "cross_rank":
            _rank_days(values, known)
        case "zscore":
            _standardise_by(values, known, train_rows, panel.name)
        case _:
            raise DataError(
                f"{panel.name}: a panel's normalization must be cross_z, cross_rank or zscore, "
                f"but got {normalization}. Choose another --normalization."
            )
    return PanelInputs(names=names, values=values, known=known)


# Shapes: D day, A asset, F feature.


def _blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of days, so that a copy of one is small however large the panel is."""
    n_days, n_assets, n_features = shape
    step = max(1, _VALUES_AT_ONCE // max(1, n_assets * n_features))
    return (slice(first, first + step) for first in range(0, n_days, step))


def _is_spread(sd: PriceArray, largest: PriceArray) -> MaskArray:
    spread: MaskArray = sd > np.maximum(_LEAST_SPREAD, _LEAST_SHARE * largest)
    return spread


def _standardise_days(values_DAF: SampleArray, known_DA: MaskArray) -> None:
    """Replace values by their z across the known assets of the day."""
    for days in _blocks(values_DAF.shape):
        value_DAF = values_DAF[days].astype(np.float64)
        known_DA1 = known_DA[days][:, :, None]
        count_D11 = known_DA1.sum(axis=1, keepdims=True)
        mean_D1F = value_DAF.sum(axis=1, keepdims=True) / np.maximum(count_D11, 1)
        largest_D1F = np.abs(value_DAF).max(axis=1, keepdims=True)
        value_DAF -= mean_D1F
        value_DAF *= known_DA1
        squares_D1F = np.einsum("daf,daf->df", value_DAF, value_DAF)[:, None]
        sd_D1F = np.sqrt(squares_D1F / np.maximum(count_D11, 1))
        compared = _is_spread(sd_D1F, largest_D1F) & (count_D11 >= _FEWEST_ASSETS)
        value_DAF /= np.where(compared, sd_D1F, np.inf)
        values_DAF[days] = value_DAF.clip(-_LARGEST, _LARGEST)


def _rank_days(values_DAF: SampleArray, known_DA: MaskArray) -> None:
    """Replace values by their ranks across the known assets of the day, of about unit variance.

    Rank r of n, the mean rank for ties, becomes sqrt(3) (2 r - 1 - n) / n: evenly spaced within
    +-sqrt(3), of mean 0 and variance 1 - 1/n^2 without ties.
    """
    for days in _blocks(values_DAF.shape):
        known_DA1 = known_DA[days][:, :, None]
        count_D11 = known_DA1.sum(axis=1, keepdims=True)
        # The unknown are last in order, where they take no rank of the known.
        value_DFA = np.where(known_DA1, values_DAF[days], np.nan).transpose(0, 2, 1)
        rank_DAF = average_ranks(np.ascontiguousarray(value_DFA)).transpose(0, 2, 1)
        spread = _spread_of_days(values_DAF[days], known_DA1)
        compared = known_DA1 & spread & (count_D11 >= _FEWEST_ASSETS)
        scaled_DAF = np.sqrt(3) * (2 * rank_DAF - 1 - count_D11) / np.maximum(count_D11, 1)
        values_DAF[days] = np.where(compared, scaled_DAF, 0.0)


def _spread_of_days(value_DAF: SampleArray, known_DA1: MaskArray) -> MaskArray:
    """Return whether the known assets of the day differ, shape (D, 1, F)."""
    low = value_DAF.min(axis=1, keepdims=True, where=known_DA1, initial=np.inf)
    high = value_DAF.max(axis=1, keepdims=True, where=known_DA1, initial=-np.inf)
    known = np.isfinite(low)
    width = np.where(known, high, 0.0) - np.where(known, low, 0.0)
    return _is_spread(width, np.abs(value_DAF).max(axis=1, keepdims=True))


def _standardise_by(
    values_DAF: SampleArray, known_DA: MaskArray, rows: IndexArray, where: str
) -> None:
    """Replace values by their z among all known assets of the given rows."""
    in_rows = np.zeros(len(values_DAF), np.bool_)
    in_rows[rows] = True
    count = int(known_DA[in_rows].sum())
    require(
        count > 0,
        where,
        "an asset must have inputs on a training day",
        got="none on any of them",
        remedy="Give a longer history, or choose a tier that looks back less.",
        error=DataError,
    )
    # Unknown values are 0, so that they add nothing to a sum.
    n_features = values_DAF.shape[-1]
    sum_F, largest_F, squares_F = np.zeros(n_features), np.zeros(n_features), np.zeros(n_features)
    for row in np.flatnonzero(in_rows):
        sum_F += values_DAF[row].sum(axis=0, dtype=np.float64)
        largest_F = np.maximum(largest_F, np.abs(values_DAF[row]).max(axis=0))
    mean_F = sum_F / count
    for row in np.flatnonzero(in_rows):
        centred_AF = (values_DAF[row] - mean_F) * known_DA[row][:, None]
        squares_F += np.einsum("af,af->f", centred_AF, centred_AF)
    sd_F = np.sqrt(squares_F / count)
    scale_F = np.where(_is_spread(sd_F, largest_F), sd_F, np.inf)
    for days in _blocks(values_DAF.shape):
        scaled_DAF = (values_DAF[days] - mean_F) / scale_F * known_DA[days][:, :, None]
        values_DAF[days] = scaled_DAF.clip(-_LARGEST, _LARGEST)
