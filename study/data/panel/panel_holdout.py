"""The sealed part of a panel, hidden from a search and opened once the winners are known."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from study.data.arrays import DayArray, IndexArray, SampleArray
from study.data.data_config import DataConfig
from study.data.panel.build_panel import panel_inputs_of
from study.data.panel.panel import MaskArray, Panel
from study.data.panel.panel_dataset import PanelDataset
from study.data.panel.panel_history import PanelHistory, panel_history
from study.data.panel.panel_inputs import build_panel_inputs
from study.data.panel.panel_sources import load_panel
from study.data.panel.shared_inputs import SharedInputs
from study.data.sources import IMPORT_FOLDER
from study.errors import DataError, require

_CHECKED_DAYS = 20
"""Latest days of a search whose inputs are built again: one would show any feature that looks
ahead, and of some days an asset that pauses is seen too."""

_CHECKED: set[bytes] = set()
"""Digests of the inputs that were found not to look ahead: every variant of a cell has the same."""


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
    dates: DayArray
    """Days, datetime64[D] of shape (n_days,)."""
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
        DataError: prices, inputs or labels are not those of the data set, or an input of a day
            depends on later prices.
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
    _require_as_seen(dataset, inputs, history)
    _require_no_look_ahead(config, dataset, panel, train_rows)
    return PanelHoldout(
        panel=panel,
        inputs=inputs,
        present=history.present,
        returns=history.returns,
        dates=history.dates,
        validation_days=days.validation,
        test_days=days.test,
    )


def _require_as_seen(dataset: PanelDataset, inputs: SharedInputs, history: PanelHistory) -> None:
    """Hold inputs and labels against those that the search saw.

    Raises:
        DataError: they differ.
    """
    n_visible, in_parts = len(dataset.dates), dataset.validation_days
    seen = dataset.returns[in_parts]
    for what, is_same in (
        ("inputs", _are_equal(inputs.between(0, n_visible), dataset.inputs)),
        ("assets", np.array_equal(history.present[:n_visible], dataset.present)),
        ("returns", np.array_equal(history.returns[in_parts], seen, equal_nan=True)),
    ):
        require(
            is_same,
            dataset.source,
            f"{what} of the days that the search saw must be what its prices give",
            got="others",
            remedy="Start the command again, with the code and the libraries of the search.",
            error=DataError,
        )


def _are_equal(one: SharedInputs, other: SharedInputs) -> bool:
    """Are inputs the same? A file that both are mapped from is not read."""
    if one.values.shape != other.values.shape:
        return False
    if one.file is not None and (one.file, one.offset) == (other.file, other.offset):
        return True
    return all(map(np.array_equal, one.values, other.values))


def _require_no_look_ahead(
    config: DataConfig, dataset: PanelDataset, panel: Panel, train_rows: IndexArray
) -> None:
    """Build inputs of the search's last days again, of a panel that ends with them.

    A feature that looked ahead would differ there: those of the search were built from the whole
    history. The inputs of other days are not kept, as there may be a gigabyte of them.

    Raises:
        DataError: they differ.
    """
    first = int(np.searchsorted(panel.dates, dataset.dates[0]))
    end = first + len(dataset.dates)
    seen = dataset.inputs.values[-_CHECKED_DAYS:]
    content = hashlib.sha256(repr((config.tier, config.normalization, end)).encode())
    for each in (panel.fingerprint.encode(), train_rows, seen):
        content.update(each if isinstance(each, bytes) else each.tobytes())
    if content.digest() in _CHECKED:
        return
    ended = replace(
        panel,
        dates=panel.dates[:end],
        close=panel.close[:end],
        bars={name: values[:end] for name, values in panel.bars.items()},
        oracle={},
    )
    rows = np.arange(end - len(seen), end)
    built = build_panel_inputs(ended, config.tier, config.normalization, train_rows, rows)
    file = dataset.inputs.file
    require(
        np.array_equal(built.values, seen),
        panel.name,
        "inputs of a day must be made of the prices up to that day",
        got=f"others where the prices end on {panel.dates[end - 1]}",
        remedy=("" if file is None else f"Delete {file} and search again; if this stays, ")
        + "a feature looks ahead: please report it.",
        error=DataError,
    )
    _CHECKED.add(content.digest())
