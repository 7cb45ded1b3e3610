"""The state of one trial inside a search, and the record that is made of it at its end."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from study.model.sizing import count_parameters
from study.results.epoch_report import EpochRecord
from study.results.records import (
    PHASES,
    Metric,
    StopReason,
    TrialRecord,
    objective,
    objective_error,
)
from study.results.scores import BestEpoch, PanelBest, Validation
from study.search.assignment import Assignment


@dataclass(slots=True)
class AskedTrial:
    """A trial that has been handed out, with the epochs and faults it has reported since."""

    assignment: Assignment
    """What the trial was assigned, its latest micro-batch limit included."""
    asked: float
    """Unix time at which it was handed out, in seconds."""
    epochs: list[EpochRecord] = field(default_factory=list)
    """Reports in order, until they are released after the end of the trial."""
    faults: list[str] = field(default_factory=list)
    """Faults that interrupted it and were retried, oldest first."""
    retries: int = 0
    """Number of transient faults since its last epoch."""
    end: StopReason | None = None
    """Why it ends; None until its last epoch has been applied."""
    record: TrialRecord | None = None
    """Its record; None until it has ended."""
    was_reopened: bool = False
    """Had it ended, before it was given a longer schedule?"""


def trial_record(
    trial: AskedTrial,
    reason: StopReason,
    message: str | None,
    *,
    search: str,
    metric: Metric,
    phase: int | None,
    granted_bytes: int | None,
) -> TrialRecord:
    """Return the record of a trial that ends now.

    Args:
        trial: its assignment, and what it has reported.
        reason: why it ends.
        message: what went wrong; None if nothing did.
        search: identity of the search.
        metric: what trials are scored by.
        phase: 1 or 2 in a search of two phases; None in any other.
        granted_bytes: bytes of its device's memory that it was granted.
    """
    assignment, epochs = trial.assignment, trial.epochs
    last = epochs[-1] if epochs else None
    worker = last and last.worker
    best, config = last and last.best, assignment.config
    return TrialRecord(
        number=assignment.number,
        trial_id=f"{search}-{assignment.number:04d}",
        source=assignment.source,
        phase=phase,
        group=assignment.group,
        name=assignment.forced_name,
        folder=assignment.folder,
        seed=assignment.seed,
        params=config.flat(),
        d_ff=config.model.d_ff,
        param_count=count_parameters(config.model),
        reason=reason,
        message=message,
        faults=list(trial.faults),
        objective=objective(best, metric),
        objective_se=objective_error(best, metric),
        best=best,
        epochs_trained=len(epochs),
        micro_batch=last and last.micro_batch,
        accumulation_steps=last and last.accumulation_steps,
        out_of_memory_count=last and last.out_of_memory_count,
        device=worker and worker.device,
        assigned_cpus=worker and worker.assigned_cpus,
        assigned_gpus=worker and worker.assigned_gpus,
        peak_memory_bytes=last and last.peak_memory_bytes,
        granted_memory_bytes=granted_bytes if epochs else None,
        thermal_max_temp=_hottest(epochs),
        seconds=_seconds(epochs),
        started=trial.asked,
        ended=time.time(),
    )


def _seconds(epochs: Sequence[EpochRecord]) -> dict[str, float]:
    """Return the seconds of all epochs by phase, and of the pretraining if there was one."""
    found = {phase: sum(each.phase_seconds[phase] for each in epochs) for phase in PHASES}
    pretrained = [each.pretrain_seconds for each in epochs if each.pretrain_seconds is not None]
    return {**found, "pretraining": sum(pretrained)} if pretrained else found


def _hottest(epochs: Sequence[EpochRecord]) -> float | None:
    """Return the highest temperature of all epochs in degrees Celsius; None if none is known."""
    known = [each.worker.temperature_max for each in epochs]
    return max((degrees for degrees in known if degrees is not None), default=None)


def collapse_message(last: EpochRecord) -> str:
    """Return what is said of a trial that has collapsed, by its last epoch."""
    best, validation = last.best, last.validation
    if isinstance(best, BestEpoch) and isinstance(validation, Validation):
        return (
            f"predicts next to a constant or no better than the base rate: skill "
            f"{best.skill:+.3f} at its best epoch, logits that vary by "
            f"{validation.logit_sd:.3f} in its last"
        )
    assert isinstance(best, PanelBest)
    return (
        "gives all assets of a day next to the same score: scores that vary by "
        f"{best.spread:.2g} of the target across a day at its best epoch"
    )
