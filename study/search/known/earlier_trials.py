"""Reads the trials of an old search for a new one: --import-trials FOLDER."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.data.cell_data import CellData
from study.errors import StudyError, cause, quoted, require
from study.results.records import TrialRecord, TrialState, ranked
from study.results.store import read_cell, read_trials
from study.search.space import SearchSpace, TrialConfig
from study.spec.dimension import Fixed
from study.spec.specification import Cell
from study.storage.layout import TRIALS_FILE

_TRAINED_AGAIN = 5
"""Number of the best configurations of the old search that the new one trains itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownTrial:
    """A trial of an earlier search, as it enters the history of a new search's sampler."""

    params: Mapping[str, Any]
    """Its configuration, flat."""
    state: TrialState
    """How it ended."""
    value: float | None
    """Its objective in the unit of the metric; None if it has none."""
    percent: int
    """Share of its schedule that was trained, in percent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialToRepeat:
    """A configuration of an earlier search that the new one trains itself."""

    source: str
    """The word ``imported:`` with the number of the trial in the earlier search."""
    params: Mapping[str, Any]
    """The configuration, flat."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """Trials of an earlier search, in the form in which a ledger learns them."""

    known: Sequence[KnownTrial]
    """Trials for the sampler's history; empty if old and new losses cannot be compared."""
    again: Sequence[TrialToRepeat]
    """The best configurations, which are trained again so that each result is the new search's."""
    n_rescheduled: int
    """Number of old trials that the new space contains but for their number of epochs. Their losses
    stay out of the history, for a schedule of another length makes a setting look worse or better
    than it is."""
    n_outside: int
    """Number of old trials that the new space does not contain."""
    incomparable: str | None
    """Why old and new losses cannot be compared; None if they can."""

    def describe(self) -> str:
        """Return a line that says what is carried over."""
        if self.incomparable is None:
            known = f"the sampler knows {len(self.known)} old trials"
        else:
            known = f"the sampler does not know the old losses: other {self.incomparable}"
        if self.n_rescheduled:
            known += f", {self.n_rescheduled} had schedules of other lengths"
        outside = f", {self.n_outside} lie outside of the space" if self.n_outside else ""
        return f"{known}{outside}; the best {len(self.again)} are trained again"


def import_trials(folder: Path, cell: Cell, data: CellData, space: SearchSpace) -> Imported:
    """Read the trials of another cell's folder, or of an earlier search of the same cell.

    The losses enter the sampler's history only if they were measured on the same labels, days and
    inputs; otherwise the best configurations are all that can be carried over. Reads two files
    of plain values and executes nothing.

    Raises:
        StudyError: the folder holds no trials that can be read, or none that fits the space.
    """
    require(
        (folder / TRIALS_FILE).is_file(),
        "--import-trials",
        "must be the folder of a cell, with its all_trials.json",
        got=quoted(str(folder)),
        remedy="Give for example ray_results/phase6a_2M_h3_threshold_1pct.",
        error=StudyError,
    )
    records = read_trials(folder)
    try:
        described = read_cell(folder)
    except StudyError:
        # The data on which the losses were measured are then unknown.
        described = {}
    inside, rescheduled = [], []
    for record in records:
        config = _config(folder, record)
        if space.contains(config):
            inside.append(record)
        elif (other := _rescheduled(config, space)) is not None:
            rescheduled.append(dataclasses.replace(record, params=other.flat()))
    require(
        bool(inside or rescheduled),
        "--import-trials",
        "some trial of the old search must lie in the space of the new one",
        got=f"{len(records)} trials in {folder}, none of them inside",
        remedy="Leave the flag out, or widen the search space.",
        error=StudyError,
    )
    # Every schedule ends at its own lowest learning rate, so final losses can be ranked together.
    rankable = ranked([*inside, *rescheduled])
    incomparable = _incomparable(described, cell, data)
    return Imported(
        known=[] if incomparable else [_known(record) for record in inside],
        again=[
            TrialToRepeat(source=f"imported:{record.number}", params=record.params)
            for record in rankable[:_TRAINED_AGAIN]
        ],
        n_rescheduled=len(rescheduled),
        n_outside=len(records) - len(inside) - len(rescheduled),
        incomparable=incomparable,
    )


def _config(folder: Path, record: TrialRecord) -> TrialConfig:
    try:
        return TrialConfig.from_flat(record.params)
    except (KeyError, TypeError, StudyError) as error:
        raise StudyError(
            f"{folder}, trial {record.number}: must have the parameters of this version, but got "
            f"{type(error).__name__}: {cause(error)}. Leave --import-trials out."
        ) from error


def _rescheduled(config: TrialConfig, space: SearchSpace) -> TrialConfig | None:
    """Return a configuration with the space's number of epochs; None if it still does not fit."""
    epochs = space.train.get("epochs")
    if not isinstance(epochs, Fixed) or not isinstance(epochs.value, int):
        return None
    train = dataclasses.replace(config.train, epochs=epochs.value)
    other = dataclasses.replace(config, train=train)
    return other if space.contains(other) else None


def _known(record: TrialRecord) -> KnownTrial:
    return KnownTrial(
        params=record.params,
        state=record.state,
        value=record.objective,
        percent=100 * record.epochs_trained // record.params["epochs"],
    )


def _incomparable(described: dict[str, Any], cell: Cell, data: CellData) -> str | None:
    """Return why the old losses cannot be compared with new ones; None if they can."""
    before = described.get("spec", {}).get("data")
    now = cell.resolved()["data"]
    names = sorted({*(before or {}), *now}) if before != now else []
    differing = [name for name in names if (before or {}).get(name) != now.get(name)]
    if described.get("data_sha256") != data.fingerprint:
        differing.append("data_sha256")
    if described.get("metric") != cell.search.metric:
        differing.append("metric")
    if described.get("feature_hash") != data.feature_hash:
        differing.append("feature_hash")
    return ", ".join(differing) or None
