"""An epoch in progress: the order of its samples, and the sums over the steps taken so far."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor


class TrainMeans(NamedTuple):
    """Means of one epoch: losses over its samples, the gradient norm over its steps."""

    parts: tuple[float, ...]
    """Mean of each part of the loss, in the order of ``study.training.step.samples.Losses``; zero
    for one that was not computed."""
    gradient_norm: float


@dataclass(slots=True)
class EpochProgress:
    """The state of an epoch that has begun, from which it can be resumed and reported.

    There is one norm for each optimizer step taken.
    """

    days: Tensor
    """The samples in the order of the whole epoch, int64 (n,) on the device."""
    sums: list[Tensor] = field(default_factory=list)
    """Sums over the samples of every step so far, float32 (n_parts + 1,) on the device: each part
    of the loss, then the loss that was minimised."""
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
            sums=list(sums),
            norms=list(state["norms"].to(device, copy=True)),
            data_seconds=state["data_seconds"],
            train_seconds=state["train_seconds"],
        )

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and numbers; at least one step must have been taken."""
        return {
            "days": self.days,
            "sums": torch.stack(self.sums),
            "norms": torch.stack(self.norms),
            "data_seconds": self.data_seconds,
            "train_seconds": self.train_seconds,
        }

    def means(self) -> TrainMeans:
        """Return the means of the whole epoch, added up in float64 on the host."""
        *parts, _ = torch.stack(self.sums).cpu().double().sum(0)
        return TrainMeans(
            tuple(float(part) / len(self.days) for part in parts),
            float(torch.stack(self.norms).cpu().double().mean()),
        )
