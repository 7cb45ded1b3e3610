"""Pretraining of a trial's encoder on the windows of its training days, before its first epoch."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor

from study.data.arrays import IndexArray
from study.errors import require
from study.model.model_config import ModelConfig
from study.model.network import Network
from study.training.device import DeviceRandomness, PhaseClock
from study.training.phases.masked_encoder import MaskedEncoder
from study.training.phases.phase import Module
from study.training.phases.trained_modules import set_trained
from study.training.seeds import derived_generator
from study.training.step.epoch_progress import EpochProgress
from study.training.step.graphs import Replayer
from study.training.step.optimizer import learning_rate
from study.training.step.samples import Losses, SampleWindows
from study.training.step.training_step import TrainingStep
from study.training.train_config import TrainConfig


class FillInLoss:
    """The error of hidden patches, as a sum over samples."""

    n_parts = 1
    terms = ()

    def __call__(self, answer: Tensor, batch: object) -> Losses:
        """Return the sum of the errors that a ``MaskedEncoder`` has returned."""
        del batch
        total = answer.sum()
        return Losses(total, (total,))


class Pretraining:
    """Trains the encoder to fill in hidden patches; it may pause after any step and be resumed.

    Its steps are those of the training: effective batch, optimizer, clipping, peak rate and course
    of the rate, the last over its own epochs. Its optimizer and its head are thrown away at its
    end. Nothing is validated: it reads the windows of the training days alone.

    Args:
        network: the network, with its first weights.
        windows: the samples, on the network's device.
        days: days of the training samples.
        config: the settings; ``pretrain_epochs`` is above 0.
        device: the device.
        random: the stream of the device's own generator.
        micro_batch: most samples in one forward and backward pass.
        replayer: what captures the steps; None runs them eagerly.
        seed: the trial's.
    """

    def __init__(
        self,
        network: Network,
        windows: SampleWindows,
        days: IndexArray,
        config: TrainConfig,
        *,
        device: torch.device,
        random: DeviceRandomness,
        micro_batch: int,
        replayer: Replayer | None,
        seed: int,
    ) -> None:
        self._network = network
        self._windows = windows
        self._days = days
        # The average begins with the first epoch, and so do the phases.
        self._config = replace(config, phases="", ema_decay=0.0)
        self._device = device
        self._random = random
        self._replayer = replayer
        self._seed = seed
        self._running: _Running | None = None
        self.micro_batch = micro_batch
        """Most samples in one forward and backward pass; halved whenever memory runs out."""
        self.out_of_memory_count = 0
        """Number of times that memory has run out."""
        self.losses: list[float] = []
        """Mean error of each finished epoch; about 1 where the mean is filled in."""
        self.seconds = 0.0
        """Seconds so far, without pauses."""
        self.is_finite = True
        """Has every loss and every gradient been finite?"""

    @property
    def is_over(self) -> bool:
        """Has it ended, or diverged?"""
        return not self.is_finite or len(self.losses) == self._config.pretrain_epochs

    def run(self, should_pause: Callable[[], bool] | None) -> None:
        """Run what is left of it, or up to a pause after a step; see ``Trainer.run_epoch``."""
        began = time.perf_counter()
        if self._running is None:
            self._running = self._new()
        running = self._running
        running.encoder.train()
        running.step.begin()
        while not self.is_over:
            self.is_finite = running.take_step(self.losses)
            if not self.is_over and should_pause is not None and should_pause():
                break
        self.is_finite = self.is_finite and running.step.is_finite()
        self.micro_batch = running.step.micro_batch
        self.out_of_memory_count = running.step.out_of_memory_count
        if self.is_over:
            self._running = None
        self.seconds += time.perf_counter() - began

    def _new(self) -> "_Running":
        set_trained(self._network, get_args(Module))
        encoder = MaskedEncoder(self._network, self._config.pretrain_mask_share, self._device)
        step = TrainingStep(
            encoder,
            self._windows,
            FillInLoss(),
            self._config,
            device=self._device,
            random=self._random,
            micro_batch=self.micro_batch,
            replayer=self._replayer,
        )
        step.out_of_memory_count = self.out_of_memory_count
        shuffle = derived_generator(self._seed, "pretraining")
        return _Running(encoder, step, self._windows, self._days, self._config, shuffle)

    def state_dict(self) -> dict[str, Any]:
        """Return what the network does not hold: tensors, not copied, and numbers."""
        return {
            "losses": list(self.losses),
            "seconds": self.seconds,
            "is_finite": self.is_finite,
            "micro_batch": self.micro_batch,
            "out_of_memory_count": self.out_of_memory_count,
            "running": None if self._running is None else self._running.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved state, after the network has; ``state`` is copied."""
        self.losses = list(state["losses"])
        self.seconds = state["seconds"]
        self.is_finite = state["is_finite"]
        self.micro_batch = min(self.micro_batch, state["micro_batch"])
        self.out_of_memory_count = state["out_of_memory_count"]
        self._running = None
        if state["running"] is not None:
            self._running = self._new()
            self._running.load_state_dict(state["running"], self._device)


class _Running:
    """A pretraining that has begun and not ended."""

    def __init__(
        self,
        encoder: MaskedEncoder,
        step: TrainingStep,
        windows: SampleWindows,
        days: IndexArray,
        config: TrainConfig,
        shuffle: torch.Generator,
    ) -> None:
        self.encoder = encoder
        self.step = step
        self._windows = windows
        self._days = days
        self._config = config
        self._total = config.steps_in_epoch(len(days)) * config.pretrain_epochs
        self._shuffle = shuffle
        self._progress: EpochProgress | None = None
        self._n_steps = 0

    def take_step(self, losses: list[float]) -> bool:
        """Take one step, which may begin or end an epoch, whose loss is then added to ``losses``.

        Returns: False if a loss or a gradient was found not to be finite.
        """
        if self._progress is None:
            days = self._windows.shuffled(self._days, self._shuffle)
            self._progress = EpochProgress(days[: self._config.samples_in_epoch(len(days))])
        progress = self._progress
        steps = torch.split(progress.days, self._config.effective_batch)
        taken = self.step.take(
            steps[len(progress.norms)],
            learning_rate=learning_rate(self._n_steps, self._total, self._config),
            number=self._n_steps + 1,
            clock=PhaseClock(progress.days.device),
        )
        if taken is None:
            return False
        self._n_steps += 1
        progress.sums.append(taken.sums)
        progress.norms.append(taken.norm)
        if len(progress.norms) == len(steps):
            self._progress = None
            if not self.step.is_finite():
                return False
            losses.append(progress.means().parts[0])
        return True

    def state_dict(self) -> dict[str, Any]:
        """Return tensors, not copied, and numbers."""
        return {
            "n_steps": self._n_steps,
            "head": dict(self.encoder.fill_in.state_dict()),
            "optimizer": self.step.optimizer.state_dict(),
            "shuffle": self._shuffle.get_state(),
            "partial": None if self._progress is None else self._progress.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Resume from a saved state; ``state`` is copied."""
        self._n_steps = state["n_steps"]
        self.encoder.fill_in.load_state_dict(state["head"])
        self.step.optimizer.load_state_dict(state["optimizer"])
        self._shuffle.set_state(state["shuffle"])
        partial = state["partial"]
        self._progress = partial and EpochProgress.from_state(partial, device)


def require_patches(model: ModelConfig, train: TrainConfig) -> None:
    """Refuse to pretrain an encoder whose tokens give each other's patches away.

    Raises: SpecError.
    """
    require(
        train.pretrain_epochs == 0
        or (model.family == "patchtst" and model.patch_stride >= model.patch_length),
        "train.pretrain_epochs",
        "pretraining needs the family patchtst with patches that do not overlap",
        got=f"family={model.family}, patch_length={model.patch_length}, "
        f"patch_stride={model.patch_stride}",
        remedy="Set patch_stride to patch_length, or pretrain_epochs to 0.",
    )
