"""An exponential moving average of the weights."""

from collections.abc import Sequence

import torch
from torch import Tensor


class WeightAverage:
    """Averaged weights, float32, on the device of the weights.

    The decay warms up as min(decay, (1 + t) / (10 + t)) over the steps t, so that the random
    first weights are forgotten at once instead of after 1 / (1 - decay) steps
    (tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage, ``num_updates``).
    """

    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self.decay = decay
        self.weights = [w.detach().clone() for w in weights]

    @torch.no_grad()
    def update(self, weights: Sequence[Tensor], step: int) -> None:
        """Take in the weights after optimizer step ``step``, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.weights, list(weights), 1 - decay)

    @torch.no_grad()
    def load(self, weights: Sequence[Tensor]) -> None:
        """Copy saved averages in."""
        for own, saved in zip(self.weights, weights, strict=True):
            own.copy_(saved)
