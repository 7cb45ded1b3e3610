"""What a trainer says after each epoch."""

from dataclasses import dataclass
from typing import Literal

StopReason = Literal["completed", "early_stopping", "diverged", "collapsed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochReport:
    """One epoch, with the best so far, so that the last report of a stopped trial is complete.

    None stands for what is undefined or was not measured; no field is ever NaN or infinite.
    Validation is that of the averaged weights if there are any.
    """

    epoch: int
    """Epochs run, from 1."""
    step: int
    """Optimizer steps taken in the whole trial."""
    schedule_percent: int
    """Share of the trial's own schedule, 100 after its last epoch."""
    stop_reason: StopReason | None
    """Why no further epoch can be run; None: go on."""

    train_loss: float | None
    """Mean log-loss over the epoch's samples as they were trained on: with dropout, on moving
    weights and without the auxiliary part. None if the epoch diverged."""
    train_auxiliary_loss: float | None
    """Mean squared error of the auxiliary output; None without one."""
    validation_loss: float | None
    """Mean log-loss, nats; None, like all that follows from it, if the epoch diverged."""
    skill: float | None
    """1 - loss / loss of a constant at the training base rate."""
    skill_own_base_rate: float | None
    """1 - loss / loss of a constant at the validation part's own base rate."""
    auc: float | None
    brier: float | None
    prediction_sd: float | None
    prediction_min: float | None
    prediction_max: float | None
    logit_sd: float | None

    best_validation_loss: float | None
    """The trial's objective: the lowest validation loss so far, however small the gain."""
    best_validation_loss_se: float | None
    """Its standard error over dependent days."""
    best_half_losses: tuple[float, float] | None
    """Its mean loss on every other block of days and on those between."""
    best_difference: float | None
    """The best epoch's loss less the baseline's, day by day; None without a baseline."""
    best_difference_se: float | None
    best_epoch: int | None
    best_skill: float | None
    best_skill_own_base_rate: float | None
    best_auc: float | None
    best_auc_se: float | None
    best_brier: float | None
    best_is_collapsed: bool | None
    """Is the best epoch so far a collapsed one? Then no score of this trial may be ranked, whoever
    stopped it."""

    learning_rate: float
    """Rate of the epoch's last optimizer step."""
    gradient_norm: float | None
    """Mean global norm over the epoch's steps, before clipping; None if the epoch diverged."""
    data_seconds: float
    """Gathering batches."""
    step_seconds: float
    """The rest of the training part of the epoch."""
    validation_seconds: float
    samples_per_second: float
    """Training samples over data and step seconds."""
    peak_memory_bytes: int
    """See ``study.training.device.peak_memory_bytes``."""
    micro_batch: int
    """Largest micro-batch at the end of the epoch; smaller than at its start after a shortage."""
    accumulation_steps: int
    """Micro-batches per full optimizer step."""
    out_of_memory_count: int
    """How often the trial has halved its micro-batch because memory ran out."""
