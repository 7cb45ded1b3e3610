"""Weights that are kept beside those that train: their moving average, and the best so far."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from study.training.metrics import Metrics
from study.training.panel.panel_metrics import PanelMetrics


class WeightAverage:
    """An exponential moving average of the weights, float32, on their device.

    The decay warms up as min(decay, (1 + t) / (10 + t)) over the steps t, so that the random
    first weights lose their influence at once instead of after 1 / (1 - decay) steps
    (tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage, ``num_updates``).
    """

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self.decay = decay
        self.weights = [w.detach().clone() for w in weights]

    def share_of_newest(self, step: int) -> float:
        """Return the share of the weights after optimizer step ``step``, counted from 1."""
        return 1 - min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, weights: Sequence[Tensor], share: float | Tensor) -> None:
        """Move the average towards ``weights`` by a ``share``.

        Args:
            weights: the newest weights.
            share: their share in the average: a number, or float32 () on the device, with which
                torch 2.13 updates one tensor after the other instead of all in few kernels.
        """
        if isinstance(share, Tensor):
            torch._foreach_lerp_(self.weights, list(weights), [share] * len(self.weights))
        else:
            torch._foreach_lerp_(self.weights, list(weights), share)

    @torch.no_grad()
    def load(self, weights: Sequence[Tensor]) -> None:
        """Copy saved averages into this one."""
        for own, saved in zip(self.weights, weights, strict=True):
            own.copy_(saved)


@dataclass(frozen=True, slots=True)
class BestWeights:
    """The weights of the epoch of least validation loss; the first of those whose loss is None."""

    epoch: int
    """Number of the epoch, from 1."""
    metrics: Metrics | PanelMetrics
    """Scores of the epoch."""
    weights: dict[str, Tensor]
    """Weights by name, on the CPU, so that they take no memory of an accelerator."""

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], keep: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    ) -> "BestWeights":
        """Rebuild the best weights from their ``state_dict``, whose tensors ``keep`` copies."""
        kind = PanelMetrics if "rank_ic" in state["metrics"] else Metrics
        return cls(state["epoch"], kind(**state["metrics"]), keep(state["weights"]))

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and the live weights."""
        return {"epoch": self.epoch, "metrics": asdict(self.metrics), "weights": self.weights}


def is_better(metrics: Metrics | PanelMetrics, best: BestWeights | None) -> bool:
    """Is an epoch better than the best so far? One without a loss is better than no epoch alone."""
    if best is None:
        return True
    loss, least = metrics.loss, best.metrics.loss
    return loss is not None and (least is None or loss < least)


def copied(weights: Mapping[str, Tensor], into: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """Copy weights to the CPU.

    Args:
        weights: weights by name, on any device.
        into: an earlier copy, which is overwritten: a second one of two billion weights would take
            8 GB. None makes one.
    """
    if into is None:
        into = {name: torch.empty_like(w, device="cpu") for name, w in weights.items()}
    for name, value in weights.items():
        into[name].copy_(value)
    return into
