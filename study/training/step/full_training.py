"""Training with the whole state of a network in float32, all layers at once."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from study.model.families import family_of
from study.model.model_config import ModelConfig
from study.results.epoch_report import OptimizerRecord
from study.training.device import DeviceRandomness
from study.training.kept_weights import copied
from study.training.seeds import derived_generator, derived_seed
from study.training.step.forward import Forward
from study.training.step.graphs import Replayer
from study.training.step.optimizer import read_optimizer
from study.training.step.samples import Objective, SampleWindows
from study.training.step.training_step import TrainingStep
from study.training.train_config import TrainConfig


class FullTraining(TrainingStep):
    """Takes the optimizer steps of a network, and gives its answers; see ``Training``.

    Args:
        config: the architecture of the network, which is built here.
        windows: the samples, on the device.
        objective: the loss that is minimised.
        train: the settings.
        base_rate: share of positive labels in the training part.
        seed: seed of the first weights and of dropout.
        bf16: are matrix products in bfloat16?
        device: the device.
        random: the stream of the device's own generator.
        micro_batch: most samples in one forward and backward pass.
        replayer: what captures steps and answers; None runs them eagerly.
    """

    eager_reason = None

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
    ) -> None:
        # First values are drawn on the CPU: a seed gives the same weights on every device.
        self.model = family_of(config).build(config, bf16=bf16, device=device)
        self.model.initialise(derived_generator(seed, "weights"), base_rate)
        self.model.dropout_generator.manual_seed(derived_seed(seed, "dropout"))
        super().__init__(
            self.model, windows, objective, train, device=device, random=random,
            micro_batch=micro_batch, replayer=replayer,
        )  # fmt: skip
        self._forward = Forward(
            self.model, windows, device=device, most=self.micro_batch, replayer=replayer
        )
        self._is_restored = False

    @property
    def optimizer_record(self) -> OptimizerRecord:
        """The values that the optimizer object holds."""
        return read_optimizer(self.optimizer)

    def logits(self, days: Tensor) -> Tensor:
        """Return the logits of ``days``; see ``Training``."""
        weights = self._evaluated()
        parts = torch.split(days, self.micro_batch)
        return torch.cat([self._forward.logits(part, weights) for part in parts])

    def copy_weights(self, into: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Copy the weights that are evaluated to the CPU; see ``Training``."""
        return copied(self._evaluated(), into)

    def keep(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a copy of saved best weights."""
        return copied(weights, None)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Answer by these weights from now on."""
        self.model.load_state_dict(dict(weights))
        # The averaged weights are no longer what the forward pass reads.
        self.forget()
        self._is_restored = True

    def state_dict(self) -> dict[str, Any]:
        """Return the live state; see ``Training``."""
        return {
            "model": dict(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy a saved state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        # A step that an error or a divergence interrupted has left its gradients behind.
        self.take_over()
        if self.average is not None:
            self.average.load(state["average"])
        self._is_restored = False

    def _evaluated(self) -> dict[str, Tensor]:
        """Return the weights that are evaluated by name, not copied, without gradients."""
        names = [name for name, _ in self.model.named_parameters()]
        if self.average is None or self._is_restored:
            return dict(zip(names, (p.detach() for p in self.parameters), strict=True))
        return dict(zip(names, self.average.weights, strict=True))
