"""The sealed part of the history, hidden from a search and opened once the winners are known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.data.arrays import DayArray, IndexArray, SampleArray
from study.data.data_config import DataConfig
from study.data.dataset import Dataset, data_fingerprint, vix_of
from study.data.inputs import build_inputs, scale_inputs, usable_bars
from study.data.labels import make_labels
from study.data.prices import Prices
from study.data.sources import IMPORT_FOLDER, load_prices
from study.data.splits import split_days
from study.data.vix_series import VixSeries
from study.errors import DataError, require


@dataclass(frozen=True, kw_only=True, slots=True)
class Holdout:
    """A cell's whole history, the test part included; its rows continue those of its data set.

    Of a fold, the inputs are scaled as in its own training, and the days are its own.
    """

    prices: Prices
    features: SampleArray
    """Model inputs, float32, shape (n_days, n_features), scaled as in training."""
    labels: SampleArray
    """Labels, float32 of shape (n_days,): 0 or 1, NaN where the days to come are not known yet."""
    dates: DayArray
    """Days, datetime64[D] of shape (n_days,)."""
    bars: IndexArray
    """Row of each day in the prices."""
    train_days: IndexArray
    validation_days: IndexArray
    test_days: IndexArray


def open_holdout(
    config: DataConfig,
    dataset: Dataset,
    prices: Prices | None = None,
    import_folder: Path = IMPORT_FOLDER,
    fold: int | None = None,
) -> Holdout:
    """Return inputs and labels of all days of a cell, of the test part too.

    Args:
        config: of the cell.
        dataset: its data set, or that of the fold, whose scaler and rows are kept.
        prices: bars to use in place of those that ``config.source`` names.
        import_folder: where imported markets and volatility indices live.
        fold: number of the fold, from 0; None returns the test days of all.

    Raises:
        DataError: the prices are not those of the data set.
    """
    if prices is None:
        prices = load_prices(config.source, import_folder, config.accept)
    vix = vix_of(config, import_folder)
    fingerprint = data_fingerprint(prices, vix)
    require(
        fingerprint == dataset.fingerprint,
        prices.name,
        "must hold the prices that the search saw" + ("" if vix is None else ", and the VIX too"),
        got=f"sha256 {fingerprint[:12]}, not {dataset.fingerprint[:12]}",
        remedy="Put the file back, or search again.",
        error=DataError,
    )
    bars = usable_bars(prices, config.tier, vix)
    features = known_inputs(config, dataset, prices, vix)
    dates = prices.frame.index.to_numpy().astype("datetime64[D]")[bars]
    days = split_days(dates, config, fold)
    labels = make_labels(
        prices.frame, kind=config.label_kind, horizon=config.horizon, threshold=config.threshold
    )[bars]
    # A feature that looked ahead would differ where the search saw fewer days.
    n_visible = len(dataset.features)
    assert np.array_equal(features[:n_visible], dataset.features)
    assert np.array_equal(labels[dataset.validation_days], dataset.labels[dataset.validation_days])
    return Holdout(
        prices=prices,
        features=features,
        labels=labels,
        dates=dates,
        bars=bars,
        train_days=dataset.train_days,
        validation_days=days.validation,
        test_days=days.test,
    )


def known_inputs(
    config: DataConfig, dataset: Dataset, prices: Prices, vix: VixSeries | None = None
) -> SampleArray:
    """Return the inputs of every day of ``prices``, scaled by the training days of ``dataset``."""
    inputs = build_inputs(prices, config.tier, config.normalization, vix)
    return scale_inputs(inputs, dataset.scaler, config.normalization)
