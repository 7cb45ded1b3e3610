"""Learning curves of recorded trials, and where a stop rule ends them."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NotRequired, TypedDict

from study.errors import StudyError, quoted, require
from study.fields import require_type
from study.results.epoch_report import EpochRecord, OptimizerRecord
from study.results.plans.plan_record import Estimate, shape_name
from study.results.records import BEYOND, Metric, TrialRecord, objective
from study.results.store import read_cell, read_trials
from study.storage.documents import load_json
from study.storage.layout import FINAL_FOLDER, METRICS_FILE

_REMEDY = "Mend it with --resume."


class _Line(TypedDict):
    """The part of an epoch's line that is read; others are not looked at."""

    epoch: int
    optimizer: OptimizerRecord
    data_seconds: float
    step_seconds: float
    validation_seconds: float
    checkpoint_seconds: NotRequired[float]
    began: float
    reported: float
    validation_loss: NotRequired[float]
    best_epoch: NotRequired[int]
    best_validation_loss: NotRequired[float]
    best_auc: NotRequired[float]
    best_half_losses: NotRequired[Sequence[float]]
    best_is_collapsed: NotRequired[bool]


class _Metrics(TypedDict):
    learning_curve: Sequence[_Line]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A trial as it was recorded; what plays it may stop it earlier, and not train it longer."""

    number: int
    """Number of the trial."""
    group: str
    """Label of the budget among whose trials it competes."""
    epochs: int
    """Number of epochs of its schedule."""
    losses: tuple[float, ...]
    """Loss of each recorded epoch on the validation days; infinite where it is undefined."""
    scores: tuple[float | None, ...]
    """What its search minimises, of the best epoch up to each: a scheduler is told this."""
    is_collapsed: tuple[bool, ...]
    """Was the best epoch up to each a collapsed one, so that nothing could be ranked?"""
    epoch_seconds: tuple[float, ...]
    """Seconds of each epoch."""
    begin_seconds: float
    """Seconds from the request for the trial to its first epoch, its worker's start left out."""
    last_epoch: int
    """The epoch with which it ends by itself, at most that of its last record."""
    epoch_cost: float = math.nan
    """What an epoch of its configuration was expected to take, in any unit; NaN if unknown."""
    fresh_loss: float | None = None
    """Mean validation loss of its configuration with fresh seeds; None where it was not trained
    again, or failed with one of them."""
    _elapsed: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check that the epochs are those of one trial.

        Raises:
            StudyError: there is none, or of some values there are more than of others.
        """
        n = len(self.losses)
        counts = {n, len(self.scores), len(self.is_collapsed), len(self.epoch_seconds)}
        require(
            len(counts) == 1 and 1 <= self.last_epoch <= n <= self.epochs,
            f"curve of trial {self.number} of {self.group}",
            "must have a value of each kind for every epoch, and at least one epoch",
            got=f"{sorted(counts)} values, last_epoch={self.last_epoch}, epochs={self.epochs}",
            remedy="Leave the trial out.",
            error=StudyError,
        )
        elapsed = [0.0]
        for seconds in self.epoch_seconds:
            elapsed.append(elapsed[-1] + seconds)
        object.__setattr__(self, "_elapsed", tuple(elapsed))

    @classmethod
    def of(
        cls,
        epochs: Sequence[EpochRecord],
        *,
        number: int,
        group: str,
        schedule: int,
        metric: Metric,
        begin_seconds: float,
        epoch_cost: float = math.nan,
        fresh_loss: float | None = None,
    ) -> "Curve":
        """Return the curve of a trial's epochs.

        Args:
            epochs: all that were recorded, at least one.
            number: of the trial.
            group: label of its budget.
            schedule: number of epochs of its schedule.
            metric: score by which its search ranks trials.
            begin_seconds: as of the field.
            epoch_cost: as of the field.
            fresh_loss: as of the field.
        """
        return cls(
            number=number,
            group=group,
            epochs=schedule,
            losses=tuple(_loss(epoch) for epoch in epochs),
            scores=tuple(objective(epoch.best, metric) for epoch in epochs),
            is_collapsed=tuple(epoch.best_is_collapsed is True for epoch in epochs),
            epoch_seconds=tuple(epoch_seconds(epochs)),
            begin_seconds=begin_seconds,
            last_epoch=len(epochs),
            epoch_cost=epoch_cost,
            fresh_loss=fresh_loss,
        )

    def loss(self, epoch: int) -> float | None:
        """Return what its search minimises, of the best epoch up to this one; None without any."""
        return self.scores[epoch - 1]

    def seconds(self, before: int, epoch: int) -> float:
        """Return the seconds from the end of epoch number ``before`` to that of ``epoch``."""
        return self._elapsed[epoch] - self._elapsed[before]

    def result(self, epoch: int) -> float:
        """Return what it is ranked by if it ends with this epoch; infinite if it cannot be."""
        score = self.scores[epoch - 1] if epoch else None
        return math.inf if score is None or self.is_collapsed[epoch - 1] else score


@dataclass(frozen=True, kw_only=True, slots=True)
class StopRule:
    """When a trial ends by itself, whatever the others do."""

    patience: int | None = None
    """Epochs without a gain of ``min_delta`` in the validation loss, after which it ends; None
    waits for its last one."""
    min_delta: float = 0.001
    """Least gain that counts, in nats."""
    collapse_grace_share: float = 1.0
    """Share of its schedule after which a trial ends whose best epoch is a collapsed one."""

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            SpecError: they break a rule.
        """
        checks = (
            ("patience", "must be >= 1 or None", self.patience is None or self.patience >= 1),
            ("min_delta", "must be >= 0", self.min_delta >= 0),
            ("collapse_grace_share", "must lie in (0, 1]", 0 < self.collapse_grace_share <= 1),
        )
        for name, rule, holds in checks:
            require(
                holds,
                f"stop rule: {name}",
                rule,
                got=quoted(getattr(self, name)),
                remedy="Give for example patience=10, min_delta=0.001, collapse_grace_share=0.3.",
            )

    def applied(self, curve: Curve) -> Curve:
        """Return the curve with the epoch at which this rule ends it."""
        return dataclasses.replace(curve, last_epoch=self._last_epoch(curve))

    def _last_epoch(self, curve: Curve) -> int:
        reference, without = math.inf, 0
        for epoch in range(1, curve.last_epoch):
            loss = curve.losses[epoch - 1]
            without = 0 if loss < reference - self.min_delta else without + 1
            reference = reference if without else loss
            has_collapsed = (
                curve.is_collapsed[epoch - 1] and epoch >= self.collapse_grace_share * curve.epochs
            )
            if has_collapsed or (self.patience is not None and without >= self.patience):
                return epoch
        return curve.last_epoch


def read_curves(folder: Path) -> list[Curve]:
    """Return the curves of a search's trials that were trained, in the order in which they began.

    Those beyond an edge are left out: no rule of a search stops them, nor do they compete in it.

    Raises:
        StudyError: the records cannot be read, or no trial has an epoch.
    """
    cell = read_cell(folder, "metric", "estimate")
    metric, estimate = cell["metric"], Estimate.from_json(cell["estimate"], str(folder))
    searched = (record for record in read_trials(folder) if record.source != BEYOND)
    records = sorted(searched, key=lambda record: record.number)
    trained = [(record, read_epochs(folder, record)) for record in records]
    trained = [(record, epochs) for record, epochs in trained if epochs]
    require(
        bool(trained),
        str(folder),
        "must hold a trial with an epoch, not counting those beyond an edge",
        got=f"{len(records)} such trials that have ended",
        remedy="Search the cell first.",
        error=StudyError,
    )
    fresh = fresh_losses(folder)
    first_end = min(record.ended for record, _ in trained)
    begins = usual_begins(
        [begin_seconds(record, epochs) for record, epochs in trained],
        [record.started < first_end for record, _ in trained],
    )
    return [
        Curve.of(
            epochs,
            number=record.number,
            group=record.budget,
            schedule=int(record.params["epochs"]),
            metric=metric,
            begin_seconds=begin,
            epoch_cost=expected_epoch_seconds(record, estimate),
            fresh_loss=fresh.get(record.number),
        )
        for (record, epochs), begin in zip(trained, begins, strict=True)
    ]


def expected_epoch_seconds(record: TrialRecord, estimate: Estimate) -> float:
    """Return the seconds of a trial's epoch as its search's plan timed them; NaN if it did not."""
    name = shape_name(record.params["d_model"], record.params["n_layers"])
    return estimate.epoch_seconds.get(name, math.nan)


def fresh_losses(folder: Path) -> dict[int, float]:
    """Return the mean loss with fresh seeds of the trials that ``study.train`` trained again.

    Args:
        folder: folder of the search.

    Returns: by number; nothing before the final runs of the cell have ended.
    Raises: StudyError if their record cannot be read.
    """
    # It imports pandas, which a command that plays no curves must not wait for.
    from study.results.finals.final_records import read_final

    final = read_final(folder.parent / FINAL_FOLDER / folder.name)
    rows = [] if final is None else final.selection
    return {row.trial: row.mean_value for row in rows if row.mean_value is not None}


def read_epochs(folder: Path, record: TrialRecord) -> list[EpochRecord]:
    """Return the epochs of a trial that has ended.

    Raises:
        StudyError: its record cannot be read.
    """
    path = folder / record.folder / METRICS_FILE
    metrics = load_json(path, _REMEDY)
    where = f"{path}: must hold the learning curve of this version"
    require_type(metrics, _Metrics, where, _REMEDY)
    lines = metrics["learning_curve"]
    numbers = [line["epoch"] for line in lines]
    most = int(record.params["epochs"])
    require(
        numbers == list(range(1, len(lines) + 1)) and len(lines) <= most,
        where,
        f"its epochs must be numbered from 1, and at most {most}",
        got=", ".join(map(str, numbers)),
        remedy=_REMEDY,
        error=StudyError,
    )
    return [EpochRecord.from_json(line) for line in lines]


def epoch_seconds(epochs: Sequence[EpochRecord]) -> list[float]:
    """Return the seconds of each epoch.

    They are those from the report before, which has what a report costs. Of a process's first epoch
    they are those of its phases, for before it there may have been a pause.
    """
    found = []
    for before, epoch in zip([None, *epochs], epochs, strict=False):
        if before is not None and before.worker.began == epoch.worker.began:
            found.append(epoch.worker.reported - before.worker.reported)
        else:
            found.append(sum(epoch.phase_seconds.values()))
    return found


def begin_seconds(record: TrialRecord, epochs: Sequence[EpochRecord]) -> float:
    """Return the seconds from the request for a trial to its first epoch."""
    first = epochs[0]
    return first.worker.reported - sum(first.phase_seconds.values()) - record.started


def usual_begins(seconds: Sequence[float], is_first: Sequence[bool]) -> list[float]:
    """Return the seconds that trials take to begin, without the start of their workers.

    Args:
        seconds: as they were measured.
        is_first: did the trial begin before any had ended, so that its worker was started for it?
            It then gets the median of the others, if there are others.
    """
    others = [each for each, first in zip(seconds, is_first, strict=True) if not first]
    usual = statistics.median(others) if others else None
    return [
        each if usual is None or not first else usual
        for each, first in zip(seconds, is_first, strict=True)
    ]


def _loss(epoch: EpochRecord) -> float:
    loss = None if epoch.validation is None else epoch.validation.loss
    return math.inf if loss is None else loss
