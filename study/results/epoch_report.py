"""The report of an epoch: the trainer's part, the worker's part, and its form as a JSON line.

None stands for a value that is undefined or was not measured; no field is ever NaN or infinite.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from study.results.records import STATE_OF_REASON, StopReason
from study.results.scores import BestEpoch, PanelBest, PanelValidation, Validation

_VALIDATION_NAMES: Mapping[str, str] = {
    "validation_loss": "loss",
    "skill": "skill",
    "skill_own_base_rate": "skill_own_base_rate",
    "auc": "auc",
    "brier": "brier",
    "prediction_sd": "prediction_sd",
    "prediction_min": "prediction_min",
    "prediction_max": "prediction_max",
    "logit_sd": "logit_sd",
}
"""Names of a validation's scores in a line, in the order of the line, with their fields."""

_BEST_NAMES: Mapping[str, str] = {
    "best_validation_loss": "loss",
    "best_validation_loss_se": "loss_se",
    "best_half_losses": "half_losses",
    "best_difference": "difference",
    "best_difference_se": "difference_se",
    "best_epoch": "epoch",
    "best_skill": "skill",
    "best_skill_own_base_rate": "skill_own_base_rate",
    "best_auc": "auc",
    "best_auc_se": "auc_se",
    "best_brier": "brier",
}
"""Names of the best epoch's scores in a line, in the order of the line, with their fields."""

_PANEL_NAMES: Mapping[str, str] = {
    "validation_loss": "loss",
    "base_loss": "base_loss",
    "rank_ic": "rank_ic",
    "ic": "ic",
    "icir": "icir",
    "hit_rate": "hit_rate",
    "long_short": "long_short",
    "turnover": "turnover",
    "sharpe": "sharpe",
    "sharpe_net": "sharpe_net",
    "spread": "spread",
    "further_rank_ic": "further_rank_ic",
    "further_ic": "further_ic",
}
"""Names of the scores of a panel, in the order of the line, with their fields. A line that has
``rank_ic``, which is never undefined, is that of a panel."""

_PANEL_BEST_NAMES: Mapping[str, str] = {
    "best_validation_loss": "loss",
    "best_validation_loss_se": "loss_se",
    "best_half_losses": "half_losses",
    "best_difference": "difference",
    "best_difference_se": "difference_se",
    "best_boosting_difference": "boosting_difference",
    "best_boosting_difference_se": "boosting_difference_se",
    "best_epoch": "epoch",
    "best_base_loss": "base_loss",
    "best_rank_ic": "rank_ic",
    "best_rank_ic_se": "rank_ic_se",
    "best_ic": "ic",
    "best_ic_se": "ic_se",
    "best_icir": "icir",
    "best_hit_rate": "hit_rate",
    "best_long_short": "long_short",
    "best_turnover": "turnover",
    "best_sharpe": "sharpe",
    "best_sharpe_se": "sharpe_se",
    "best_sharpe_net": "sharpe_net",
    "best_spread": "spread",
    "best_further_rank_ic": "further_rank_ic",
    "best_further_rank_ic_se": "further_rank_ic_se",
    "best_further_ic": "further_ic",
}
"""Names of the scores of a panel's best epoch, in the order of the line, with their fields."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """One epoch, with the best so far, so that the last report of a stopped trial is complete.

    Validation scores are those of the averaged weights if there are any.
    """

    epoch: int
    """Number of the epoch, from 1."""
    step: int
    """Number of optimizer steps taken in the whole trial; with a network for each fold, by the one
    that has taken most."""
    schedule_percent: int
    """Percentage of the trial's own schedule that has been run, 100 after its last epoch."""
    stop_reason: StopReason | None
    """Reason why the trainer runs no further epoch; None if it would run one."""

    train_loss: float | None
    """Mean log-loss over the epoch's samples as they were trained on: with dropout, on moving
    weights and without the auxiliary part; for a panel the mean of its base loss over days. None
    if the epoch diverged."""
    train_auxiliary_loss: float | None
    """Mean squared error of the auxiliary output; None without an auxiliary output."""
    validation: Validation | PanelValidation | None
    """Scores of this epoch; None if it diverged."""
    best: BestEpoch | PanelBest | None
    """Scores of the epoch of the lowest validation loss so far, however small the gain: that loss
    is the trial's objective. Of a panel the first epoch as long as the loss of all is undefined.
    None if no epoch was validated."""
    best_is_collapsed: bool | None
    """Is the best epoch so far a collapsed one? Then no score of this trial may be ranked, whatever
    stopped it. None without a best epoch."""

    learning_rate: float
    """Rate of the epoch's last optimizer step."""
    gradient_norm: float | None
    """Mean global norm over the epoch's steps, before clipping; None if the epoch diverged."""
    data_seconds: float
    """Seconds of gathering batches. Where steps are captured the gathering is part of the step, and
    these are the seconds of handing over their days."""
    step_seconds: float
    """Seconds of the rest of the training part of the epoch."""
    validation_seconds: float
    """Seconds of validating, and of keeping the best weights."""
    samples_per_second: float
    """Training samples over data and step seconds."""
    peak_memory_bytes: int
    """Peak memory of the device, as ``study.training.device.peak_memory_bytes`` measures it."""
    micro_batch: int
    """Largest micro-batch at the end of the epoch; halved whenever memory ran out."""
    accumulation_steps: int
    """Number of micro-batches per full optimizer step."""
    out_of_memory_count: int
    """Number of times that the trial has halved its micro-batch because memory ran out."""
    train_terms: Mapping[str, float] | None = None
    """Mean of each term of a panel's loss over the epoch's days, without its weight, by its name:
    that of ``train_loss`` and of all terms with a weight. None for one asset, and if the epoch
    diverged."""
    phase: str | None = None
    """Name of the phase of the schedule; None of a schedule without phases."""
    pretrain_losses: Sequence[float] | None = None
    """Mean squared error of filling in hidden patches in each epoch of the pretraining that came
    before this epoch, 1 for filling in the mean; None in all reports but the first of a trial that
    was pretrained."""
    pretrain_seconds: float | None = None
    """Seconds of that pretraining, which are in no other field; None where there was none."""

    @property
    def end_reason(self) -> StopReason:
        """Reason why the trial ended, if this is its last report: ASHA where the trainer has none.

        A trial whose best epoch is a collapsed one is collapsed, whatever stopped it.
        """
        reason: StopReason = self.stop_reason or "asha"
        if STATE_OF_REASON[reason] != "FAIL" and self.best_is_collapsed:
            return "collapsed"
        return reason

    def to_json(self) -> dict[str, Any]:
        """Return the flat values of a line; a value that is None is left out."""
        line: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            line |= _flat(field.name, getattr(self, field.name))
        return {name: value for name, value in line.items() if value is not None}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> "EpochReport":
        """Rebuild the report from its line; other names in the line are ignored."""
        return cls(**_report_values(line))


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerRecord:
    """The settings of an optimizer, read from the object itself and not from a configuration."""

    name: str
    """``AdamW``; ``AdaBelief``; or ``LeanAdamW``: AdamW with moments of 8 bits, and with each of
    the n parts of the network that are changed together clipped to ``clip_norm / sqrt(n)``."""
    learning_rate: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    n_decayed: int
    """Number of weights that decay."""
    n_undecayed: int
    """Number of weights that do not decay."""
    is_fused: bool


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerFacts:
    """Facts about the process that trained an epoch, and about its machine."""

    checkpoint_seconds: float | None
    """Seconds for which training waited while checkpoints were copied or written; None in a report
    that a restored trial repeats."""
    device: str
    """Kind of device, without its index, which has no meaning outside of the process."""
    capture: str | None
    """The word ``captured`` if training steps are replayed as graphs of the device, or ``eager``
    with the reason why they are not; None where none were to be captured."""
    optimizer: OptimizerRecord
    assigned_cpus: float
    """CPUs that Ray assigned to the trial."""
    assigned_gpus: float
    """GPUs, or the share of one, that Ray assigned to the trial."""
    began: float
    """Unix time at which the process took the trial over."""
    reported: float
    """Unix time of the report."""
    machine: str
    """Name of the machine."""
    temperature: float | None
    """Degrees Celsius at the report; None if no sensor can be read."""
    temperature_source: str | None
    """Name of the sensor of ``temperature``."""
    temperature_max: float | None
    """Highest temperature since the report before, degrees Celsius."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord(EpochReport):
    """The report of an epoch, with what its worker adds: a line of result.json."""

    worker: WorkerFacts
    replays: int | None = None
    """Number of times that the epoch was trained again, from an older state after an interruption;
    None if it never was. All other values are those of its first training, unless a replay has
    ended the trial."""
    replay_difference: float | None = None
    """Largest distance of the validation loss of a replay from that of the first training, in nats:
    0 on the CPU, unless memory ran out; None if it was never replayed."""

    @property
    def is_repeated(self) -> bool:
        """Is it the report of a restored trial about its last epoch, which was not trained anew?"""
        return self.worker.checkpoint_seconds is None

    def replayed(self, again: "EpochRecord") -> "EpochRecord":
        """Return this record of an epoch with the mark that ``again`` is a replay of it."""
        difference = self.replay_difference or 0.0
        first = None if self.validation is None else self.validation.loss
        second = None if again.validation is None else again.validation.loss
        if first is not None and second is not None:
            difference = max(difference, abs(second - first))
        return dataclasses.replace(
            self, replays=(self.replays or 0) + 1, replay_difference=difference
        )

    @classmethod
    def of(cls, report: EpochReport, worker: WorkerFacts) -> "EpochRecord":
        """Return a trainer's report with the facts of its worker."""
        own = {f.name: getattr(report, f.name) for f in dataclasses.fields(EpochReport)}
        return cls(**own, worker=worker)

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> "EpochRecord":
        """Rebuild the record from its line; other names in the line are ignored."""
        names = [field.name for field in dataclasses.fields(WorkerFacts)]
        facts: dict[str, Any] = {name: line.get(name) for name in names}
        facts["optimizer"] = OptimizerRecord(**line["optimizer"])
        return cls(
            **_report_values(line),
            worker=WorkerFacts(**facts),
            replays=line.get("replays"),
            replay_difference=line.get("replay_difference"),
        )

    @property
    def phase_seconds(self) -> dict[str, float]:
        """Seconds of the epoch by phase; a checkpoint that was not timed counts as none."""
        return {
            "data": self.data_seconds,
            "step": self.step_seconds,
            "validation": self.validation_seconds,
            "checkpoint": self.worker.checkpoint_seconds or 0.0,
        }


def _flat(name: str, value: object) -> dict[str, Any]:
    """Return the values that a field becomes in a line."""
    match value:
        case Validation():
            return {written: getattr(value, own) for written, own in _VALIDATION_NAMES.items()}
        case BestEpoch():
            return _flat_best(value, _BEST_NAMES)
        case PanelBest():
            return _flat_best(value, _PANEL_BEST_NAMES)
        case PanelValidation():
            return {written: getattr(value, own) for written, own in _PANEL_NAMES.items()}
        case WorkerFacts():
            return dataclasses.asdict(value)
        case _:
            return {name: value}


def _flat_best(best: BestEpoch | PanelBest, names: Mapping[str, str]) -> dict[str, Any]:
    flat = {written: getattr(best, own) for written, own in names.items()}
    # A list, as JSON gives it back: lines are compared with their files.
    halves = best.half_losses
    return flat | {"best_half_losses": None if halves is None else list(halves)}


def _report_values(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the ``EpochReport`` in a line."""
    values = {field.name: line.get(field.name) for field in dataclasses.fields(EpochReport)}
    return values | {"validation": _validation(line), "best": _best(line)}


def _validation(line: Mapping[str, Any]) -> Validation | PanelValidation | None:
    # The loss of a panel's epoch may be undefined, and its line then has none.
    if "rank_ic" in line:
        return PanelValidation(**_fields(line, _PANEL_NAMES))
    if line.get("validation_loss") is None:
        return None
    return Validation(**_fields(line, _VALIDATION_NAMES))


def _best(line: Mapping[str, Any]) -> BestEpoch | PanelBest | None:
    if line.get("best_epoch") is None:
        return None
    is_panel = "best_rank_ic" in line
    names = _PANEL_BEST_NAMES if is_panel else _BEST_NAMES
    values = _fields(line, names)
    if values["half_losses"] is not None:
        values["half_losses"] = tuple(values["half_losses"])
    return PanelBest(**values) if is_panel else BestEpoch(**values)


def _fields(line: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {own: line.get(written) for written, own in names.items()}
