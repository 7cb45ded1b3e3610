"""Training of one trial, an epoch at a time, with pauses between its steps."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from study.model.model_config import ModelConfig
from study.results.epoch_report import EpochReport, OptimizerRecord
from study.training.device import (
    DeviceRandomness,
    PhaseClock,
    peak_memory_bytes,
    reset_peak_memory,
    synchronise,
)
from study.training.kept_weights import BestWeights, is_better
from study.training.lean.lean_training import LeanTraining
from study.training.metrics import Metrics
from study.training.panel.panel_metrics import PanelMetrics
from study.training.phases.phase import Phase, phase_in
from study.training.phases.pretraining import Pretraining
from study.training.requirements import require_fit, require_own_state
from study.training.seeds import derived_generator, derived_seed
from study.training.step.epoch_progress import EpochProgress, TrainMeans
from study.training.step.full_training import FullTraining
from study.training.step.graphs import Graphs, Replayer
from study.training.step.optimizer import learning_rate
from study.training.step.samples import Samples
from study.training.step.training import Training
from study.training.stopping import EarlyStopping, is_collapsed, restored_report
from study.training.train_config import TrainConfig
from study.training.windows import FloatArray, IndexArray


class Trainer:
    """Trains one model; the caller may stop after any step, save the state and resume.

    The gradient of an optimizer step is the mean over its own samples, whatever the micro-batch
    and however few samples the last step of an epoch has; a sample of a panel is a day with all
    its assets. On CUDA the host does not wait for the device inside an epoch, unless the epoch
    pauses.

    A loss or a gradient norm that is not finite ends the trial as ``diverged`` before the optimizer
    can write it into a weight. On the CPU and on MPS every step is checked by the host; on CUDA
    the fused optimizer reads the flag on the device and skips that step and all that follow, and
    the host reads it once, at the end of the epoch or before a pause.

    If memory runs out in a step's forward or backward pass, the micro-batch is halved and the step
    is repeated with the same samples. Any other error is raised, and the trial can then only be
    resumed from a saved state.

    All randomness comes from the seed; no global generator is used or changed.

    ``validation_logit`` holds the logits of the last epoch's validation days: None before the first
    epoch and after a divergence.

    Args:
        model: architecture.
        train: schedule, optimizer and early stopping.
        data: samples of training and validation.
        device: device of model and samples.
        micro_batch: most samples in one forward and backward pass.
        seed: seed of the weights, the order of the samples and dropout.
        bf16: are matrix products in bfloat16? See ``study.training.device.supports_bf16``.
        graphs: what captures the steps and the validation; None runs them eagerly.
        is_fold: is this the network of one fold, whose trial keeps the best weights of all?
        scratch: folder on a disk with room for the averaged and the best weights, which the lean
            memory mode on a CPU maps from files without names; None keeps them in memory.

    Raises: StudyError if the parts do not fit together.
    """

    def __init__(
        self,
        *,
        model: ModelConfig,
        train: TrainConfig,
        data: Samples,
        device: torch.device,
        micro_batch: int,
        seed: int,
        bf16: bool,
        graphs: Graphs | None = None,
        is_fold: bool = False,
        scratch: Path | None = None,
    ) -> None:
        require_fit(model, train, data, micro_batch, seed)
        self._model_config = model
        self._config = train
        self._data = data
        self._device = device
        self._seed = seed
        self._windows = data.windows(model.context_length, device)
        self._objective = data.objective(train)
        self._steps_per_epoch = train.steps_in_epoch(len(data.train_days))
        self._total_steps = self._steps_per_epoch * train.epochs

        self._device_random = DeviceRandomness(device, derived_seed(seed, "dropout"))
        self._shuffle = derived_generator(seed, "shuffle")

        self._replayer = None if graphs is None else Replayer(graphs)
        build = partial(LeanTraining, scratch=scratch) if train.memory == "lean" else FullTraining
        self._training: Training = build(
            model,
            self._windows,
            self._objective,
            train,
            base_rate=data.base_rate,
            seed=seed,
            bf16=bf16,
            device=device,
            random=self._device_random,
            micro_batch=micro_batch,
            replayer=self._replayer,
        )
        self.model = self._training.model
        self._phase: Phase | None = None
        """Phase that the steps follow; None before the first, and of a schedule without any."""
        self._pretraining = self._new_pretraining() if train.pretrain_epochs > 0 else None
        """What comes before the first epoch, whose report carries its losses; None for nothing."""
        self._stopping = EarlyStopping(train)
        self._is_fold = is_fold
        self.validation_logit: FloatArray | None = None
        self._best: BestWeights | None = None
        self._epoch = self._step = 0
        self._is_restored = False
        self._progress: EpochProgress | None = None
        """Progress of the epoch that has begun; None between epochs."""
        self.report: EpochReport | None = None
        """Report of the last finished epoch; None before the first."""
        reset_peak_memory(device)

    @property
    def optimizer_record(self) -> OptimizerRecord:
        """The values that the optimizer object holds."""
        return self._training.optimizer_record

    @property
    def micro_batch(self) -> int:
        """Most samples in one forward and backward pass; halved whenever memory runs out."""
        return self._training.micro_batch

    @property
    def samples_per_epoch(self) -> int:
        """Number of samples that an epoch trains on."""
        return self._config.samples_in_epoch(len(self._data.train_days))

    def limit_micro_batch(self, most: int) -> None:
        """Let no forward and backward pass take more than ``most`` samples from here on."""
        self._training.micro_batch = min(self._training.micro_batch, most)

    @property
    def capture(self) -> str | None:
        """The word ``captured``, or ``eager`` with the reason; None if nothing was to be so."""
        if self._replayer is None:
            return None
        failure = self._training.eager_reason or self._replayer.failure
        return "captured" if failure is None else f"eager: {failure}"

    @overload
    def run_epoch(self, should_pause: None = None) -> EpochReport: ...

    @overload
    def run_epoch(self, should_pause: Callable[[], bool]) -> EpochReport | None: ...

    def run_epoch(self, should_pause: Callable[[], bool] | None = None) -> EpochReport | None:
        """Train one epoch, or the rest of a paused one, then validate and report.

        Args:
            should_pause: function called after every optimizer step but the epoch's last; the epoch
                pauses if it returns True. On CUDA the host is ahead of the device, so that a pause
                first waits for the steps already sent.

        Returns: the report, or None if the epoch has paused between two steps. To resume it, call
            this again, or save the state, load it and call this. On the CPU the result is bit for
            bit that of an epoch without a pause, except for the seconds in the report.
        """
        if self._is_restored or (self.report is not None and self.report.stop_reason is not None):
            raise RuntimeError("Trainer: the trial has ended, so no further epoch can be run")
        if not self._pretrain(should_pause):
            return None
        self._enter_phase()
        synchronise(self._device)
        began = time.perf_counter()
        clock = PhaseClock(self._device)
        self.model.train()
        if self._progress is None:
            days = self._windows.shuffled(self._data.train_days, self._shuffle)
            self._progress = EpochProgress(days[: self.samples_per_epoch])
        progress = self._progress
        with self._device_random.active(), self._graphs_active():
            is_finite = self._take_steps(progress, clock, should_pause)
        synchronise(self._device)
        trained_at = time.perf_counter()
        progress.data_seconds += clock.seconds()
        progress.train_seconds += trained_at - began
        if is_finite and len(progress.norms) < self._steps_per_epoch:
            return None

        self._progress = None
        self._epoch += 1
        trained = progress.means() if is_finite else None
        self.validation_logit = None
        metrics = self._validate() if is_finite else None
        validation_seconds = time.perf_counter() - trained_at
        if metrics is not None:
            self._stopping.update(metrics.loss)
            if is_better(metrics, self._best) and not self._is_fold:
                weights = self.copy_weights(self.best_weights())
                self._best = BestWeights(self._epoch, metrics, weights)
        self.report = self._epoch_report(progress, trained, metrics, validation_seconds)
        return self.report

    def predict(self, days: IndexArray) -> FloatArray:
        """Return logits of the samples of ``days``, float32 (n,) or, of a panel, (n, A).

        After ``restore_best`` the best weights are used; before it the current ones, or their
        average if the trial has one.
        """
        self.model.eval()
        with self._graphs_active():
            answers = self._training.logits(self._windows.days(days))
            logit: FloatArray = answers.float().cpu().numpy()
        return logit

    def restore_best(self) -> None:
        """Load the weights of the best epoch into the model, which cannot be trained afterwards."""
        if self._best is None:
            raise RuntimeError("Trainer: no epoch has been validated, so there are no best weights")
        self._training.restore(self._best.weights)
        self._is_restored = True

    def best_weights(self) -> dict[str, Tensor] | None:
        """Return the weights of the best epoch by name, on the CPU, not copied; None before one."""
        return None if self._best is None else self._best.weights

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state: tensors, numbers, strings, lists and dicts.

        The tensors are not copied, so that saving a large model needs no second one: write them
        to a file before the next step.
        """
        if self._is_restored:
            raise RuntimeError("Trainer: the best weights were restored, the state is no more")
        return {
            "model_config": asdict(self._model_config),
            "train_config": asdict(self._config),
            "seed": self._seed,
            "epoch": self._epoch,
            "step": self._step,
            "micro_batch": self.micro_batch,
            "out_of_memory_count": self._training.out_of_memory_count,
            **self._training.state_dict(),
            "stopping": self._stopping.state_dict(),
            "partial": None if self._progress is None else self._progress.state_dict(),
            "best": None if self._best is None else self._best.state_dict(),
            "shuffle": self._shuffle.get_state(),
            "dropout": self.model.dropout_generator.get_state(),
            "device": self._device.type,
            "device_random": self._device_random.state(),
            "report": None if self.report is None else self.report.to_json(),
            **({"pretraining": self._pretraining.state_dict()} if self._pretraining else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved state, bit for bit on the CPU; ``state`` is copied.

        This trial's schedule may be longer than that of the state: it then goes on at the rate that
        the longer one has at this step.

        On another kind of device than the one it was saved on, the dropout masks then differ.

        Raises: StudyError if the state is that of another trial.
        """
        require_own_state(state, self._model_config, self._config, self._seed)
        training = self._training
        training.load_state_dict(state)
        self._phase = None
        if self._pretraining is not None:
            self._pretraining.load_state_dict(state["pretraining"])
        self._stopping.load_state_dict(state["stopping"])
        partial = state["partial"]
        self._progress = partial and EpochProgress.from_state(partial, self._device)
        self._best = state["best"] and BestWeights.from_state(state["best"], training.keep)
        self._shuffle.set_state(state["shuffle"])
        self.model.dropout_generator.set_state(state["dropout"])
        if state["device"] == self._device.type:
            self._device_random.load(state["device_random"])
        self._epoch = state["epoch"]
        self._step = state["step"]
        # The smaller micro-batch fits: memory ran out before the state was saved, or since.
        training.micro_batch = min(training.micro_batch, state["micro_batch"])
        training.out_of_memory_count = max(
            training.out_of_memory_count, state["out_of_memory_count"]
        )
        self.report = restored_report(state, self._config)
        self._is_restored = False

    def _new_pretraining(self) -> Pretraining:
        return Pretraining(
            self.model,
            self._windows,
            self._data.train_days,
            self._config,
            device=self._device,
            random=self._device_random,
            micro_batch=self.micro_batch,
            replayer=self._replayer,
            seed=self._seed,
        )

    def _pretrain(self, should_pause: Callable[[], bool] | None) -> bool:
        """Run what is left of the pretraining; return False if it has paused."""
        if self._pretraining is None or self._pretraining.is_over:
            return True
        synchronise(self._device)
        with self._device_random.active(), self._graphs_active():
            self._pretraining.run(should_pause)
        if self._pretraining.is_over:
            self._training.take_over()
            self._training.out_of_memory_count += self._pretraining.out_of_memory_count
            self.limit_micro_batch(self._pretraining.micro_batch)
        return self._pretraining.is_over

    def _enter_phase(self) -> None:
        """Let the steps follow the phase of the epoch that is due, if they do not already."""
        phase = phase_in(self._config.phase_list, self._epoch + 1)
        if phase is None or phase == self._phase:
            return
        self._phase, settings = phase, self._config.in_phase(phase)
        self._objective = self._data.objective(settings)
        self._training.follow(settings, self._objective, phase.trains)

    def _take_steps(
        self, progress: EpochProgress, clock: PhaseClock, should_pause: Callable[[], bool] | None
    ) -> bool:
        """Take the remaining steps of the epoch, or those before a pause.

        Returns: False if a loss or a gradient norm was not finite.
        """
        if self._pretraining is not None and not self._pretraining.is_finite:
            return False
        self._training.begin()
        settings = self._config.in_phase(self._phase)
        steps = torch.split(progress.days, self._config.effective_batch)
        for step_days in steps[len(progress.norms) :]:
            taken = self._training.take(
                step_days,
                learning_rate=learning_rate(self._step, self._total_steps, settings),
                number=self._step + 1,
                clock=clock,
            )
            if taken is None:
                break
            self._step += 1
            progress.sums.append(taken.sums)
            progress.norms.append(taken.norm)
            is_last = len(progress.norms) == len(steps)
            if should_pause is not None and not is_last and should_pause():
                break
        return self._training.is_finite()

    def _graphs_active(self) -> AbstractContextManager[None]:
        """Let the block run work that is captured, if any is."""
        return nullcontext() if self._replayer is None else self._replayer.active()

    def copy_weights(self, into: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Copy the weights that are validated and kept to the CPU, over an earlier copy if any."""
        return self._training.copy_weights(into)

    def _validate(self) -> Metrics | PanelMetrics | None:
        self.validation_logit = self.predict(self._data.validation_days)
        return self._data.evaluate(self.validation_logit)

    def _epoch_report(
        self,
        progress: EpochProgress,
        trained: TrainMeans | None,
        metrics: Metrics | PanelMetrics | None,
        validation_seconds: float,
    ) -> EpochReport:
        """Return the report of the epoch that has just ended."""
        best, config = self._best, self._config
        pretraining = self._pretraining if self._epoch == 1 else None
        best_is_collapsed = None if best is None else is_collapsed(best.metrics)
        has_auxiliary = self._model_config.auxiliary_head
        terms = self._objective.terms
        return EpochReport(
            epoch=self._epoch,
            step=self._step,
            schedule_percent=100 * self._epoch // config.epochs,
            stop_reason="diverged"
            if metrics is None
            else self._stopping.reason(self._epoch, best_is_collapsed=best_is_collapsed is True),
            train_loss=trained.parts[0] if trained else None,
            train_auxiliary_loss=trained.parts[1] if trained and has_auxiliary else None,
            train_terms=dict(zip(terms, trained.parts, strict=True)) if trained and terms else None,
            gradient_norm=trained.gradient_norm if trained else None,
            validation=None if metrics is None else metrics.validation(),
            best=None if best is None else best.metrics.best(best.epoch),
            best_is_collapsed=best_is_collapsed,
            learning_rate=self.optimizer_record.learning_rate,
            data_seconds=progress.data_seconds,
            step_seconds=max(0.0, progress.train_seconds - progress.data_seconds),
            validation_seconds=validation_seconds,
            samples_per_second=len(progress.days) / progress.train_seconds,
            peak_memory_bytes=peak_memory_bytes(self._device),
            micro_batch=self.micro_batch,
            accumulation_steps=math.ceil(
                min(config.effective_batch, len(progress.days)) / self.micro_batch
            ),
            out_of_memory_count=self._training.out_of_memory_count,
            phase=None if self._phase is None else self._phase.name,
            pretrain_losses=None if pretraining is None else list(pretraining.losses),
            pretrain_seconds=None if pretraining is None else pretraining.seconds,
        )
