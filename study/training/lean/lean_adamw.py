"""AdamW of weights in bfloat16 whose moments are coded in 8 bits, chunk by chunk."""

import math
from typing import Any

import torch
from torch import Tensor

from study.training.lean.block_code import CodedBlocks
from study.training.lean.rounding import round_stochastically

CHUNK = 1 << 18
"""Weights changed at once. Random bits are drawn per chunk, so another size is another stream."""


class LeanMoments:
    """The two moments of AdamW, in 8 bits each.

    Of the second moment the root is coded: it is what divides a step, and spans half as many
    powers of ten.

    Args:
        n_weights: a multiple of 256.
        device: that of the weights.
    """

    def __init__(self, n_weights: int, device: torch.device | str = "cpu") -> None:
        self.first = CodedBlocks.zeros(n_weights, is_signed=True, device=device)
        self.root_of_second = CodedBlocks.zeros(n_weights, is_signed=False, device=device)

    def state_dict(self) -> dict[str, Any]:
        """Return the codes and scales, which are not copied."""
        return {
            "first": self.first.state_dict(),
            "root_of_second": self.root_of_second.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy what ``state_dict`` returned into these moments."""
        self.first.load_state_dict(state["first"])
        self.root_of_second.load_state_dict(state["root_of_second"])


@torch.no_grad()
def update(
    weight: Tensor,
    gradient: Tensor,
    moments: LeanMoments,
    *,
    rate: float,
    n_steps: int,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    generator: torch.Generator,
    scale: float = 1.0,
    average: CodedBlocks | None = None,
    share: float = 1.0,
) -> None:
    """Take one step of AdamW as ``torch.optim.AdamW`` does, within what the codes resolve.

    Args:
        weight: bfloat16 (n,), changed in place; n is a multiple of 256.
        gradient: float32 (n,), which is left as it is.
        moments: those of the weights, changed in place.
        rate: the learning rate of this step.
        n_steps: number of this step, from 1.
        betas: decays of the two moments.
        eps: number added to the root of the second moment.
        weight_decay: decoupled decay, times the rate.
        generator: source of the random bits, on the device of the weights.
        scale: factor of the gradient, such as that of clipping.
        average: how far the moving average of the weights lies from them, changed in place.
        share: share of the newest weights in that average.
    """
    beta1, beta2 = betas
    step_length = rate / (1 - beta1**n_steps)
    root_correction = math.sqrt(1 - beta2**n_steps)
    for start in range(0, weight.numel(), CHUNK):
        stop = min(start + CHUNK, weight.numel())
        g = gradient[start:stop] * scale
        first = moments.first.decode(start, stop).lerp_(g, 1 - beta1)
        root = moments.root_of_second.decode(start, stop)
        root.square_().mul_(beta2).addcmul_(g, g, value=1 - beta2).sqrt_()
        old = weight[start:stop].to(torch.float32)
        new = old * (1 - rate * weight_decay)
        new.addcdiv_(first, (root / root_correction).add_(eps), value=-step_length)
        weight[start:stop] = round_stochastically(new, generator)
        moments.first.encode(start, first, generator)
        moments.root_of_second.encode(start, root, generator)
        if average is not None:
            difference = average.decode(start, stop).add_(old).sub_(weight[start:stop])
            average.encode(start, difference.mul_(1 - share), generator)
