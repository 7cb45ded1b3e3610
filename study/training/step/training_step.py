"""One optimizer step, over tensors that stay where they are."""

from collections.abc import Callable, Collection
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from study.errors import require
from study.model.linear import KeptCasts
from study.model.network import Network
from study.training.device import (
    DeviceRandomness,
    PhaseClock,
    is_out_of_memory,
    release_cached_memory,
)
from study.training.kept_weights import WeightAverage
from study.training.phases.masked_encoder import MaskedEncoder
from study.training.phases.phase import Module
from study.training.phases.trained_modules import parameters_by_clock, set_trained
from study.training.step.graphs import Replayer
from study.training.step.optimizer import build_optimizer
from study.training.step.samples import Batch, Objective, SampleWindows
from study.training.step.training import StepTaken
from study.training.train_config import TrainConfig


class TrainingStep:
    """Takes optimizer steps; with a replayer the device replays them without its host.

    A step is two kinds of work: the gradients of a micro-batch, once per micro-batch, and the
    change of the weights. What differs from step to step (samples, their number, learning rate,
    decay of the average) then lies in tensors on the device, and the gradients are set to zero
    instead of freed. Without a replayer the same code runs on numbers of the host.

    A loss or a norm that is not finite sets a flag on the device. With a replayer and on CUDA only
    the device reads it: the optimizer then skips that step and all that follow. Elsewhere the host
    reads it before the optimizer is called.

    Args:
        model: the network, with its first weights.
        windows: the samples, on the model's device.
        objective: the loss that is minimised.
        config: the settings.
        device: the device.
        random: the stream of the device's own generator.
        micro_batch: most samples in one forward and backward pass.
        replayer: what captures the work; None runs it eagerly.
    """

    def __init__(
        self,
        model: Network | MaskedEncoder,
        windows: SampleWindows,
        objective: Objective,
        config: TrainConfig,
        *,
        device: torch.device,
        random: DeviceRandomness,
        micro_batch: int,
        replayer: Replayer | None,
    ) -> None:
        self._model = model
        self._objective = objective
        self._windows = windows
        self._config = config
        self._device = device
        self._random = random
        self._replayer = replayer
        self._host_checks = device.type != "cuda" and replayer is None
        self.micro_batch = min(micro_batch, config.effective_batch)
        """Most samples in one forward and backward pass; halved whenever memory runs out."""
        self.out_of_memory_count = 0
        """Number of times that memory has run out."""
        self.parameters = list(model.parameters())
        parameters = parameters_by_clock(model, config.phase_list)
        self.optimizer = build_optimizer(parameters, config)
        self.average = (
            WeightAverage(self.parameters, config.ema_decay) if config.ema_decay > 0 else None
        )
        self._days = torch.zeros(self.micro_batch, dtype=torch.int64, device=device)
        self._n_samples = torch.zeros((), device=device)
        self._is_broken = torch.zeros((), device=device)
        self._values = torch.zeros(objective.n_parts + 2, device=device)
        """The sums of ``StepTaken``, then the norm."""
        self._casts = self._kept_casts()
        # The CPU's kernel reads the rate in float64, the CUDA kernel in float32.
        rate_type = torch.float64 if device.type == "cpu" else torch.float32
        self._rate = torch.zeros((), dtype=rate_type, device=device)
        self._share = torch.zeros((), device=device)

    def follow(self, config: TrainConfig, objective: Objective, trains: Collection[Module]) -> None:
        """Take the next steps by other settings, and let only some modules train.

        Graphs of steps hold the settings and gradients that they were captured with: they go.

        Args:
            config: settings with the same effective batch, optimizer and average.
            objective: the loss that they minimise.
            trains: modules of the network that train.
        """
        self._config, self._objective = config, objective
        self._values = torch.zeros(objective.n_parts + 2, device=self._device)
        set_trained(self._model, trains)
        self.forget()

    def take_over(self) -> None:
        """Train the weights on, after other steps have changed them."""
        self._casts = self._kept_casts()
        self.forget()

    def begin(self) -> None:
        """Lower the flag and cast the weights as they are, before the first of several steps."""
        self._is_broken.zero_()
        self._casts.refresh()

    def is_finite(self) -> bool:
        """Has every loss and every norm been finite since ``begin``? Waits for the device."""
        return not bool(self._is_broken)

    def take(
        self, days: Tensor, *, learning_rate: float, number: int, clock: PhaseClock
    ) -> StepTaken | None:
        """Take one step.

        Args:
            days: its samples, int64 on the device.
            learning_rate: its rate.
            number: its number in the trial, from 1.
            clock: the clock of gathering batches, or of handing their days to a graph.

        Returns: its values; None if the host has found one that is not finite.
        """
        self._n_samples.fill_(len(days))
        self._set_gradients(days, clock)
        if self._host_checks:
            norm = self._judge()
            if not self.is_finite():
                return None
            # Gradients that need no clipping are not touched.
            if float(norm) > self._config.clip_norm:
                clip_grads_with_norm_(self.parameters, self._config.clip_norm, norm)
        self.optimizer.learning_rate = learning_rate
        share = 0.0 if self.average is None else self.average.share_of_newest(number)
        if self._replayer is None:
            self._change(None, share)
        else:
            self._rate.fill_(learning_rate)
            self._share.fill_(share)
            self._replayer.run("change", partial(self._change, self._rate, self._share))
        values = self._values.clone()
        return StepTaken(values[:-1], values[-1])

    def forget(self) -> None:
        """Free the gradients that an interrupted step has left, and all graphs."""
        self.optimizer.zero_grad()
        if self._replayer is not None:
            self._replayer.forget()

    def reduce_micro_batch(self) -> None:
        """Halve the micro-batch, which changes nothing but the order of additions."""
        require(
            self.micro_batch > 1,
            "Trainer",
            "a micro-batch of one sample cannot be halved",
            got=f"micro_batch={self.micro_batch}",
            remedy="Give the trial a larger share of the device.",
        )
        self.micro_batch = (self.micro_batch + 1) // 2

    def _kept_casts(self) -> KeptCasts:
        maps = self._model.cast_maps(self._device) if self._model.bf16 else ()
        return KeptCasts(maps, torch.bfloat16)

    def _set_gradients(self, days: Tensor, clock: PhaseClock) -> None:
        """Set the gradients of the mean loss over ``days``, in smaller parts if memory runs out."""
        while True:
            dropout = self._model.dropout_generator.get_state()
            position = self._random.position()
            self._values.zero_()
            try:
                for part in torch.split(days, self.micro_batch):
                    self._add_gradients(part, clock)
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                has_room = self._replayer is not None and self._replayer.gives_way(error)
                if not has_room and self.micro_batch == 1:
                    raise
            # Outside of the except clause the error and the activations that it held are freed.
            self.forget()
            release_cached_memory(self._device)
            if not has_room:
                self.reduce_micro_batch()
                self.out_of_memory_count += 1
            self._model.dropout_generator.set_state(dropout)
            self._random.rewind_to(position)

    def _add_gradients(self, days: Tensor, clock: PhaseClock) -> None:
        if self._replayer is None:
            with clock.running():
                batch = self._windows.gather(days)
            self._propagate(batch)
            return
        own = self._days[: len(days)]
        with clock.running():
            own.copy_(days)
        work: Callable[[], None] = lambda: self._propagate(self._windows.gather(own))  # noqa: E731
        self._replayer.run(("gradients", len(days)), work)

    def _propagate(self, batch: Batch) -> None:
        """Add the losses of a batch to the sums, and the gradients of its share of the mean."""
        losses = self._objective(self._model(*batch.inputs), batch)
        torch.autograd.backward(losses.total / self._n_samples)
        for number, part in enumerate(losses.parts):
            if part is not None:
                self._values[number].add_(part.detach())
        self._values[-2].add_(losses.total.detach())

    def _judge(self) -> Tensor:
        """Return the gradient norm, kept beside the sums, and raise the flag if one is broken."""
        norm = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        self._values[-1].copy_(norm)
        self._is_broken.logical_or_(~torch.isfinite(self._values[-2] + norm))
        return norm

    def _change(self, rate: Tensor | None, share: Tensor | float) -> None:
        """Change the weights, their casts and their average; gradients are then zero or freed.

        Args:
            rate: learning rate on the device; None takes the optimizer's.
            share: share of the new weights in their average.
        """
        if self._host_checks:
            self.optimizer.step()
        else:
            clip_grads_with_norm_(self.parameters, self._config.clip_norm, self._judge())
            self.optimizer.step(self._is_broken, rate)
        self._casts.refresh()
        if self._replayer is None or self._replayer.failure is not None:
            self.optimizer.zero_grad()
        else:
            torch._foreach_zero_([p.grad for p in self.parameters if p.grad is not None])
        if self.average is not None:
            self.average.update(self.parameters, share)
