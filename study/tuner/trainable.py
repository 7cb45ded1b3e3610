"""The Ray trainable: a thin shell that runs one epoch of a Trainer per step."""

import gc
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from study.cluster.accelerator.mps import blaming_daemon, join_daemon
from study.cluster.resources import needed_bytes
from study.cluster.sensors import degree_sources
from study.cluster.thermal import ThermalGuard, ThermalState, too_hot
from study.cluster.usable_memory import most_copied_bytes
from study.results.epoch_report import EpochRecord, EpochReport, WorkerFacts
from study.results.records import fold_of_run
from study.results.scheduling.rungs import rung_epochs
from study.search.assignment import Assignment, first_micro_batch
from study.search.trial_memory import StepSetting
from study.storage.layout import ALIVE_FILE, CHECKPOINTS_FOLDER, STOP_FILE
from study.storage.lease import WorkerStore, is_held
from study.storage.lock import FolderLock, scratch_folder
from study.storage.mirror import Mirror
from study.storage.place import SIGN_SECONDS
from study.training.checkpoint import CheckpointFolder, CheckpointWriter, is_checkpoint
from study.training.device import (
    bound_kernel_cache,
    limit_memory,
    release_cached_memory,
    resolve_device,
    supports_bf16,
)
from study.training.folded_trainer import FoldedTrainer, trainer_of
from study.training.state_file import CheckpointError
from study.training.step.graphs import Graphs, graphs_of
from study.training.step.samples import Samples
from study.training.trainer import Trainer

_LOOK_SECONDS = 0.5
"""Seconds between two polls of the stop file, and between two signs of life; an own choice."""

_ASK_SECONDS = 3.0
"""Seconds between two polls of the lease in a store; an own choice, as a request was measured to
take 0.01 to 0.05 s."""

_SAVE_SECONDS = 600.0
"""Seconds of training after which a checkpoint is saved within an epoch; an own choice of the most
work of a long epoch that a crash may lose."""

_ORPHAN_SECONDS = 60.0
"""Seconds to wait for the worker of a killed driver to exit; an own choice, as Ray takes a few."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSettings:
    """What every trial of a cell gets besides its assignment."""

    cell_folder: Path
    """The cell's folder, absolute; a trial keeps its checkpoints in its own folder there."""
    device: str | None
    """The device that the user chose; None takes the one that Ray assigned."""
    capture: bool
    """Are training steps captured as graphs of the device, where it can?"""
    share_bytes: Mapping[str, int]
    """Bytes of the device's memory that a training step may use, by budget."""
    store: WorkerStore | None = None
    """The store of the results; None if all workers share the cell's folder."""
    checkpoint_seconds: float = 0.0
    """Least seconds between two checkpoints that are written while a trial goes on; with 0 every
    epoch is saved before it is reported."""
    milestones: Sequence[float] = ()
    """Positions of ASHA's rungs in percent of a schedule; at each the state is saved first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """The result of one call of a worker."""

    report: EpochRecord | None
    """The report of an epoch; None if the worker paused within an epoch."""
    is_paused: bool
    """Has the worker saved and paused the trial, so that it is to be released?"""
    problem: str | None
    """Why no trial can continue; None if nothing is wrong."""
    notes: tuple[str, ...] = ()
    """Lines for the user, one per checkpoint that was found damaged."""
    is_saved: bool = True
    """Is the state of the report on the disk? Otherwise the trial must pause before it is released,
    or it will train again what it has trained since its last checkpoint."""

    def write(self) -> dict[str, Any]:
        """Return the result in the form that Ray takes, which adds keys and flattens mappings.

        NaN and infinity are errors, because no record may hold them.
        """
        return {
            "report": json.dumps(self.report and self.report.to_json(), allow_nan=False),
            "is_paused": self.is_paused,
            "problem": self.problem,
            "notes": self.notes,
            "is_saved": self.is_saved,
        }

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> "StepResult":
        """Rebuild the result from what ``write`` returned."""
        line = json.loads(result["report"])
        return cls(
            report=None if line is None else EpochRecord.from_json(line),
            is_paused=result["is_paused"],
            problem=result["problem"],
            notes=tuple(result["notes"]),
            is_saved=result["is_saved"],
        )


class CellTrainable(tune.Trainable):  # type: ignore[misc]
    """Trains one trial after the other in one actor, so that a trial needs no new process.

    The newest intact checkpoint of a trial determines where it resumes. It is written while the
    trial goes on, every ``checkpoint_seconds``; at a pause, at the trial's end and at a rung that
    may end it, the state is on the disk before the worker reports. A restored trial first repeats
    its last report, which the ledger ignores if it has it already, and then trains again the epochs
    that the journal has and the checkpoint has not. Ray keeps no checkpoint of its own, which would
    be a second copy.

    If the results are in a store, a trial works in a temporary folder, which is filled from the
    store when it begins; a checkpoint is written when it is in the store.
    """

    _data: Sequence[Sequence[Samples]]
    """The samples that trials take in turn by their numbers: one for each network of a trial."""
    _assigned: Assignment | None
    """The trial that begins with the next step; None once it has begun."""
    _at_work: Assignment
    """The trial that has begun last."""
    _trainer: Trainer | FoldedTrainer
    _checkpoints: CheckpointFolder
    _writer: CheckpointWriter
    _graphs: Graphs | None
    """What captures the work of all its trials; None before the first, or if nothing does."""
    _repeat: EpochReport | None
    """The last report of a restored trial, until it has been repeated."""
    _rung_epochs: frozenset[int]
    """Epochs after which a rung may end the trial."""
    _saved_micro_batch: int
    """Micro-batch of the newest state that had to be saved. Another one adds in another order, so
    that a replay would not give the same numbers."""
    _looked: float
    """Time of the last poll of the stop file, in seconds of ``time.monotonic``."""

    def setup(
        self,
        config: dict[str, Any],
        *,
        data: Sequence[Sequence[Samples]],
        settings: TrialSettings,
    ) -> None:
        """Take the cell's data from the object store.

        The trial itself begins in its first step. An exception there is an error of the trial; here
        it would look like the death of the worker.
        """
        bound_kernel_cache()
        join_daemon(needed_bytes(max(settings.share_bytes.values())))
        self._data = data
        self._settings = settings
        self._stop_file = settings.cell_folder / STOP_FILE
        self._held = ExitStack()
        self._root, self._mirror = settings.cell_folder, None
        if settings.store is not None:
            self._root = self._held.enter_context(scratch_folder())
            self._mirror = Mirror(settings.store.storage, settings.store.cell, self._root)
        self._asked = self._signed = 0.0
        self._is_stopped = False
        self._assigned = Assignment.from_flat(config)
        self._graphs = None
        # It watches the machine of this worker; the search may run on another one.
        self._guard = ThermalGuard(degree_sources())
        self._guard.__enter__()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another trial in the same process."""
        self._assigned = Assignment.from_flat(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Save the trial's state where it is kept, and return where that is.

        Ray keeps this reference and no copy of the state. The search itself never calls it.
        """
        if self._assigned is not None:
            self._begin_assigned()
        self._writer.keep(self._trainer.state_dict, at_once=True)
        report = self._trainer.report
        return {"trial": self._folder.name, "epoch": 0 if report is None else report.epoch}

    def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
        """Resume the trial from its newest intact state, which then repeats its last report.

        Args:
            checkpoint: the return value of ``save_checkpoint``, or a trial's folder of checkpoints.

        Raises:
            CheckpointError: it belongs to another trial, or the state is lost or older than it.
        """
        if isinstance(checkpoint, dict):
            name, epoch = str(checkpoint["trial"]), int(checkpoint["epoch"])
        else:
            name, epoch = Path(checkpoint or "").parent.name, 1
        trial = self._assigned or self._at_work
        if name != trial.folder:
            raise CheckpointError(
                f"{trial.folder}: can be resumed from its own state, but got one of {name}. Give "
                "the checkpoint of this trial."
            )
        self._assigned = trial
        self._begin_assigned()
        found = 0 if self._trainer.report is None else self._trainer.report.epoch
        if found < epoch:
            raise CheckpointError(
                f"{self._folder}: must hold the state of epoch {epoch}, but got that of {found}. "
                "Of a trial that has ended only the best weights are kept."
            )

    def cleanup(self) -> None:
        """Release the model and the folder when the actor ends."""
        self._release()
        self._guard.__exit__(None, None, None)
        self._held.close()

    def step(self) -> dict[str, Any]:
        """Run and report one epoch; save and pause if the search is to end."""
        try:
            with blaming_daemon():
                return self._step().write()
        except BaseException:
            # The driver removes the checkpoints of a trial that fails: none may be written later.
            self._end_writing()
            raise

    def _step(self) -> StepResult:
        if self._assigned is not None:
            self._begin_assigned()
        if self._repeat is not None:
            restored, self._repeat = self._repeat, None
            return self._reported(restored, checkpoint_seconds=None, is_saved=True)
        pause = self._asked_to_pause()
        report: EpochReport | None = None
        waited_seconds = 0.0
        while True:
            if pause is None:
                report = self._trainer.run_epoch(self._should_pause)
                self._show_life()
                pause = None if report is not None else self._asked_to_pause()
            at_once = pause is not None or (report is not None and self._must_be_saved(report))
            began = time.perf_counter()
            try:
                is_saved = self._writer.keep(self._trainer.state_dict, at_once=at_once)
            except OSError as error:
                # What is not saved is run again later, whether or not it was reported.
                return _paused(f"{self._folder}: a checkpoint must be saved, but got {error}")
            waited_seconds += time.perf_counter() - began
            if pause is not None:
                return pause
            if report is not None:
                return self._reported(report, checkpoint_seconds=waited_seconds, is_saved=is_saved)

    def _must_be_saved(self, report: EpochReport) -> bool:
        """Return whether the state of an epoch must be on the disk before the epoch is reported."""
        is_smaller = self._trainer.micro_batch < self._saved_micro_batch
        self._saved_micro_batch = self._trainer.micro_batch
        may_end = report.stop_reason is not None or report.epoch in self._rung_epochs
        return may_end or is_smaller

    def _write(self, state: dict[str, Any]) -> None:
        """Write a state into the trial's folder and to the store.

        Raises:
            OSError: it cannot be written; the states before are kept.
        """
        self._checkpoints.save(state)
        self._push_checkpoints()

    def _asked_to_pause(self) -> StepResult | None:
        """Return a pause if the search is to end or this machine is too hot; None otherwise."""
        temperature = self._guard.now()
        if temperature.state is ThermalState.CRITICAL:
            return _paused(too_hot(self._guard.machine, temperature))
        return _paused(None) if self._must_stop() else None

    def _should_pause(self) -> bool:
        """Show a sign of life after a training step, and return whether to pause and save now."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return False
        self._looked = now
        self._show_life()
        longest = max(_SAVE_SECONDS, self._settings.checkpoint_seconds)
        return self._writer.age_seconds > longest or self._asked_to_pause() is not None

    def _must_stop(self) -> bool:
        """Return whether the search is to end, or another driver has taken it over."""
        if self._mirror is None or self._settings.store is None:
            return self._stop_file.exists()
        if time.monotonic() - self._asked > _ASK_SECONDS:
            # If the store does not answer, the next checkpoint reports it.
            with suppress(OSError):
                self._is_stopped = not is_held(self._mirror, self._settings.store.holder)
            self._asked = time.monotonic()
        return self._is_stopped

    def _show_life(self) -> None:
        self._lock.show_life()
        if self._mirror is not None and time.monotonic() - self._signed > SIGN_SECONDS:
            with suppress(OSError):
                self._mirror.write(f"{self._folder.name}/{ALIVE_FILE}", b"")
            self._signed = time.monotonic()

    def _push_checkpoints(self) -> None:
        """Copy the checkpoints to the store, unless another driver has taken over.

        Raises:
            OSError: the store cannot be written; its content is unchanged.
        """
        if self._mirror is None or self._settings.store is None:
            return
        if not is_held(self._mirror, self._settings.store.holder, or_stopped=True):
            raise OSError(f"another process has taken over {self._mirror.uri}")
        below = f"{self._folder.name}/{CHECKPOINTS_FOLDER}"
        self._mirror.push(below)
        self._mirror.drop_missing(below, only=is_checkpoint)

    def _begin_assigned(self) -> None:
        assert self._assigned is not None
        self._at_work, self._assigned = self._assigned, None
        self._begin(self._at_work)

    def _begin(self, trial: Assignment) -> None:
        self._release()
        self._began = time.time()
        # The highest temperature so far belongs to the trial before.
        self._guard.take_hottest()
        assigned = ray.get_runtime_context().get_assigned_resources()
        share = float(assigned.get("GPU", 0.0))
        device = resolve_device(share, self._settings.device)
        torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))
        limit_memory(device, share)
        self._resources = {"CPU": float(assigned.get("CPU", 0)), "GPU": share}
        self._folder = self._root / trial.folder
        self._folder.mkdir(exist_ok=True)
        # A worker whose driver was killed may still be writing here.
        self._lock = FolderLock(self._folder, wait_seconds=_ORPHAN_SECONDS)
        self._looked = time.monotonic()
        self._checkpoints = CheckpointFolder(self._folder / CHECKPOINTS_FOLDER)
        if self._mirror is not None:
            self._signed = 0.0
            self._show_life()
            self._mirror.pull(f"{trial.folder}/{CHECKPOINTS_FOLDER}")
        self._device = device
        if self._graphs is None:
            self._graphs = graphs_of(device, is_wanted=self._settings.capture)
        self._trainer = self._new_trainer(trial)
        self._notes = self._restore()
        self._repeat = self._trainer.report
        self._rung_epochs = rung_epochs(self._settings.milestones, trial.config.train.epochs)
        self._saved_micro_batch = self._trainer.micro_batch
        self._writer = CheckpointWriter(
            self._write,
            seconds=self._settings.checkpoint_seconds,
            most_copied_bytes=most_copied_bytes(is_shared=device.type != "cuda"),
            step=self._trainer.state_dict()["step"],
        )

    def _new_trainer(self, trial: Assignment) -> Trainer | FoldedTrainer:
        bf16, share = supports_bf16(self._device), self._settings.share_bytes
        folds = self._data[fold_of_run(trial.number, len(self._data))]
        setting = StepSetting(bf16=bf16, networks=len(folds), device=self._device.type)
        micro_batch = first_micro_batch(trial, share, setting)
        return trainer_of(
            folds, model=trial.config.model, train=trial.config.train, device=self._device,
            micro_batch=micro_batch, seed=trial.seed, bf16=bf16, graphs=self._graphs,
            scratch=self._folder,
        )  # fmt: skip

    def _restore(self) -> tuple[str, ...]:
        """Load the newest intact checkpoint, and return a line for each newer damaged one."""
        try:
            found = self._checkpoints.newest_intact(self._trainer.state_dict())
        except CheckpointError as error:
            return (f"{error} The trial begins again.",)
        if found is None:
            return ()
        self._trainer.load_state_dict(found.state)
        return found.problems

    def _reported(
        self, report: EpochReport, *, checkpoint_seconds: float | None, is_saved: bool
    ) -> StepResult:
        """Return the trainer's report with the facts of this worker."""
        now = self._guard.now()
        known = [each for each in (now.degrees, self._guard.take_hottest()) if each is not None]
        worker = WorkerFacts(
            checkpoint_seconds=checkpoint_seconds,
            device=self._device.type,
            capture=self._trainer.capture,
            optimizer=self._trainer.optimizer_record,
            assigned_cpus=self._resources["CPU"],
            assigned_gpus=self._resources["GPU"],
            began=self._began,
            reported=time.time(),
            machine=self._guard.machine,
            temperature=now.degrees,
            temperature_source=now.source,
            temperature_max=max(known, default=None),
        )
        notes, self._notes = self._notes, ()
        record = EpochRecord.of(report, worker)
        return StepResult(
            report=record, is_paused=False, problem=None, notes=notes, is_saved=is_saved
        )

    def _end_writing(self) -> None:
        """Return when no checkpoint is being written."""
        if hasattr(self, "_writer"):
            self._writer.close()

    def _release(self) -> None:
        self._end_writing()
        if hasattr(self, "_trainer"):
            del self._trainer
            gc.collect()
            release_cached_memory(self._device)
        if hasattr(self, "_lock"):
            self._lock.release()
            if self._mirror is not None:
                shutil.rmtree(self._folder, ignore_errors=True)


def _paused(problem: str | None) -> StepResult:
    return StepResult(report=None, is_paused=True, problem=problem)
