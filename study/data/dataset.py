"""The build of a cell's data set: prices become the arrays that a search may see."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from study.data.arrays import DayArray, IndexArray, PriceArray, SampleArray
from study.data.checks.price_checks import require_clean
from study.data.checks.vix_timing import check_vix_timing
from study.data.data_config import DataConfig, Tier
from study.data.data_share import DataShare
from study.data.features import VIX_LOOK_BACK, feature_hash
from study.data.inputs import (
    Scaler,
    build_inputs,
    dropped_days,
    fit_scaler,
    measure_shift,
    require_small_shift,
    scale_inputs,
    usable_bars,
)
from study.data.labels import log_range, make_fall_labels, make_labels
from study.data.prices import Prices
from study.data.sources import IMPORT_FOLDER, load_prices
from study.data.splits import (
    Part,
    Splits,
    SplitSummary,
    count_folds,
    require_answerable,
    split_days,
    summarise,
)
from study.data.vix_series import VixSeries, load_vix
from study.errors import DataError, require


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One cell's data, all that a search, or a fold's training, may see. Arrays are read-only.

    The arrays end on the last validation day: features and labels of the test part are not in here.
    All that is known of the test part is its summary in ``splits``, with the number of its
    positives and what its days are worth, because without these nobody can say whether the study
    can be answered at all.
    """

    features: SampleArray
    """Model inputs, float32, C-contiguous, shape (n_days, n_features), no NaN."""
    labels: SampleArray
    """Labels, float32 of shape (n_days,): 0 or 1 on train and validation days, NaN on all
    others."""
    auxiliary: SampleArray
    """Log range of the next ``horizon`` days, standardised over the training days; float32 of shape
    (n_days,), NaN where ``labels`` is."""
    falls: SampleArray | None
    """Labels of the same move downwards, float32 of shape (n_days,), NaN where ``labels`` is; None
    where there are none."""
    dates: DayArray
    """Days, datetime64[D] of shape (n_days,), ascending."""
    feature_names: tuple[str, ...]
    train_days: IndexArray
    """Row of each training sample's day; its window is rows day - context_length + 1 .. day."""
    validation_days: IndexArray
    """Row of each validation sample's day."""
    n_rows: int
    """Days with inputs in the whole history, the sealed test part included."""
    fold_train_rows: tuple[int, ...]
    """Number of training samples before each fold of test days, one where days are cut by shares.
    """
    base_rate: float
    """Share of positives among the training samples."""
    context_length: int
    horizon: int
    scaler: Scaler
    """Scaler that turns unstandardised inputs into ``features``."""
    splits: dict[Part, SplitSummary]
    shift: dict[str, float]
    """Shift of each input, (validation mean - train mean) / train sd."""
    warnings: tuple[str, ...]
    """Oddities of prices and volatility index, refusals that were accepted, and days left out for
    want of the index."""
    fingerprint: str
    """Digest (sha256) of the price content; in tier c, of prices and volatility index."""
    feature_hash: str
    """Digest (sha256) of the features' names, order and definitions."""
    source: str
    understood: str = ""
    """How the files were read, one line; empty for embedded ones."""

    @property
    def n_folds(self) -> int:
        """Number of folds of the test days, 1 where days are cut by shares."""
        return len(self.fold_train_rows)


def _fold_train_rows(
    dates: DayArray, config: DataConfig, share: DataShare | None
) -> tuple[int, ...]:
    folds = range(count_folds(dates, config))
    return tuple(len(_days(dates, config, fold, share).train) for fold in folds)


def _days(dates: DayArray, config: DataConfig, fold: int | None, share: DataShare | None) -> Splits:
    """Return the days of each part, of the training days those of the share."""
    days = split_days(dates, config, fold)
    return days if share is None else replace(days, train=share.of(days.train, config.horizon))


def build_dataset(
    config: DataConfig,
    prices: Prices | None = None,
    import_folder: Path = IMPORT_FOLDER,
    fold: int | None = None,
    share: DataShare | None = None,
) -> Dataset:
    """Build the arrays of one cell.

    A search is refused if its days cannot answer the question, or if its inputs drift; a fold and a
    share have to live with the days that they find.

    Args:
        config: what to build.
        prices: bars to use in place of those that ``config.source`` names.
        import_folder: where imported markets and volatility indices live.
        fold: number of the fold whose past is seen, from 0; None builds what a search sees.
        share: the part of the training days that is trained on; None takes all of them.

    Raises:
        DataError: a source is missing, breaks a rule, is too short, or is refused as said above.
    """
    prices = prices or load_prices(config.source, import_folder, config.accept)
    vix = vix_of(config, import_folder)
    warnings = prices.warnings + vix_warnings(config, vix, prices)
    usable, left_out = _usable(prices, config, vix)
    bars, all_dates = prices.frame, prices.frame.index.to_numpy().astype("datetime64[D]")[usable]
    days = _days(all_dates, config, fold, share)
    n_visible, is_of_search = int(days.validation[-1]) + 1, fold is None and share is None
    all_labels = _labels(bars, config)[usable]
    splits = _summaries(days, all_labels, all_dates, config.horizon)
    if is_of_search:
        require_answerable(splits)
    visible = _up_to(prices, int(usable[n_visible - 1]))
    features, scaler, shift = _scaled_inputs(visible, config, vix, days)
    if is_of_search:
        require_small_shift(shift, config.max_shift, config.normalization)
    return Dataset(
        features=_frozen(features),
        labels=_frozen(_of_parts(all_labels[:n_visible], days)),
        auxiliary=_frozen(_of_parts(_auxiliary(bars, config, usable[:n_visible], days), days)),
        falls=_falls(bars, config, usable[:n_visible], days),
        dates=_frozen(all_dates[:n_visible].copy()),
        feature_names=scaler.names,
        train_days=_frozen(days.train),
        validation_days=_frozen(days.validation),
        n_rows=len(usable),
        fold_train_rows=_fold_train_rows(all_dates, config, share),
        base_rate=splits["train"].base_rate,
        context_length=config.context_length,
        horizon=config.horizon,
        scaler=scaler,
        splits=splits,
        shift=shift,
        warnings=warnings + left_out,
        fingerprint=data_fingerprint(prices, vix),
        feature_hash=feature_hash(config.tier),
        source=prices.name,
        understood=understood_files(prices, vix),
    )


def _up_to(prices: Prices, last_bar: int) -> Prices:
    """Return the bars up to a row: none after the last validation day makes a feature."""
    return replace(prices, frame=prices.frame.iloc[: last_bar + 1])


def _labels(bars: pd.DataFrame, config: DataConfig) -> SampleArray:
    """Return the label of every bar.

    Those of validation days end before the test part, thanks to the purge.
    """
    return make_labels(
        bars, kind=config.label_kind, horizon=config.horizon, threshold=config.threshold
    )


def _usable(
    prices: Prices, config: DataConfig, vix: VixSeries | None
) -> tuple[IndexArray, tuple[str, ...]]:
    """Return the rows of the bars that have inputs, and a line on those that lack the VIX.

    Raises:
        DataError: there are no such bars.
    """
    n_dropped = _warm_up_within(prices, config.tier)
    usable = usable_bars(prices, config.tier, vix)
    return usable, _left_out(prices, usable, n_dropped, vix)


def _warm_up_within(prices: Prices, tier: Tier) -> int:
    """Return the bars at the front that have no inputs.

    Raises:
        DataError: there are no others.
    """
    n_dropped = dropped_days(tier)
    require(
        len(prices.frame) > n_dropped,
        prices.name,
        f"tier {tier} needs more than {n_dropped} bars before its first sample",
        got=f"rows={len(prices.frame)}",
        remedy="Give a longer history.",
        error=DataError,
    )
    return n_dropped


def _summaries(
    days: Splits, labels: SampleArray, dates: DayArray, horizon: int
) -> dict[Part, SplitSummary]:
    return {
        "train": summarise(days.train, labels, dates, horizon),
        "validation": summarise(days.validation, labels, dates, horizon),
        "test": summarise(days.test, labels, dates, horizon),
    }


def _scaled_inputs(
    visible: Prices, config: DataConfig, vix: VixSeries | None, days: Splits
) -> tuple[SampleArray, Scaler, dict[str, float]]:
    """Return the inputs of the days that a search may see, their scaler and their shift.

    The scaler knows the rows that training windows hold and no others, those of a share too: with
    statistics of days that a share leaves out, its runs would have learnt from more data than they
    are counted with. In return, inputs of two shares differ a little where they have a day in
    common.

    Raises:
        DataError: an input is undefined or constant.
    """
    inputs = build_inputs(visible, config.tier, config.normalization, vix)
    # Those of all training days are the same rows for every context length.
    train_rows = np.unique(days.train[:, None] - np.arange(config.context_length))
    scaler = fit_scaler(inputs, train_rows, config.normalization)
    shift = measure_shift(inputs, train_rows, days.validation)
    return scale_inputs(inputs, scaler, config.normalization), scaler, shift


def _of_parts(values: SampleArray, days: Splits) -> SampleArray:
    """Return values of days with NaN on those that neither train nor validate."""
    in_parts = np.zeros(len(values), dtype=np.bool_)
    in_parts[days.train] = in_parts[days.validation] = True
    return np.where(in_parts, values, np.float32("nan"))


def vix_of(config: DataConfig, import_folder: Path = IMPORT_FOLDER) -> VixSeries | None:
    """Return the volatility index that a config names, None if its tier uses none.

    Raises:
        DataError: there is no such series, or it breaks a rule.
    """
    return None if config.vix is None else load_vix(config.vix, import_folder, config.accept)


def understood_files(prices: Prices, vix: VixSeries | None) -> str:
    """Return how the files were read, one line; empty for embedded ones."""
    return "; ".join(filter(None, (prices.understood, "" if vix is None else vix.understood)))


def vix_warnings(config: DataConfig, vix: VixSeries | None, prices: Prices) -> tuple[str, ...]:
    """Return what is odd about the volatility index, by itself and beside the prices.

    Raises:
        DataError: a check refuses it.
    """
    if vix is None:
        return ()
    days = prices.frame.index.to_numpy().astype("datetime64[D]")
    timing = check_vix_timing(vix, days, prices.frame["Close"].to_numpy(), config.accept)
    return vix.warnings + require_clean([timing])


def data_fingerprint(prices: Prices, vix: VixSeries | None) -> str:
    """Return the fingerprint of the data: that of the prices, where no other series is used."""
    if vix is None:
        return prices.fingerprint
    return hashlib.sha256(f"{prices.fingerprint} {vix.fingerprint}".encode()).hexdigest()


def _left_out(
    prices: Prices, usable: IndexArray, n_dropped: int, vix: VixSeries | None
) -> tuple[str, ...]:
    """Say which days have no inputs for want of the volatility index.

    Raises:
        DataError: no day is left.
    """
    if vix is None:
        return ()
    n_days, index = len(prices.frame) - n_dropped, prices.frame.index
    require(
        len(usable) > 0,
        f"vix {vix.name}",
        f"must have {VIX_LOOK_BACK} values up to a day of the prices",
        got=f"{vix.span} for prices of {index[0]:%Y-%m-%d} to {index[-1]:%Y-%m-%d}",
        remedy="Give a series and prices of the same years.",
        error=DataError,
    )
    if len(usable) == n_days:
        return ()
    return (
        f"vix {vix.name} ({vix.span}): {n_days - len(usable)} of {n_days} days are left out, "
        f"having no value or fewer than {VIX_LOOK_BACK - 1} before it; usable are {len(usable)}, "
        f"{index[usable[0]]:%Y-%m-%d} to {index[usable[-1]]:%Y-%m-%d}",
    )


def _falls(
    bars: pd.DataFrame, config: DataConfig, rows: IndexArray, days: Splits
) -> SampleArray | None:
    labels = make_fall_labels(
        bars, kind=config.label_kind, horizon=config.horizon, threshold=config.threshold
    )
    return None if labels is None else _frozen(_of_parts(labels[rows], days))


def _auxiliary(
    bars: pd.DataFrame, config: DataConfig, rows: IndexArray, days: Splits
) -> SampleArray:
    """Return the log range of the days ahead of the given bars, standardised over training days."""
    ranges = log_range(bars["High"].to_numpy(), bars["Low"].to_numpy(), horizon=config.horizon)
    target: PriceArray = ranges[rows]
    train = target[days.train]
    standardised: SampleArray = ((target - train.mean()) / train.std()).astype(np.float32)
    return standardised


_Scalar = TypeVar("_Scalar", bound=np.generic)


def _frozen(values: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    """Forbid writing: one array serves every trial of a cell."""
    values.setflags(write=False)
    return values
