"""The sealed part of a panel, hidden from a search and opened once the winners are known."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from study.data.arrays import DayArray, IndexArray, SampleArray
from study.data.data_config import DataConfig
from study.data.panel.build_panel import panel_inputs_of
from study.data.panel.panel import MaskArray, Panel
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_history import panel_history
from study.data.panel.panel_inputs import build_panel_inputs
from study.data.panel.panel_labels import make_targets
from study.data.panel.panel_sources import load_panel
from study.data.panel.shared_inputs import SharedInputs
from study.data.sources import IMPORT_FOLDER
from study.errors import DataError, require


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelHoldout:
    """A cell's whole history, the test part included; its rows continue those of its data set.

    Of a fold, inputs standardised along time are scaled as in its own training, and the days are
    its own.
    """

    panel: Panel
    inputs: SharedInputs
    """Model inputs, shape (n_days, n_assets, n_features), standardised as in training."""
    present: MaskArray
    """Assets that are ranked on a day, shape (n_days, n_assets)."""
    returns: SampleArray
    """Returns of the next ``horizon`` days, shape (n_days, n_assets); NaN where unknown, where
    ``present`` is False, and on days that cannot be ranked."""
    targets: SampleArray
    """What training aims at, computed from ``returns`` across each day."""
    dates: DayArray
    """Days, datetime64[D] of shape (n_days,)."""
    train_days: IndexArray
    validation_days: IndexArray
    test_days: IndexArray


def open_panel_holdout(
    config: DataConfig,
    dataset: PanelDataset,
    panel: Panel | None = None,
    import_folder: Path = IMPORT_FOLDER,
    fold: int | None = None,
) -> PanelHoldout:
    """Return inputs and labels of all days of a panel's cell, of the test part too.

    Args:
        config: of the cell.
        dataset: its data set, or that of the fold, whose scaling and rows are kept.
        panel: prices to use in place of those that ``config.source`` names.
        import_folder: where imported panels live.
        fold: number of the fold, from 0; None returns the test days of all.

    Raises:
        DataError: the prices are not those of the data set.
    """
    panel = panel or load_panel(config.source, import_folder, config.accept)
    require(
        panel.fingerprint == dataset.fingerprint,
        panel.name,
        "must hold the prices that the search saw",
        got=f"sha256 {panel.fingerprint[:12]}, not {dataset.fingerprint[:12]}",
        remedy="Put the file back, or search again.",
        error=DataError,
    )
    # Where the search mapped its inputs, those of all days are in the same file.
    cache = None if dataset.inputs.file is None else dataset.inputs.file.parent
    first = int(np.searchsorted(panel.dates, dataset.dates[0]))
    train_rows = first + dataset.standardising_rows
    found = panel_inputs_of(config, panel, config.normalization, train_rows, cache)
    history = panel_history(config, panel, found.known)
    days = history.sample_days(fold)
    inputs = found.inputs.between(first, len(panel.dates))
    _assert_no_look_ahead(config, dataset, panel, train_rows)
    n_visible = len(dataset.dates)
    assert np.array_equal(inputs.values[:n_visible], dataset.inputs.values)
    assert np.array_equal(history.present[:n_visible], dataset.present)
    in_parts = dataset.validation_days
    assert np.array_equal(history.returns[in_parts], dataset.returns[in_parts], equal_nan=True)
    return PanelHoldout(
        panel=panel,
        inputs=inputs,
        present=history.present,
        returns=history.returns,
        targets=make_targets(history.returns, config.target),
        dates=history.dates,
        train_days=dataset.train_days,
        validation_days=days.validation,
        test_days=days.test,
    )


def _assert_no_look_ahead(
    config: DataConfig, dataset: PanelDataset, panel: Panel, train_rows: IndexArray
) -> None:
    """Build the inputs again of a panel that ends with the search's days.

    A feature that looked ahead would differ there: those of the search were built from the whole
    history.
    """
    first = int(np.searchsorted(panel.dates, dataset.dates[0]))
    end = first + len(dataset.dates)
    ended = replace(
        panel,
        dates=panel.dates[:end],
        close=panel.close[:end],
        bars={name: values[:end] for name, values in panel.bars.items()},
        oracle={horizon: values[:end] for horizon, values in panel.oracle.items()},
    )
    built = build_panel_inputs(ended, config.tier, config.normalization, train_rows)
    assert np.array_equal(built.values[first:], dataset.inputs.values)
