"""AdamW of weights in bfloat16 whose moments are coded in 8 bits, chunk by chunk."""

import math
from typing import Any

import torch
from torch import Tensor

from study.model.lean_memory import ACCELERATOR_CHUNK, CHUNK, N_UPDATE_BUFFERS
from study.training.lean.block_code import N_BUFFERS, CodedBlocks
from study.training.lean.rounding import round_stochastically

_N_OWN = N_UPDATE_BUFFERS - N_BUFFERS


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
    chunk = CHUNK if weight.device.type == "cpu" else ACCELERATOR_CHUNK
    chunk = min(chunk, weight.numel())
    buffers = torch.empty(N_UPDATE_BUFFERS, chunk, device=weight.device)
    scratch = buffers[_N_OWN:]
    for start in range(0, weight.numel(), chunk):
        stop = min(start + chunk, weight.numel())
        g, first, root, new, difference = buffers[:_N_OWN, : stop - start]
        rounded = weight[start:stop]
        torch.mul(gradient[start:stop], scale, out=g)
        moments.first.decode(start, stop, out=first, scratch=scratch).lerp_(g, 1 - beta1)
        moments.root_of_second.decode(start, stop, out=root)
        root.square_().mul_(beta2).addcmul_(g, g, value=1 - beta2).sqrt_()
        new.copy_(rounded)
        if average is not None:
            average.decode(start, stop, out=difference, scratch=scratch).add_(new)
        divisor = torch.div(root, root_correction, out=g).add_(eps)
        new.mul_(1 - rate * weight_decay).addcdiv_(first, divisor, value=-step_length)
        round_stochastically(new, generator, out=rounded, scratch=scratch)
        moments.first.encode(start, first, generator, scratch=scratch)
        moments.root_of_second.encode(start, root, generator, scratch=scratch)
        if average is not None:
            difference.sub_(new.copy_(rounded)).mul_(1 - share)
            average.encode(start, difference, generator, scratch=scratch)
