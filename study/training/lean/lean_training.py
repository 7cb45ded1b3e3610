"""Training in few bytes per weight: bfloat16 weights, 8-bit moments, one layer at a time."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from study.model.encoder import EncoderLayer
from study.model.families import family_of
from study.model.model_config import ModelConfig
from study.model.network import allocate, decay_groups
from study.results.epoch_report import OptimizerRecord
from study.training.device import DeviceRandomness, PhaseClock, map_large_allocations
from study.training.kept_weights import WeightAverage, copied
from study.training.lean.layer_store import LayerStore, StoredLayers
from study.training.lean.lean_step import LeanStep
from study.training.lean.scratch import drop_pages, scratch_vector
from study.training.lean.stage import Stage
from study.training.phases.phase import Module
from study.training.seeds import derived_generator, derived_seed
from study.training.step.forward import Forward
from study.training.step.graphs import Replayer
from study.training.step.optimizer import build_optimizer, read_optimizer
from study.training.step.samples import Objective, SampleWindows
from study.training.step.training import StepTaken
from study.training.train_config import TrainConfig


class LeanTraining:
    """Takes the optimizer steps of a network, and gives its answers; see ``Training``.

    A weight takes two bytes and its two moments one each; gradients and float32 weights exist for
    one layer at a time. On a CPU the average of the weights (one byte each) and the best ones (two)
    lie in files, whose pages are in memory only while a layer is at work.

    Args:
        config: the architecture of the network, which is built here, allocated once.
        windows: the samples, on the device.
        objective: the loss that is minimised.
        train: the settings.
        base_rate: share of positive labels in the training part.
        seed: seed of the first weights, of dropout and of rounding.
        bf16: are matrix products in bfloat16?
        device: the device.
        random: the stream of the device's own generator.
        micro_batch: most samples in a layer at once.
        replayer: what would capture steps; they are eager, because each layer's norm is read.
        scratch: folder for the files; None keeps all in memory.
    """

    eager_reason = "the lean memory mode changes weights inside the backward pass"

    def __init__(
        self,
        config: ModelConfig,
        windows: SampleWindows,
        objective: Objective,
        train: TrainConfig,
        *,
        base_rate: float,
        seed: int,
        bf16: bool,
        device: torch.device,
        random: DeviceRandomness,
        micro_batch: int,
        replayer: Replayer | None,
        scratch: Path | None = None,
    ) -> None:
        del replayer
        if device.type == "cpu":
            map_large_allocations()
        self._device = device
        self._scratch = scratch
        self._layers, self._store, self._stage = self._build(config, train, bf16, device, scratch)
        # First values are drawn on the CPU: a seed gives the same weights on every device.
        blank = family_of(config).build(config, bf16=bf16, device="meta")
        self._fill(blank.first_values(derived_generator(seed, "weights"), base_rate))
        self._names = [name for name, _ in blank.named_parameters()]
        self.model.dropout_generator.manual_seed(derived_seed(seed, "dropout"))
        self._rounding = torch.Generator(device).manual_seed(derived_seed(seed, "rounding"))

        decayed, undecayed = decay_groups(self.model)
        parameters = {"all": (decayed, [*undecayed, self._store.others])}
        self._optimizer = build_optimizer(parameters, train)
        averaged = [*self.model.parameters(), self._store.others]
        self._average = WeightAverage(averaged, train.ema_decay) if train.ema_decay > 0 else None
        if self._average is not None:
            self._layers.average_of_others = self._average.weights[-1]
        self._step = LeanStep(
            self.model,
            self._layers,
            self._store,
            self._stage,
            windows,
            objective,
            train,
            optimizer=self._optimizer,
            average=self._average,
            rounding=self._rounding,
            device=device,
            random=random,
            micro_batch=micro_batch,
        )
        self._forward = Forward(
            self.model, windows, device=device, most=train.effective_batch, replayer=None
        )
        self._most_answers = train.effective_batch
        # The room is taken at once: a disk without it is known before anything is trained.
        self._best = self._room_for_best()
        """Where the best weights are kept, by the names of the network's parameters."""

    def _build(
        self,
        config: ModelConfig,
        train: TrainConfig,
        bf16: bool,
        device: torch.device,
        scratch: Path | None,
    ) -> tuple[StoredLayers, LayerStore, Stage]:
        """Build the network around its layers, each tensor once."""
        self.model = family_of(config).build(config, bf16=bf16, device="meta")
        layer = self.model.layers[0]
        assert isinstance(layer, EncoderLayer)
        stage = Stage(layer, device)
        store = LayerStore(
            stage.layout,
            config.n_layers,
            device=device,
            is_averaged=train.ema_decay > 0,
            scratch=scratch,
        )
        self.model.layers = layers = StoredLayers(store, stage)
        allocate(self.model, device)
        return layers, store, stage

    @torch.no_grad()
    def _fill(self, values: Iterable[tuple[str, Tensor]]) -> None:
        """Set every parameter, one after the other."""
        own = dict(self.model.named_parameters())
        for name, value in values:
            if name in own:
                own[name].copy_(value)
            else:
                self._store.fill(*_place_of(name), value)

    @property
    def micro_batch(self) -> int:
        """Most samples in a layer at once; halved whenever memory runs out."""
        return self._step.micro_batch

    @micro_batch.setter
    def micro_batch(self, most: int) -> None:
        self._step.micro_batch = most

    @property
    def out_of_memory_count(self) -> int:
        """Number of times that memory has run out."""
        return self._step.out_of_memory_count

    @out_of_memory_count.setter
    def out_of_memory_count(self, count: int) -> None:
        self._step.out_of_memory_count = count

    @property
    def optimizer_record(self) -> OptimizerRecord:
        """The settings of the optimizer, with the weights of all layers counted.

        Its name is another one, because its moments and its clipping are.
        """
        record = read_optimizer(self._optimizer)
        n_weights = len(self._layers) * self._stage.layout.n_weights
        return replace(record, name="LeanAdamW", n_decayed=record.n_decayed + n_weights)

    def begin(self) -> None:
        """Forget an earlier loss that was not finite."""
        self._step.begin()

    def is_finite(self) -> bool:
        """Has every loss and every norm been finite since ``begin``?"""
        return self._step.is_finite()

    def take(
        self, days: Tensor, *, learning_rate: float, number: int, clock: PhaseClock
    ) -> StepTaken | None:
        """Take one step; see ``Training``."""
        return self._step.take(days, learning_rate=learning_rate, number=number, clock=clock)

    def follow(self, config: TrainConfig, objective: Objective, trains: Collection[Module]) -> None:
        """Refuse: ``study.training.requirements`` lets no schedule of this mode have phases."""
        raise RuntimeError("LeanTraining: a schedule in the lean memory mode has no phases")

    def take_over(self) -> None:
        """Free what an interrupted step has left."""
        self._step.forget()

    def logits(self, days: Tensor) -> Tensor:
        """Return the logits of ``days``; see ``Training``.

        As many samples as a step has go through a layer before the next one is loaded.
        """
        self._layers.most_windows = self.micro_batch * self.model.config.n_assets
        weights = self._evaluated()
        parts = torch.split(days, self._most_answers)
        return torch.cat([self._forward.logits(part, weights) for part in parts])

    def copy_weights(self, into: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Copy the weights that are evaluated to the CPU, layer by layer; see ``Training``.

        Matrices of layers are kept in bfloat16, in which they are evaluated too.
        """
        del into
        copied(self._evaluated(), self._best)
        self._layers.eval()
        for index in range(len(self._layers)):
            layer = self._layers.load(index)
            self._keep((_name_in_layer(index, name), p) for name, p in layer.named_parameters())
        return self._best

    def keep(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Copy saved best weights to where they are kept, one after the other."""
        self._keep(weights.items())
        return self._best

    @torch.no_grad()
    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Answer by these weights from now on."""
        self.take_over()
        self._fill(weights.items())
        self._average = self._layers.average_of_others = None

    def state_dict(self) -> dict[str, Any]:
        """Return the live state; see ``Training``."""
        return {
            "model": dict(self.model.state_dict()),
            "optimizer": self._optimizer.state_dict(),
            "average": None if self._average is None else self._average.weights,
            "layers": self._store.state_dict(),
            "rounding": self._rounding.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy a saved state.

        On another kind of device than the one it was saved on, roundings then differ.
        """
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.take_over()
        if self._average is not None:
            self._average.load(state["average"])
        self._store.load_state_dict(state["layers"])
        if state["device"] == self._device.type:
            self._rounding.set_state(state["rounding"])

    def _evaluated(self) -> dict[str, Tensor]:
        """Return the weights that are evaluated, but for the layers' own."""
        named = dict(self.model.named_parameters())
        if self._average is None:
            return {name: parameter.detach() for name, parameter in named.items()}
        return dict(zip(named, self._average.weights[:-1], strict=True))

    def _room_for_best(self) -> dict[str, Tensor]:
        layout, n_layers = self._stage.layout, len(self._layers)
        found = {name: torch.empty_like(p, device="cpu") for name, p in self._evaluated().items()}
        others = torch.zeros(n_layers, layout.n_others)
        for index in range(n_layers):
            weights = scratch_vector(layout.n_padded, torch.bfloat16, self._scratch)
            for name, view in layout.views(weights, others[index]).items():
                found[_name_in_layer(index, name)] = view
        return {name: found[name] for name in self._names}

    @torch.no_grad()
    def _keep(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy weights over the best ones so far, letting go of the pages of both."""
        for name, value in weights:
            self._best[name].copy_(value)
            drop_pages(value)
            drop_pages(self._best[name])


def _name_in_layer(index: int, name: str) -> str:
    """Return the name that a network gives to a parameter of one of its layers."""
    return f"layers.{index}.{name}"


def _place_of(name: str) -> tuple[int, str]:
    """Return the number of the layer and the name in it: the inverse of ``_name_in_layer``."""
    _, index, own = name.split(".", maxsplit=2)
    return int(index), own
