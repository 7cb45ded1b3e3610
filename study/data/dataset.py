"""The build of a cell's data set: prices become the arrays that a search may see."""

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.data.arrays import DayArray, IndexArray, PriceArray, SampleArray, frozen
from study.data.cell_data import CellData
from study.data.checks.price_checks import require_clean
from study.data.checks.vix_timing import check_vix_timing
from study.data.data_config import DataConfig, Tier
from study.data.data_share import DataShare
from study.data.features import VIX_LOOK_BACK, feature_hash
from study.data.inputs import (
    Scaler,
    build_inputs,
    dropped_days,
    require_small_shift,
    scaled_inputs,
    usable_bars,
)
from study.data.labels import fall_labels_of, labels_of, ranges_ahead, standardised
from study.data.prices import Prices
from study.data.sources import IMPORT_FOLDER, load_prices
from study.data.splits import (
    Part,
    Splits,
    SplitSummary,
    count_folds,
    require_answerable,
    require_both_classes,
    search_folds,
    split_days,
    summarise,
)
from study.data.vix_series import VixSeries, load_vix
from study.errors import DataError, require


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset(CellData):
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
    base_rate: float
    """Share of positives among the training samples."""
    scaler: Scaler
    """Scaler that turns unstandardised inputs into ``features``."""
    splits: dict[Part, SplitSummary]
    search_folds: tuple["Dataset", ...] = ()
    """Data sets of the folds on which a search trains and validates, each with its own days, scaler
    and base rate; empty where it trains and validates on the days of this one."""

    @property
    def per_network(self) -> tuple["Dataset", ...]:
        """The data sets of the networks of a trial: one for each fold of a search, or this one."""
        return self.search_folds or (self,)

    @property
    def without_search_folds(self) -> "Dataset":
        """This data set for runs that train one network, on the earlier days alone."""
        return replace(self, search_folds=())


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
    share have to live with the days that they find. Only a search has ``search_folds``.

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
    all_dates = prices.frame.index.to_numpy().astype("datetime64[D]")[usable]
    days = _days(all_dates, config, fold, share)
    n_visible, is_of_search = int(days.validation[-1]) + 1, fold is None and share is None
    # Labels of the validation part end before the test part, thanks to the purge.
    all_labels = labels_of(prices.frame, config)[usable]
    splits = _summaries(days, all_labels, all_dates, config.horizon)
    if is_of_search:
        require_answerable(splits)
    series = _series(prices, vix, config, usable[:n_visible], all_labels[:n_visible])
    arrays = _arrays(series, config, days)
    if is_of_search:
        require_small_shift(arrays.shift, config.max_shift, config.normalization)
    dataset = Dataset(
        **arrays.by_name(),
        dates=frozen(all_dates[:n_visible].copy()),
        feature_names=arrays.scaler.names,
        n_rows=len(usable),
        fold_train_rows=_fold_train_rows(all_dates, config, share),
        base_rate=splits["train"].base_rate,
        context_length=config.context_length,
        horizon=config.horizon,
        splits=splits,
        warnings=warnings + left_out,
        fingerprint=data_fingerprint(prices, vix),
        feature_hash=feature_hash(config.tier),
        source=prices.name,
        understood=understood_files(prices, vix),
    )
    is_folded = is_of_search and config.has_search_folds
    return _with_search_folds(dataset, series, config, days) if is_folded else dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class _Series:
    """Values of the days that a search may see, before any split of them."""

    inputs: pd.DataFrame
    """Unstandardised inputs."""
    labels: SampleArray
    ahead: PriceArray
    """Log range of the days ahead."""
    falls: SampleArray | None
    """Labels of falls; None where the task has none."""


def _series(
    prices: Prices,
    vix: VixSeries | None,
    config: DataConfig,
    rows: IndexArray,
    labels: SampleArray,
) -> _Series:
    """Return the series of the bars in ``rows``, of which no later bar makes a feature.

    Raises:
        DataError: an input is undefined.
    """
    visible, falls = _up_to(prices, int(rows[-1])), fall_labels_of(prices.frame, config)
    return _Series(
        inputs=build_inputs(visible, config.tier, config.normalization, vix),
        labels=labels,
        ahead=ranges_ahead(prices.frame, config)[rows],
        falls=None if falls is None else falls[rows],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Arrays:
    """Values of a ``Dataset`` that depend on which days train and validate."""

    features: SampleArray
    labels: SampleArray
    auxiliary: SampleArray
    falls: SampleArray | None
    train_days: IndexArray
    validation_days: IndexArray
    scaler: Scaler
    shift: dict[str, float]

    def by_name(self) -> dict[str, Any]:
        """Return the values by field, not copied."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _arrays(series: _Series, config: DataConfig, days: Splits) -> _Arrays:
    """Return what a network sees that trains and validates on the given days.

    Raises:
        DataError: an input is constant.
    """
    # Those of all training days are the same rows for every context length.
    train_rows = np.unique(days.train[:, None] - np.arange(config.context_length))
    features, scaler, shift = scaled_inputs(
        series.inputs, train_rows, days.validation, config.normalization
    )
    return _Arrays(
        features=frozen(features),
        labels=frozen(_of_parts(series.labels, days)),
        auxiliary=frozen(_of_parts(standardised(series.ahead, days.train), days)),
        falls=None if series.falls is None else frozen(_of_parts(series.falls, days)),
        train_days=frozen(days.train),
        validation_days=frozen(days.validation),
        scaler=scaler,
        shift=shift,
    )


def _with_search_folds(
    chronological: Dataset, series: _Series, config: DataConfig, days: Splits
) -> Dataset:
    """Return a data set with that of each fold of its search.

    Args:
        chronological: the data set of the same days, split by time.
        series: its values before any split.
        config: its definition.
        days: its days.

    Raises:
        DataError: a fold has too few of a class, or its inputs drift.
    """
    found = []
    for number, fold in enumerate(search_folds(days, config), start=1):
        own = Splits(train=fold.train, validation=fold.validation, test=days.test)
        parts: tuple[tuple[Part, IndexArray], ...] = (
            ("train", own.train),
            ("validation", own.validation),
        )
        splits = {
            part: summarise(rows, series.labels, chronological.dates, config.horizon)
            for part, rows in parts
        }
        require_both_classes(
            splits,
            f"days of fold {number}",
            "Lower search_groups, give a longer history, or a task and horizon whose answer varies "
            "more.",
        )
        arrays = _arrays(series, config, own)
        require_small_shift(arrays.shift, config.max_shift, config.normalization)
        found.append(
            replace(
                chronological,
                **arrays.by_name(),
                base_rate=splits["train"].base_rate,
                splits={**chronological.splits, **splits},
            )
        )
    return replace(chronological, search_folds=tuple(found))


def _up_to(prices: Prices, last_bar: int) -> Prices:
    """Return the bars up to a row: none after the last validation day makes a feature."""
    return replace(prices, frame=prices.frame.iloc[: last_bar + 1])


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
