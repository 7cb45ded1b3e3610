"""Dropout on the CPU whose masks come from whole random words of an explicit generator.

``torch.nn.functional.dropout`` spends one Bernoulli draw per element, which on a CPU costs several
times the matrix product beside it. Here one 64-bit word decides eight elements: each of its bytes
is compared with a threshold, so the rate is a multiple of 1/256. Sixteen bits would double the cost
of the draw, the most expensive part, for a precision of the rate that no search needs.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_LEVELS = 256
"""Number of dropout rates between 0 and 1: the values of a random byte."""


def keep_probability(rate: float) -> float:
    """Return the keep probability of a dropout ``rate``: a multiple of 1/256, never 0."""
    return max(1, round((1 - rate) * _LEVELS)) / _LEVELS


def draw_mask(n_elements: int, rate: float, generator: torch.Generator) -> Tensor:
    """Draw uint8 on the CPU: 1 with probability ``keep_probability(rate)``, else 0."""
    threshold = round(keep_probability(rate) * _LEVELS)
    words = torch.empty(-(-n_elements // 8), dtype=torch.int64, device="cpu")
    # Without the lower bound random_() leaves the sign bit of an int64 at zero.
    words.random_(-(2**63), None, generator=generator)
    random_bytes = words.view(torch.uint8)[:n_elements]
    # 256 does not fit a byte, and keeps everything.
    return random_bytes.fill_(1) if threshold == _LEVELS else random_bytes.lt_(threshold)


def apply_mask_(x: Tensor, mask: Tensor) -> Tensor:
    """Zero ``x`` in place where ``mask``, uint8 of as many elements, is 0; no rescaling."""
    mask = mask.view(x.shape)
    if x.dtype == torch.bfloat16:
        # Bits times one or zero: exact, and four times as fast as a bfloat16 product.
        x.view(torch.int16).mul_(mask)
    else:
        x.mul_(mask)
    return x


class _MaskAndScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale  # type: ignore[attr-defined]
        return apply_mask_(x * scale, mask)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return apply_mask_(grad * ctx.scale, mask), None, None  # type: ignore[attr-defined]


def dropout(x: Tensor, rate: float, *, training: bool, generator: torch.Generator) -> Tensor:
    """Zero elements of ``x`` with probability ``rate`` and scale the rest, so the mean stays.

    On the CPU the mask comes from ``generator``, and the rate and its scale are those of the
    nearest multiple of 1/256; on an accelerator the native fused dropout draws from the device's
    generator.
    """
    if not training or rate == 0:
        return x
    if x.device.type != "cpu":
        return torch.nn.functional.dropout(x, rate, training=True)
    mask = draw_mask(x.numel(), rate, generator)
    scale = 1 / keep_probability(rate)
    result: Tensor = _MaskAndScale.apply(x, mask, scale)  # type: ignore[no-untyped-call]
    return result
