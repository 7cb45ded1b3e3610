"""A linear map whose operands may be cast, and whose casts may be kept from pass to pass."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


class Linear(nn.Linear):
    """The linear map of ``torch.nn``, with operands in another type than its parameters."""

    _kept: tuple[Tensor, ...] = ()
    """Casts of the weight and the bias; empty if every pass makes its own."""

    def product(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the map of ``x`` with operands in ``dtype``."""
        return F.linear(x.to(dtype), *self.operands(dtype))

    def operands(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return weight and bias in ``dtype``: the kept casts in training, if there are any."""
        if self._kept and self.training:
            weight, bias = map(_as_cast_of, (self.weight, self.bias), self._kept)
            return weight, bias
        return self.weight.to(dtype), self.bias.to(dtype)

    def keep(self, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Let training passes use casts that this returns, whose values the caller keeps up."""
        self._kept = tuple(p.detach().to(dtype, copy=True) for p in (self.weight, self.bias))
        return self._kept


class KeptCasts:
    """Casts of the weights of several layers, made once per optimizer step.

    Without them each micro-batch of a step casts all weights anew. The results are the same bit for
    bit, gradients included.

    Args:
        layers: the layers, with the weights that they will be trained with.
        dtype: type of the casts.
    """

    def __init__(self, layers: Iterable[Linear], dtype: torch.dtype) -> None:
        self._parameters: list[Tensor] = []
        self._casts: list[Tensor] = []
        for layer in layers:
            self._casts += layer.keep(dtype)
            self._parameters += [layer.weight, layer.bias]

    @torch.no_grad()
    def refresh(self) -> None:
        """Cast the weights as they are now; call it whenever they have changed."""
        if self._casts:
            torch._foreach_copy_(self._casts, self._parameters)


class _AsCastOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, parameter: Tensor, cast: Tensor) -> Tensor:
        ctx.dtype = parameter.dtype  # type: ignore[attr-defined]
        return cast.view_as(cast)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return grad.to(ctx.dtype), None  # type: ignore[attr-defined]


def _as_cast_of(parameter: Tensor, cast: Tensor) -> Tensor:
    """Return a kept cast as if the parameter had just been cast: gradients reach the parameter."""
    result: Tensor = _AsCastOf.apply(parameter, cast)  # type: ignore[no-untyped-call]
    return result
