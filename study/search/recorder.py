"""The Ray callback that turns what happens to trials into records, events and lines."""

from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from rich.console import Console

from study.cluster.resources import TrialResources
from study.model.sizing import count_parameters
from study.results.progress import Progress
from study.results.records import BaselineRecord, StopReason, TrialRecord, end_reason
from study.results.store import CellIdentity, CellStore
from study.results.tensorboard import TrialEvents
from study.search.space import TrialConfig
from study.search.trainable import first_micro_batch, trial_folder_name

_RAY_KEYS = frozenset(
    {
        "config", "trial_id", "experiment_tag", "hostname", "node_ip", "pid", "date", "timestamp",
        "time_this_iter_s", "time_total_s", "time_since_restore", "iterations_since_restore",
        "training_iteration", "done", "replayed", "timesteps_total", "episodes_total",
    }
)  # fmt: skip
"""What Ray adds to a result; our records keep our own clock and counters."""

_PHASES = ("data", "step", "validation", "checkpoint")


def _lacks_memory(error: str) -> bool:
    """Recognise torch's words, and those of Ray's memory monitor when it killed the worker."""
    return "out of memory" in error.lower() or "low on memory" in error.lower()


class Recorder(Callback):  # type: ignore[misc]
    """Writes each epoch once and each end once, whatever is repeated after a restore.

    Pickled with the Tuner, so everything that is open is opened in ``setup``.
    """

    def __init__(
        self,
        folder: Path,
        identity: CellIdentity,
        baseline: BaselineRecord,
        *,
        slots: int,
        resources: TrialResources,
        bf16: bool,
    ) -> None:
        self._folder = folder
        self._resources = resources
        self._bf16 = bf16
        self._identity = identity
        self._baseline = baseline
        self._slots = slots

    def setup(self, *args: Any, total_num_samples: int | None = None, **info: Any) -> None:
        """Open the records and the terminal."""
        self._store = CellStore(self._folder, self._identity)
        self._events: dict[str, TrialEvents] = {}
        self._epochs: dict[str, list[dict[str, Any]]] = {}
        self._progress = Progress(
            Console(highlight=False),
            self._store.log,
            total=total_num_samples or 0,
            slots=self._slots,
            baseline=self._baseline,
        )
        self._progress.start(self._store.records, self._store.best)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Open a trial's event file, its HParams included, and say what it is."""
        if trial.trial_id in self._events:
            return
        folder = trial_folder_name(trial.config)
        (self._folder / folder).mkdir(exist_ok=True)
        self._epochs[trial.trial_id] = self._store.trial_epochs(folder)
        config = TrialConfig.from_flat(trial.config)
        param_count = count_parameters(config.model)
        done = len(self._epochs[trial.trial_id])
        self._events[trial.trial_id] = TrialEvents(
            self._folder / folder,
            {
                "budget": self._identity.budget,
                "horizon": self._identity.horizon,
                "task": self._identity.task,
                **config.flat(),
                "d_ff": config.model.d_ff,
                "param_count": param_count,
                "source": trial.config["source"],
                "seed": trial.config["seed"],
            },
            first_epoch=done + 1,
        )
        self._progress.trial_started(
            trial.config["number"],
            config.flat(),
            source=trial.config["source"],
            param_count=param_count,
            micro_batch=first_micro_batch(config, self._resources.share_bytes, bf16=self._bf16),
            resumed=done,
        )

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **_: Any,
    ) -> None:
        """Write an epoch that is not on disk yet."""
        epochs = self._epochs[trial.trial_id]
        if epochs and result["epoch"] <= epochs[-1]["epoch"]:
            return
        report = {name: value for name, value in result.items() if name not in _RAY_KEYS}
        # Events first: a crash between the two leaves an event that the resumed run hides.
        self._events[trial.trial_id].epoch(report)
        self._store.add_epoch(trial_folder_name(trial.config), report)
        epochs.append(report)
        self._progress.epoch(trial.config["number"], report)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        """Record a trial that ran to its end or was stopped by the scheduler."""
        epochs = self._epochs.get(trial.trial_id, [])
        last = epochs[-1] if epochs else {}
        reason = end_reason(last)
        message = None
        if reason == "collapsed":
            message = (
                f"predicts next to a constant or no better than the base rate: skill "
                f"{last['best_skill']:+.3f} at its best epoch, logits that vary by "
                f"{last['logit_sd']:.3f} in its last"
            )
        self._end(trial, reason, message=message)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Record a trial that failed, with the last line of its error."""
        error = str(trial.get_error() or "the worker died without a word").strip()
        message = error.splitlines()[-1]
        reason: StopReason = "oom" if _lacks_memory(error) else "error"
        self._end(trial, reason, message=message)

    def on_experiment_end(self, trials: list[Trial], **_: Any) -> None:
        """Close what is open; trials that still run keep their files for the next start."""
        for events in self._events.values():
            events.close(ended=False)
        self._events.clear()
        self._progress.stop()

    def _end(self, trial: Trial, reason: StopReason, message: str | None) -> None:
        events = self._events.pop(trial.trial_id, None)
        if events is not None:
            events.close(ended=True)
        record = self._record(trial, reason, message)
        self._store.add_trial(record)
        self._progress.trial_ended(record, self._store.best)

    def _record(self, trial: Trial, reason: StopReason, message: str | None) -> TrialRecord:
        epochs = self._epochs.pop(trial.trial_id, [])
        first, last = (epochs[0], epochs[-1]) if epochs else ({}, {})
        config = TrialConfig.from_flat(trial.config)
        return TrialRecord(
            number=trial.config["number"],
            trial_id=trial.trial_id,
            source=trial.config["source"],
            folder=trial_folder_name(trial.config),
            seed=trial.config["seed"],
            params=config.flat(),
            d_ff=config.model.d_ff,
            param_count=count_parameters(config.model),
            reason=reason,
            message=message,
            value=last.get("best_validation_loss"),
            value_se=last.get("best_validation_loss_se"),
            difference=last.get("best_difference"),
            difference_se=last.get("best_difference_se"),
            best_epoch=last.get("best_epoch"),
            epochs_trained=last.get("epoch", 0),
            skill=last.get("best_skill"),
            skill_own_base_rate=last.get("best_skill_own_base_rate"),
            auc=last.get("best_auc"),
            brier=last.get("best_brier"),
            micro_batch=last.get("micro_batch"),
            accumulation_steps=last.get("accumulation_steps"),
            out_of_memory_count=last.get("out_of_memory_count"),
            device=last.get("device"),
            assigned_cpus=last.get("assigned_cpus"),
            assigned_gpus=last.get("assigned_gpus"),
            peak_memory_bytes=last.get("peak_memory_bytes"),
            granted_memory_bytes=self._resources.granted_bytes if epochs else None,
            seconds={
                phase: sum(epoch[f"{phase}_seconds"] for epoch in epochs) for phase in _PHASES
            },
            started=first.get("began"),
            ended=last.get("reported", trial.run_metadata.last_result_time),
        )
