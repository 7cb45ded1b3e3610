"""The record types: what a study keeps of a trial and of a cell, as plain values.

Nothing here defaults: a value that is missing is None on purpose and stays missing in every file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

Metric = Literal["log_loss", "auc"]
"""What trials are scored by."""

TrialState = Literal["COMPLETE", "PRUNED", "FAIL"]
"""Optuna's words: ran to its end, ended before it on merit, or ended without a usable value."""

StopReason = Literal[
    "completed", "early_stopping", "asha", "diverged", "collapsed", "oom", "stalled", "error",
]  # fmt: skip
"""Why a trial ended."""

STATE_OF_REASON: Mapping[StopReason, TrialState] = {
    "completed": "COMPLETE",
    "early_stopping": "COMPLETE",
    "asha": "PRUNED",
    "collapsed": "FAIL",
    "diverged": "FAIL",
    "oom": "FAIL",
    "stalled": "FAIL",
    "error": "FAIL",
}


PHASES = ("data", "step", "validation", "checkpoint")
"""Of an epoch; each report has its seconds, as ``data_seconds``."""


HOT_CELSIUS = 85.0
"""Degrees Celsius from which no new trial starts on a machine, and a running one may throttle."""


def end_reason(report: Mapping[str, Any]) -> StopReason:
    """Return why a trial ended, from its last report: only ASHA stops one that did not say so.

    A trial whose best epoch is a collapsed one is collapsed, whoever stopped it.
    """
    reason: StopReason = report.get("stop_reason") or "asha"
    if STATE_OF_REASON[reason] != "FAIL" and report.get("best_is_collapsed"):
        return "collapsed"
    return reason


class Parameters(TypedDict):
    """What is read of the configuration of a trial; a record has the other fields too."""

    budget: str
    family: str
    d_model: int
    n_layers: int
    n_heads: int
    d_ff_ratio: int
    patch_length: int
    patch_stride: int
    head: str
    last_day_skip: bool
    dropout: float
    learning_rate: float
    epochs: int
    effective_batch: int
    weight_decay: float
    warmup_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialRecord:
    """One trial that has ended: the configuration that trained, and what came of it."""

    number: int
    trial_id: str
    source: str
    """``sampled``, ``forced:<slot>`` or ``imported:<number there>``."""
    phase: int | None
    """1 or 2 in a search of two phases."""
    group: str | None
    """Of a forced configuration: what it takes to an extreme, if its list says so."""
    name: str | None
    """Of a forced configuration, as ``2M_deep`` or ``dropout_0.7``."""
    folder: str
    """Name of the trial's folder inside the cell's."""
    seed: int
    params: Mapping[str, Any]
    """Every field of ModelConfig and TrainConfig that trained."""
    d_ff: int
    param_count: int
    """Exact, counted from the architecture."""
    reason: StopReason
    message: str | None
    """What went wrong, in the words of the error; None if nothing did."""
    faults: Sequence[str]
    """What broke the trial off and was tried again, oldest first."""
    objective: float | None
    """What the search minimises: ``value``, or 1 - ``auc``."""
    objective_se: float | None
    """Its standard error on the validation days."""
    value: float | None
    """Best validation log-loss; None if no epoch had a finite one."""
    value_se: float | None
    """Standard error of ``value`` over dependent days."""
    half_values: Sequence[float] | None
    """``value`` on every other block of validation days and on those between: how far ranks by
    ``value`` may be trusted. None with too few days."""
    difference: float | None
    """``value`` less the baseline's loss on the same days: negative is better."""
    difference_se: float | None
    """Its standard error, from the paired daily differences."""
    best_epoch: int | None
    epochs_trained: int
    skill: float | None
    """Of the best epoch, against a constant at the training base rate."""
    skill_own_base_rate: float | None
    """Of the best epoch, against a constant at the validation part's own base rate."""
    auc: float | None
    brier: float | None
    micro_batch: int | None
    accumulation_steps: int | None
    out_of_memory_count: int | None
    device: str | None
    assigned_cpus: float | None
    assigned_gpus: float | None
    peak_memory_bytes: int | None
    """Measured; on the CPU the resident size of the worker."""
    granted_memory_bytes: int | None
    """What the trial was granted of its device's memory."""
    thermal_max_temp: float | None
    """Hottest degrees Celsius of its machine while it trained; None if unknown."""
    seconds: Mapping[str, float]
    """By phase, as far as it was measured: what a killed worker did is not."""
    started: float
    """Unix time at which the trial was asked for."""
    ended: float
    """Unix time at which its end was decided."""

    @property
    def state(self) -> TrialState:
        """Return the reason in Optuna's words."""
        return STATE_OF_REASON[self.reason]

    @property
    def budget(self) -> str:
        """Label of the budget among whose trials it competed."""
        return str(self.params["budget"])

    @property
    def is_rankable(self) -> bool:
        """Can this trial be the best of its cell? A collapsed or failed one cannot."""
        return self.objective is not None and self.reason in ("completed", "early_stopping", "asha")

    @property
    def duration_seconds(self) -> float | None:
        """Time at work; a pause between an interruption and its resume does not count."""
        return sum(self.seconds.values()) if self.seconds else None


def best_trial(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the best rankable trial, the earliest of equals; None without one."""
    return next(iter(ranked(records)), None)


def ranked(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the rankable trials, the lowest objective first, the earliest of equals first."""
    rankable = [record for record in records if record.is_rankable]
    return sorted(rankable, key=lambda record: (record.objective, record.number))


class SplitDescription(TypedDict):
    """What cell.yaml says of a part of the days."""

    rows: int
    base_rate: float
    effective_size: float
    first_day: str
    last_day: str


class SplitDescriptions(TypedDict):
    """Of every part."""

    train: SplitDescription
    validation: SplitDescription
    test: SplitDescription


class BudgetDescription(TypedDict):
    """A budget of the resolved spec."""

    label: str
    target: int


class SpecDescription(TypedDict, total=False):
    """What is read of the resolved spec."""

    budgets: Sequence[BudgetDescription]
    data: Mapping[str, Any]


class EstimateDescription(TypedDict):
    """What is read of the plan's estimate."""

    search_seconds_expected: float


class CellDescription(TypedDict, total=False):
    """What is read of cell.yaml; the other keys are for people."""

    search: str
    cell: str
    study: str
    phase: int | None
    spec: SpecDescription
    data_sha256: str
    feature_hash: str
    metric: Metric
    horizon: int
    task: str
    source: str
    trials: int
    splits: SplitDescriptions
    estimate: EstimateDescription


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineRecord:
    """What a sceptic would use instead, on the same validation days."""

    name: str
    log_loss: float
    log_loss_se: float | None
    auc: float | None
    skill: float
