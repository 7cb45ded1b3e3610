"""Dropout whose masks come from whole random words of an explicit generator."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

_WORD = torch.int64
_LEVELS = 256
"""One random byte decides one element, so the rate is a multiple of 1/256."""


def quantised_keep(rate: float) -> float:
    """The keep probability really used for a dropout ``rate``: a multiple of 1/256, never 0."""
    return max(1, round((1 - rate) * _LEVELS)) / _LEVELS


def keep_mask(
    shape: torch.Size | tuple[int, ...], rate: float, generator: torch.Generator
) -> Tensor:
    """Bool CPU tensor of ``shape``, True with probability ``quantised_keep(rate)``.

    Draws 64-bit words and reads each as eight bytes: one call of the generator decides eight
    elements, where ``bernoulli_`` spends one per element.
    """
    n_elements = torch.Size(shape).numel()
    words = torch.empty((n_elements + 7) // 8, dtype=_WORD, device="cpu")
    # The two-argument form: random_() alone leaves the sign bit of an int64 at zero.
    words.random_(-(2**63), None, generator=generator)
    threshold = round(quantised_keep(rate) * _LEVELS)
    if threshold == _LEVELS:
        return torch.ones(shape, dtype=torch.bool, device="cpu")
    return (words.view(torch.uint8)[:n_elements] < threshold).view(shape)


class _MaskedScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale  # type: ignore[attr-defined]
        return torch.where(mask, x * scale, 0)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (mask,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.where(mask, grad * ctx.scale, 0), None, None  # type: ignore[attr-defined]


def dropout(x: Tensor, rate: float, *, training: bool, generator: torch.Generator) -> Tensor:
    """Zero elements of ``x`` with probability ``rate`` and scale the rest, so the mean stays.

    On the CPU the mask comes from ``generator`` and the rate is rounded to a multiple of 1/256;
    on an accelerator the native fused dropout is used.
    """
    if not training or rate == 0:
        return x
    if x.device.type != "cpu":
        return torch.nn.functional.dropout(x, rate, training=True)
    mask = keep_mask(x.shape, rate, generator)
    result: Tensor = _MaskedScale.apply(x, mask, 1 / quantised_keep(rate))
    return result
