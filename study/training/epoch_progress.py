"""An epoch in progress: the order of its samples, and the sums over the steps taken so far."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor


class StepSums(NamedTuple):
    """Sums over the samples of one optimizer step, float32 scalars on the device."""

    log_loss: Tensor
    auxiliary: Tensor
    total: Tensor


class TrainMeans(NamedTuple):
    """Means of one epoch: losses over its samples, the gradient norm over its steps."""

    log_loss: float
    auxiliary: float
    """Zero from a model without an auxiliary output."""
    gradient_norm: float


@dataclass(slots=True)
class EpochProgress:
    """The state of an epoch that has begun, from which it can be resumed and reported.

    There is one norm for each optimizer step taken.
    """

    days: Tensor
    """The samples in the order of the whole epoch, int64 (n,) on the device."""
    sums: list[StepSums] = field(default_factory=list)
    """Sums of every step so far."""
    norms: list[Tensor] = field(default_factory=list)
    """Gradient norm of every step so far, before clipping, float32 scalars on the device."""
    data_seconds: float = 0.0
    """Seconds spent on gathering batches so far."""
    train_seconds: float = 0.0
    """Seconds spent on training so far, data seconds included; a pause does not count."""

    @classmethod
    def from_state(cls, state: dict[str, Any], device: torch.device) -> "EpochProgress":
        """Rebuild the progress from its ``state_dict``, copied to ``device``."""
        sums = state["sums"].to(device, copy=True)
        return cls(
            days=state["days"].to(device, copy=True),
            sums=[StepSums(*step_sums.unbind()) for step_sums in sums],
            norms=list(state["norms"].to(device, copy=True)),
            data_seconds=state["data_seconds"],
            train_seconds=state["train_seconds"],
        )

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and numbers; at least one step must have been taken."""
        return {
            "days": self.days,
            "sums": self._stacked_sums(),
            "norms": torch.stack(self.norms),
            "data_seconds": self.data_seconds,
            "train_seconds": self.train_seconds,
        }

    def means(self) -> TrainMeans:
        """Return the means of the whole epoch, added up in float64 on the host."""
        log_loss, auxiliary, _ = self._stacked_sums().cpu().double().sum(0)
        return TrainMeans(
            float(log_loss) / len(self.days),
            float(auxiliary) / len(self.days),
            float(torch.stack(self.norms).cpu().double().mean()),
        )

    def _stacked_sums(self) -> Tensor:
        """Return one row per step, float32 (n_steps, 3)."""
        return torch.stack([torch.stack(step_sums) for step_sums in self.sums])
