"""The way from the features of a panel's assets to model inputs: standardised, 0 where unknown."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import talib

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
from study.statistics.tied_ranks import FEWEST_ASSETS, average_ranks

__all__ = [
    "PanelInputs", "build_panel_inputs", "panel_feature_hash", "panel_inputs_code",
    "panel_warm_up_days",
]  # fmt: skip

STUDY = Path(__file__).parents[2]
"""Folder of the package."""

CODE_OF_INPUTS = (
    "data/features/*.py", "data/inputs.py", "data/panel/panel_features.py",
    "data/panel/panel_inputs.py", "statistics/tied_ranks.py",
)  # fmt: skip
"""Modules that compute inputs, in ``STUDY``."""

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
    panel: Panel,
    tier: Tier,
    normalization: Normalization,
    train_rows: IndexArray,
    rows: IndexArray | None = None,
) -> PanelInputs:
    """Return the inputs of every asset on the days of a panel.

    Day t depends on prices up to t, and under ``zscore`` on the training rows' mean and spread.

    Args:
        panel: checked prices.
        tier: which features.
        normalization: ``cross_z`` and ``cross_rank`` compare the assets of a day, ``zscore`` takes
            the mean and standard deviation of all assets on the training rows.
        train_rows: rows of days in training windows; only ``zscore`` reads them.
        rows: rows of the days to return, ascending, each once; None returns all.

    Raises:
        DataError: the tier needs bars that the panel lacks, or no training row has inputs.
    """
    names = panel_feature_names(tier)
    n_days, n_assets = panel.close.shape
    rows = np.arange(n_days) if rows is None else rows
    place = np.full(n_days, -1)
    place[rows] = np.arange(len(rows))
    trains = np.zeros(n_days, np.bool_)
    if normalization == "zscore":
        trains[train_rows] = True
    training = _Moments.of_none(len(names))
    values = np.zeros((len(rows), n_assets, len(names)), np.float32)
    known = np.zeros(values.shape[:2], np.bool_)
    for asset, (days, features) in enumerate(features_by_asset(panel, tier)):
        # What is beyond 32 bits becomes infinite, and is unknown as an undefined value is.
        with np.errstate(over="ignore"):
            rounded = features.astype(np.float32)
        finite = np.isfinite(rounded).all(axis=1)
        training.add(rounded[finite & trains[days]])
        wanted = finite & (place[days] >= 0)
        values[place[days[wanted]], asset] = rounded[wanted]
        known[place[days[wanted]], asset] = True
    match normalization:
        case "cross_z":
            _standardise_days(values, known)
        case "cross_rank":
            _rank_days(values, known)
        case "zscore":
            _standardise_by(values, known, training, panel.name)
        case _:
            raise DataError(
                f"{panel.name}: a panel's normalization must be cross_z, cross_rank or zscore, "
                f"but got {normalization}. Choose another --normalization."
            )
    return PanelInputs(names=names, values=values, known=known)


@functools.cache
def panel_inputs_code(study: Path = STUDY) -> str:
    """Return the sha256 of the code and the versions of the libraries that compute inputs.

    Names and formulas of features do not show a change of what is computed. It is read once: a
    process runs what it has loaded, whatever becomes of the files.

    Args:
        study: folder of the package.
    """
    libraries = (np.__version__, pd.__version__, talib.__version__)
    return code_digest(CODE_OF_INPUTS, libraries, study)


def code_digest(
    modules: Sequence[str], libraries: tuple[str | None, ...], study: Path = STUDY
) -> str:
    """Return the sha256 of modules and of the versions of the libraries that they call.

    Args:
        modules: patterns of their files in the folder of the package.
        libraries: versions of the libraries.
        study: folder of the package.
    """
    content = hashlib.sha256(repr(libraries).encode())
    for pattern in modules:
        for path in sorted(study.glob(pattern)):
            name = path.relative_to(study).as_posix()
            content.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()


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
        compared = _is_spread(sd_D1F, largest_D1F) & (count_D11 >= FEWEST_ASSETS)
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
        compared = known_DA1 & spread & (count_D11 >= FEWEST_ASSETS)
        scaled_DAF = np.sqrt(3) * (2 * rank_DAF - 1 - count_D11) / np.maximum(count_D11, 1)
        values_DAF[days] = np.where(compared, scaled_DAF, 0.0)


def _spread_of_days(value_DAF: SampleArray, known_DA1: MaskArray) -> MaskArray:
    """Return whether the known assets of the day differ, shape (D, 1, F)."""
    low = value_DAF.min(axis=1, keepdims=True, where=known_DA1, initial=np.inf)
    high = value_DAF.max(axis=1, keepdims=True, where=known_DA1, initial=-np.inf)
    known = np.isfinite(low)
    width = np.where(known, high, 0.0) - np.where(known, low, 0.0)
    return _is_spread(width, np.abs(value_DAF).max(axis=1, keepdims=True))


@dataclass(kw_only=True, slots=True)
class _Moments:
    """Mean and spread of features over the rows seen so far, arrays of shape (n_features,)."""

    count: int
    mean_F: PriceArray
    squares_F: PriceArray
    """Sums of squared differences from the mean."""
    largest_F: PriceArray
    """Largest absolute values."""

    @classmethod
    def of_none(cls, n_features: int) -> "_Moments":
        """Return the moments of no rows."""
        mean_F, squares_F, largest_F = np.zeros((3, n_features))
        return cls(count=0, mean_F=mean_F, squares_F=squares_F, largest_F=largest_F)

    def add(self, value_NF: SampleArray) -> None:
        """Take in rows by the update of Chan, Golub and LeVeque (1983), which is stable."""
        n = len(value_NF)
        if n == 0:
            return
        mean_F = value_NF.mean(axis=0, dtype=np.float64)
        gap_F, whole = mean_F - self.mean_F, self.count + n
        self.squares_F += ((value_NF - mean_F) ** 2).sum(axis=0)
        self.squares_F += gap_F**2 * (self.count * n / whole)
        self.mean_F += gap_F * (n / whole)
        self.largest_F = np.maximum(self.largest_F, np.abs(value_NF).max(axis=0))
        self.count = whole


def _standardise_by(
    values_DAF: SampleArray, known_DA: MaskArray, training: _Moments, where: str
) -> None:
    """Replace values by their z among all known assets of the training rows."""
    require(
        training.count > 0,
        where,
        "an asset must have inputs on a training day",
        got="none on any of them",
        remedy="Give a longer history, or choose a tier that looks back less.",
        error=DataError,
    )
    sd_F = np.sqrt(training.squares_F / training.count)
    scale_F = np.where(_is_spread(sd_F, training.largest_F), sd_F, np.inf)
    for days in _blocks(values_DAF.shape):
        scaled_DAF = (values_DAF[days] - training.mean_F) / scale_F * known_DA[days][:, :, None]
        values_DAF[days] = scaled_DAF.clip(-_LARGEST, _LARGEST)
