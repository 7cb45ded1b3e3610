"""The build of a panel's data set: prices of many assets become what a search may see."""

import hashlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from study.data.arrays import IndexArray, PriceArray, SampleArray, frozen
from study.data.data_config import ACROSS, DataConfig, Normalization, Target
from study.data.data_share import DataShare
from study.data.inputs import require_small_shift
from study.data.panel.arrow_cache import CachedInputs, InputsKey, cached_inputs
from study.data.panel.panel import Panel
from study.data.panel.panel_dataset import NO_SECTORS, PAST_DAYS, PanelDataset, window_rows
from study.data.panel.panel_history import PanelHistory, panel_history
from study.data.panel.panel_inputs import (
    build_panel_inputs,
    panel_feature_hash,
    panel_inputs_code,
)
from study.data.panel.panel_labels import (
    HorizonLabels,
    labelled_returns,
    make_targets,
    market_volatility,
    relative_volatility,
    returns_ahead,
)
from study.data.panel.panel_sources import load_panel
from study.data.panel.shared_inputs import SharedInputs
from study.data.sources import IMPORT_FOLDER
from study.data.splits import Splits, search_folds
from study.errors import DataError, require
from study.names import RANKING
from study.statistics.tied_ranks import FEWEST_ASSETS

_FEWEST_DAYS = 30.0
"""Fewest days whose labels do not overlap that validation must be worth: with so many the error of
a mean RankIC is itself known to 13 % (1 / sqrt(2 x 30)), and below it hardly at all."""


def build_panel_dataset(
    config: DataConfig,
    panel: Panel | None = None,
    import_folder: Path = IMPORT_FOLDER,
    fold: int | None = None,
    share: DataShare | None = None,
    *,
    cache: Path | None = None,
    may_write: bool = True,
) -> PanelDataset:
    """Build the arrays of a panel's cell.

    Inputs of a day are made of its past alone, so those of the whole history are built once, and
    the data set holds them up to the last validation day. A search is refused if its validation
    days cannot answer the question, or if its inputs drift; a fold and a share have to live with
    the days that they find. Only a search has ``search_folds``.

    Args:
        config: what to build, with the task ``ranking``.
        panel: prices to use in place of those that ``config.source`` names.
        import_folder: where imported panels live.
        fold: number of the fold whose past is seen, from 0; None builds what a search sees.
        share: the part of the training days that is trained on; None takes all of them.
        cache: folder of the files that inputs are mapped from; None keeps them in memory.
        may_write: may a file be written there?

    Raises:
        DataError: the panel is missing, breaks a rule, is too short, or is refused as said above.
    """
    require(
        config.is_panel,
        "DataConfig",
        f"a panel is built for the task {RANKING}",
        got=f"task={config.task}",
        remedy=f"Give --task {RANKING}, or a source of one asset.",
    )
    panel = panel or load_panel(config.source, import_folder, config.accept)
    series = _series(config, panel, cache, may_write=may_write)
    days = series.history.sample_days(fold, share)
    if fold is not None or share is not None:
        return _dataset(series, days, fold, share, max_shift=float("inf"))
    _require_answerable(days, series.history)
    dataset = _dataset(series, days, max_shift=config.max_shift)
    return _with_search_folds(dataset, series, days) if config.has_search_folds else dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class _Series:
    """Values of a panel's days before any split of them, and where its inputs come from."""

    panel: Panel
    config: DataConfig
    cache: Path | None
    may_write: bool
    history: PanelHistory
    volatility: PriceArray
    """Volatility of the market on the days of the history."""
    further_returns: dict[int, SampleArray]
    """Labelled returns by further horizon, as those of the history."""
    across: CachedInputs
    """Inputs that are compared across the assets of a day, which are the same for all splits."""


def _series(config: DataConfig, panel: Panel, cache: Path | None, *, may_write: bool) -> _Series:
    # Which features are known does not depend on how they are normalised, whereas the training
    # days, whose statistics ``zscore`` needs, depend on which features are known.
    across = config.normalization if config.normalization in ACROSS else ACROSS[0]
    no_rows = np.empty(0, dtype=np.int64)
    found = panel_inputs_of(config, panel, across, no_rows, cache, may_write=may_write)
    history = panel_history(config, panel, found.known)
    close = panel.close[history.first :]
    return _Series(
        panel=panel,
        config=config,
        cache=cache,
        may_write=may_write,
        history=history,
        volatility=market_volatility(panel.close)[history.first :],
        further_returns={
            horizon: labelled_returns(returns_ahead(close, horizon), history.present)
            for horizon in config.further_horizons
        },
        across=found,
    )


def panel_inputs_of(
    config: DataConfig,
    panel: Panel,
    normalization: Normalization,
    train_rows: IndexArray,
    cache: Path | None,
    *,
    may_write: bool = True,
) -> CachedInputs:
    """Return the inputs of the whole history of a panel.

    Args:
        config: of the cell.
        panel: its prices.
        normalization: how features become inputs.
        train_rows: rows of the panel in training windows, which ``zscore`` alone reads.
        cache: folder of the files that inputs are mapped from; None keeps them in memory.
        may_write: may a file be written there?
    """
    of_rows = "" if normalization in ACROSS else hashlib.sha256(train_rows.tobytes()).hexdigest()
    key = InputsKey(
        fingerprint=panel.fingerprint,
        tier=config.tier,
        normalization=normalization,
        train_rows=of_rows,
        feature_hash=panel_feature_hash(config.tier),
        code=panel_inputs_code(),
    )
    return cached_inputs(
        key,
        cache,
        lambda: build_panel_inputs(panel, config.tier, normalization, train_rows),
        may_write=may_write,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Arrays:
    """Values of a ``PanelDataset`` that depend on which days train and validate."""

    inputs: SharedInputs
    returns: SampleArray
    targets: SampleArray
    further: tuple[HorizonLabels, ...]
    volatility: SampleArray
    train_days: IndexArray
    validation_days: IndexArray
    feature_names: tuple[str, ...]
    shift: dict[str, float]
    warnings: tuple[str, ...]

    def by_name(self) -> dict[str, Any]:
        """Return the values by field, not copied."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _arrays(
    series: _Series, days: Splits, n_visible: int, warnings: tuple[str, ...], max_shift: float
) -> _Arrays:
    """Return what a network sees that trains and validates on the given days.

    Args:
        series: the panel.
        days: of the network.
        n_visible: days of the history that a search may see.
        warnings: what is known to be odd without its inputs.
        max_shift: largest shift of an input along time.

    Raises:
        DataError: an input drifts.
    """
    config, first = series.config, series.history.first
    windows = window_rows(days.train, config.context_length)
    found = series.across
    if config.normalization not in ACROSS:
        found = panel_inputs_of(
            config, series.panel, config.normalization, first + windows, series.cache,
            may_write=series.may_write,
        )  # fmt: skip
    shift = found.shift(first + windows, first + days.validation)
    require_small_shift(shift, max_shift, config.normalization)
    returns = {config.horizon: series.history.returns, **series.further_returns}
    own, *further = (
        _labels(horizon, _of_parts(values[:n_visible], days), config.target)
        for horizon, values in returns.items()
    )
    return _Arrays(
        inputs=found.inputs.between(first, first + n_visible),
        returns=own.returns,
        targets=own.targets,
        further=tuple(further),
        volatility=frozen(relative_volatility(series.volatility[:n_visible], days.train)),
        train_days=frozen(days.train),
        validation_days=frozen(days.validation),
        feature_names=found.names,
        shift=shift,
        warnings=_distinct(warnings, found.note),
    )


def _labels(horizon: int, returns: SampleArray, target: Target) -> HorizonLabels:
    """Return labels of returns that may be seen."""
    return HorizonLabels(
        horizon=horizon,
        returns=frozen(returns),
        targets=frozen(make_targets(returns, target)),
    )


def _dataset(
    series: _Series,
    days: Splits,
    fold: int | None = None,
    share: DataShare | None = None,
    *,
    max_shift: float,
) -> PanelDataset:
    """Return the data set of days that are split by time."""
    panel, config, history = series.panel, series.config, series.history
    n_visible = int(days.validation[-1]) + 1
    rows = slice(history.first, history.first + n_visible)
    warnings = _warnings(series, series.history.sample_days(fold), fold)
    arrays = _arrays(series, days, n_visible, warnings, max_shift)
    sectors = panel.sectors or (NO_SECTORS,) * len(panel.assets)
    sector_names, sector_of = np.unique(np.array(sectors), return_inverse=True)
    oracle = _oracle(panel, config.horizon)
    return PanelDataset(
        **arrays.by_name(),
        dates=frozen(history.dates[:n_visible].copy()),
        present=frozen(history.present[:n_visible].copy()),
        closes=frozen(panel.close[max(0, rows.start - PAST_DAYS) : rows.stop].copy()),
        oracle=None if oracle is None else frozen(oracle[rows].astype(np.float32)),
        assets=panel.assets,
        sectors=frozen(sector_of.astype(np.int64)),
        sector_names=tuple(sector_names.tolist()),
        n_rows=len(history.dates),
        fold_train_rows=history.fold_train_rows(share),
        context_length=config.context_length,
        horizon=config.horizon,
        splits=history.summaries(days),
        fingerprint=panel.fingerprint,
        feature_hash=panel_feature_hash(config.tier),
        source=panel.name,
        understood=panel.understood,
    )


def _oracle(panel: Panel, horizon: int) -> PriceArray | None:
    """Return the best possible scores of a simulated panel; None of a real one.

    Raises:
        DataError: those of a simulated one are not known at the horizon.
    """
    require(
        not panel.oracle or horizon in panel.oracle,
        panel.name,
        f"the best possible scores are known up to a horizon of {max(panel.oracle, default=0)} "
        "days",
        got=f"horizon={horizon}",
        remedy="Lower the horizon: without them no leak of later prices would be seen.",
        error=DataError,
    )
    return panel.oracle.get(horizon)


def _warnings(series: _Series, days: Splits, fold: int | None) -> tuple[str, ...]:
    """Return what is odd about the panel, and which days are left out."""
    by_date = series.history.days_by_date(fold)
    lines = [*series.panel.warnings, *filter(None, [series.across.note])]
    for part, all_days, kept in (
        ("training", by_date.train, days.train),
        ("validation", by_date.validation, days.validation),
        ("test", by_date.test, days.test),
    ):
        if len(kept) < len(all_days):
            lines.append(
                f"{len(all_days) - len(kept)} of {len(all_days)} {part} days are left out: fewer "
                f"than {FEWEST_ASSETS} assets have inputs and a label, or all have the same return"
            )
    return tuple(lines)


def _with_search_folds(chronological: PanelDataset, series: _Series, days: Splits) -> PanelDataset:
    """Return a data set with that of each fold of its search.

    Args:
        chronological: the data set of the same days, split by time.
        series: the panel.
        days: its days.

    Raises:
        DataError: a fold has no days to train or to validate on, or its inputs drift.
    """
    config, history, found = series.config, series.history, []
    for number, fold in enumerate(search_folds(days, config), start=1):
        own = Splits(
            train=history.ranked(fold.train),
            validation=history.ranked(fold.validation),
            test=days.test,
        )
        require(
            min(len(own.train), len(own.validation)) > 0,
            f"fold {number} of the search",
            f"must keep training and validation days on which {FEWEST_ASSETS} assets have labels",
            got=f"train={len(own.train)}, validation={len(own.validation)}",
            remedy="Lower search_groups, or give a panel with more assets on these days.",
            error=DataError,
        )
        arrays = _arrays(
            series, own, len(chronological.dates), chronological.warnings, config.max_shift
        )
        found.append(replace(chronological, **arrays.by_name(), splits=history.summaries(own)))
    noted = _distinct(chronological.warnings, *(line for each in found for line in each.warnings))
    return replace(chronological, search_folds=tuple(found), warnings=noted)


def _require_answerable(days: Splits, history: PanelHistory) -> None:
    """Refuse validation days that are worth too few independent ones.

    Raises:
        DataError: they are.
    """
    validation = history.summary(days.validation)
    require(
        validation.effective_size >= _FEWEST_DAYS,
        "validation part",
        f"must be worth at least {_FEWEST_DAYS:g} days whose labels do not overlap",
        got=f"{validation.rows} days, worth {validation.effective_size:.1f} at horizon "
        f"{history.config.horizon}",
        remedy="Give a longer history, a shorter horizon or a larger validation_share.",
        error=DataError,
    )


def _of_parts(values: SampleArray, days: Splits) -> SampleArray:
    """Return values of days with NaN on those that neither train nor validate."""
    found = np.full_like(values, np.nan)
    for part in (days.train, days.validation):
        found[part] = values[part]
    return found


def _distinct(lines: tuple[str, ...], *more: str) -> tuple[str, ...]:
    """Return lines, and those of ``more`` that say something new."""
    return tuple(dict.fromkeys((*lines, *filter(None, more))))
