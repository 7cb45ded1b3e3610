"""One optimizer step that changes each layer inside the backward pass, as soon as it can be."""

import math

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from study.model.network import Network
from study.training.device import (
    DeviceRandomness,
    PhaseClock,
    is_out_of_memory,
    release_cached_memory,
)
from study.training.kept_weights import WeightAverage
from study.training.lean.dropout_stream import DropoutStream
from study.training.lean.layer_store import LayerStore, StoredLayers
from study.training.lean.lean_adamw import update
from study.training.lean.scratch import drop_pages
from study.training.lean.stage import Stage
from study.training.step.moments import MomentOptimizer
from study.training.step.samples import Batch, Objective, SampleWindows
from study.training.step.training import StepTaken
from study.training.train_config import TrainConfig

_Position = tuple[Tensor, Tensor | None]


class LeanStep:
    """Takes optimizer steps in which no gradient outlives its layer.

    The layers are computed one after the other for all samples of the step, and of each only its
    input is kept, in bfloat16. On the way back a layer is computed again from it, with the same
    dropout masks; once its gradient is whole, its weights are changed and the gradient is dropped.
    What is no layer has its gradients and its optimizer as ever.

    A global norm would need all gradients at once. Instead each of the ``n`` parts that are changed
    together (a layer, or all that is none) is clipped to ``clip_norm / sqrt(n)``: equal parts are
    clipped as the global rule clips them, and the global norm never exceeds ``clip_norm``
    afterwards. The norm that is reported is the global one before clipping.

    If memory runs out the pass is repeated with half the micro-batch, from the same place in the
    streams of dropout. Layers that were changed before that stay as they are, and only hand the
    gradient on, so that every weight is changed once in a step. That step is inexact: the layers
    below them get the gradients of a network whose upper layers are those of the next step, and
    its loss is that network's; the norm has the parts of both passes. If memory ran out before a
    layer was changed, the repeated step is the whole one. A loss that is not finite changes
    nothing, and a norm that is not finite neither its layer nor those below.

    Args:
        model: the network, whose layers are ``layers``.
        layers: the layers, in training the newest.
        store: their parameters.
        stage: what computes them.
        windows: the samples, on the device.
        objective: the loss that is minimised.
        config: the settings.
        optimizer: that of all other parameters, those of ``store.others`` included.
        average: the average of the same parameters; None without one.
        rounding: source of the random bits, on the device.
        device: the device.
        random: the stream of the device's own generator.
        micro_batch: most samples in a layer at once.
    """

    def __init__(
        self,
        model: Network,
        layers: StoredLayers,
        store: LayerStore,
        stage: Stage,
        windows: SampleWindows,
        objective: Objective,
        config: TrainConfig,
        *,
        optimizer: MomentOptimizer,
        average: WeightAverage | None,
        rounding: torch.Generator,
        device: torch.device,
        random: DeviceRandomness,
        micro_batch: int,
    ) -> None:
        self._model = model
        self._layers = layers
        self._store = store
        self._stage = stage
        self._windows = windows
        self._objective = objective
        self._config = config
        self._optimizer = optimizer
        self._average = average
        self._rounding = rounding
        self._device = device
        self._dropout = DropoutStream(model.dropout_generator, random)
        self._clip_norm = config.clip_norm / math.sqrt(len(layers) + 1)
        self.micro_batch = min(micro_batch, config.effective_batch)
        self.out_of_memory_count = 0
        self.parameters = list(model.parameters())
        """Those that are no layer's."""
        self._inputs: Tensor | None = None
        """Inputs of all layers, bfloat16 (L, B, N, D); None before the first step."""
        self._other_gradients = torch.zeros_like(store.others.detach())
        self._values = torch.zeros(objective.n_parts + 2, device=device)
        """The sums of ``StepTaken``, then the norm."""
        self._is_finite = True
        self._n_unchanged = 0
        """Number of layers from the first that the step in progress has not changed yet."""
        self._is_changing = False
        """Are weights being changed? What is half changed cannot be repeated."""
        self._square = 0.0
        """Square of the norm of the gradients so far."""

    def begin(self) -> None:
        """Forget an earlier loss that was not finite."""
        self._is_finite = True

    def is_finite(self) -> bool:
        """Has every loss and every norm been finite since ``begin``?"""
        return self._is_finite

    def forget(self) -> None:
        """Free the gradients that an interrupted step has left."""
        self._optimizer.zero_grad()
        self._is_changing = False

    def take(
        self, days: Tensor, *, learning_rate: float, number: int, clock: PhaseClock
    ) -> StepTaken | None:
        """Take one step; see ``study.training.step.training_step.TrainingStep.take``."""
        self._optimizer.learning_rate = learning_rate
        self._n_unchanged, self._square = len(self._layers), 0.0
        begin = self._dropout.position()
        while True:
            try:
                self._is_finite = self._pass(days, number, clock) and self._change_others(number)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._is_changing or self.micro_batch == 1:
                    raise
            # Outside of the except clause the error and the activations that it held are freed.
            self.forget()
            release_cached_memory(self._device)
            self.micro_batch = (self.micro_batch + 1) // 2
            self.out_of_memory_count += 1
            self._dropout.rewind_to(begin)
        if not self._is_finite:
            return None
        values = self._values.clone()
        return StepTaken(values[:-1], values[-1])

    def _pass(self, days: Tensor, number: int, clock: PhaseClock) -> bool:
        """Change the layers, and set the gradients of what is none.

        Returns: False if a loss or a norm was not finite.
        """
        with clock.running():
            batches = [self._windows.gather(part) for part in torch.split(days, self.micro_batch)]
        embedded = [self._embed(batch) for batch in batches]
        outputs, positions = self._apply_layers([each.detach() for each in embedded])
        gradients = self._answer(batches, outputs, len(days))
        if not math.isfinite(float(self._values[-2])):
            return False
        after = self._dropout.position()
        for index in reversed(range(len(self._layers))):
            self._dropout.rewind_to(positions[index])
            gradients = self._propagate(index, gradients)
            if index < self._n_unchanged:
                if not self._change_layer(index, number):
                    return False
                self._n_unchanged = index
        self._dropout.rewind_to(after)
        for stream_BND, gradient_BND in zip(embedded, gradients, strict=True):
            torch.autograd.backward(stream_BND, gradient_BND)
        return True

    def _embed(self, batch: Batch) -> Tensor:
        """Return the stream before the first layer, (B, N, D), with the graph that leads to it."""
        x = batch.inputs[0]
        return self._model.embed(self._model.patches(x if x.ndim == 3 else x.flatten(0, 1)))

    @torch.no_grad()
    def _apply_layers(self, streams: list[Tensor]) -> tuple[list[Tensor], list[_Position]]:
        """Compute all layers and keep their inputs.

        Args:
            streams: residual stream of each micro-batch, float32 (B, N, D).

        Returns: the streams after the last layer, and where each layer began to draw its masks.
        """
        inputs = self._room_for(streams)
        positions = []
        for index in range(len(self._layers)):
            layer = self._layers.load(index)
            positions.append(self._dropout.position())
            for part, stream_BND in enumerate(streams):
                inputs[index][part].copy_(stream_BND)
                streams[part] = layer(stream_BND, **self._options(index))
        return streams, positions

    def _room_for(self, streams: list[Tensor]) -> list[tuple[Tensor, ...]]:
        """Return the room for the inputs of each layer, cut into micro-batches."""
        sizes = [len(stream) for stream in streams]
        shape = (len(self._layers), sum(sizes), *streams[0].shape[1:])
        if self._inputs is None or self._inputs.shape[1] < shape[1]:
            self._inputs = torch.empty(shape, dtype=torch.bfloat16, device=self._device)
        return [torch.split(inputs[: shape[1]], sizes) for inputs in self._inputs]

    def _options(self, index: int) -> dict[str, object]:
        """Return the arguments of a layer besides its input."""
        is_last = index == len(self._layers) - 1
        return {
            "generator": self._model.dropout_generator,
            "bf16": self._model.bf16,
            "last_only": is_last and self._model.config.head == "last",
        }

    def _answer(self, batches: list[Batch], outputs: list[Tensor], n_samples: int) -> list[Tensor]:
        """Add up the losses, and return the gradients of their mean by the last streams."""
        self._values.zero_()
        gradients = []
        for batch, output in zip(batches, outputs, strict=True):
            leaf = output.requires_grad_()
            losses = self._objective(self._model.answer(leaf, *batch.inputs), batch)
            torch.autograd.backward(losses.total / n_samples)
            assert leaf.grad is not None
            gradients.append(leaf.grad)
            for number, part in enumerate(losses.parts):
                if part is not None:
                    self._values[number].add_(part.detach())
            self._values[-2].add_(losses.total.detach())
        return gradients

    def _propagate(self, index: int, gradients: list[Tensor]) -> list[Tensor]:
        """Set the gradients of a layer's weights, and return those by its inputs."""
        assert self._inputs is not None
        layer = self._layers.load(index)
        self._stage.zero_gradients()
        passed = []
        first = 0
        for gradient in gradients:
            last = first + len(gradient)
            x_BND = self._inputs[index, first:last].float().requires_grad_()
            torch.autograd.backward(layer(x_BND, **self._options(index)), gradient)
            assert x_BND.grad is not None
            passed.append(x_BND.grad)
            first = last
        return passed

    def _change_layer(self, index: int, number: int) -> bool:
        """Change the matrices of a layer; return False if its gradient is not finite."""
        norm = float(self._stage.gradient_norm())
        if not math.isfinite(norm):
            return False
        factor = self._factor(norm)
        averages, optimizer = self._store.averages, self._optimizer
        self._is_changing = True
        update(
            self._store.weights[index],
            self._stage.weight_gradient,
            self._store.moments[index],
            rate=optimizer.learning_rate,
            n_steps=number,
            betas=optimizer.betas,
            eps=optimizer.eps,
            weight_decay=self._config.weight_decay,
            generator=self._rounding,
            scale=factor,
            average=None if averages is None else averages[index],
            share=0.0 if self._average is None else self._average.share_of_newest(number),
        )
        self._is_changing = False
        if averages is not None:
            drop_pages(averages[index].codes)
        torch.mul(self._stage.other_gradient, factor, out=self._other_gradients[index])
        self._square += norm**2
        return True

    def _change_others(self, number: int) -> bool:
        """Change all parameters but the layers' matrices; return False if a norm is not finite."""
        norm = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if not math.isfinite(float(norm)):
            return False
        if self._factor(float(norm)) < 1:
            clip_grads_with_norm_(self.parameters, self._clip_norm, norm)
        self._values[-1] = math.sqrt(self._square + float(norm) ** 2)
        self._store.others.grad = self._other_gradients
        self._is_changing = True
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            share = self._average.share_of_newest(number)
            self._average.update([*self.parameters, self._store.others], share)
        self._is_changing = False
        return True

    def _factor(self, norm: float) -> float:
        """Return the factor that clips the gradient of one part, as torch's clipping has it."""
        return min(1.0, self._clip_norm / (norm + 1e-6))
