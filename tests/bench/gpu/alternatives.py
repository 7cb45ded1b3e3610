"""Other compositions of the same mathematics, timed beside those of the step, inside of graphs.

They are here and not in the step, because which of them is faster is only known where it was timed.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import get_total_norm

from study.model.families import family_of
from study.training.device import release_cached_memory, supports_bf16
from study.training.step.graphs import Graphs, graphs_of
from study.training.step.optimizer import BETAS, EPS
from tests.bench.gpu.sizes import BASE, Sizes, StepSize
from tests.bench.gpu.timing import Row, Rows, replayed_seconds

# Shapes: B batch, H head, N token, E width of a head, D d_model, R all tokens of a batch.

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@cache
def _graphs(device: torch.device) -> Graphs | None:
    return graphs_of(device, is_wanted=True)


def rows(sizes: Sizes, device: torch.device) -> Rows:
    for size in sizes.profiled:
        yield _attention_row(size, sizes.batch, device)
    for size in sizes.profiled:
        yield _change_row(size, device)
        release_cached_memory(device)
    yield from _compiled_rows(sizes, device)


def library(query_BHNE: Tensor, key_BHNE: Tensor, value_BHNE: Tensor) -> Tensor:
    """Attend as the step does on an accelerator."""
    return F.scaled_dot_product_attention(query_BHNE, key_BHNE, value_BHNE)


def products(query_BHNE: Tensor, key_BHNE: Tensor, value_BHNE: Tensor) -> Tensor:
    """Attend by two batched products with a softmax between them."""
    scaled_BHNE = query_BHNE * query_BHNE.shape[-1] ** -0.5
    weight_BHNN = torch.softmax(scaled_BHNE @ key_BHNE.transpose(-2, -1), dim=-1)
    return weight_BHNN @ value_BHNE


def attention(attend: Attend, qkv_BNX: Tensor, n_heads: int) -> Tensor:
    """Mix the values of all tokens, (B, N, D), as in ``EncoderLayer``; X is three times D."""
    n_windows, n_tokens, _ = qkv_BNX.shape
    split = (
        each.view(n_windows, n_tokens, n_heads, -1).transpose(1, 2)
        for each in qkv_BNX.chunk(3, dim=-1)
    )
    return attend(*split).transpose(1, 2).flatten(2)


def _attention_row(size: StepSize, batch: int, device: torch.device) -> Row:
    n_tokens = family_of(BASE).n_tokens(BASE)
    shape = (batch, n_tokens, 3 * size.width)
    qkv_BNX = torch.randn(shape, device=device, dtype=_dtype(device), requires_grad=True)
    grad_BND = torch.randn_like(qkv_BNX[..., : size.width])

    def work(attend: Attend) -> None:
        torch.autograd.grad(attention(attend, qkv_BNX, size.heads), qkv_BNX, grad_BND)

    ours, other = (
        replayed_seconds(partial(work, each), device, _graphs(device))
        for each in (library, products)
    )
    what = f"attention over {n_tokens} tokens, d{size.width} h{size.heads}, with its gradient"
    return _compared(what, "batched products", other, "library", ours)


@dataclass(frozen=True, slots=True)
class Buffers:
    """All that an optimizer step changes: one tensor per parameter, or few flat ones."""

    weights: list[Tensor]
    gradients: list[Tensor]
    first_moments: list[Tensor]
    second_moments: list[Tensor]
    average: list[Tensor]

    @classmethod
    def of(cls, shapes: Sequence[torch.Size], device: torch.device) -> "Buffers":
        def draw() -> list[Tensor]:
            return [torch.rand(shape, device=device) for shape in shapes]

        return cls(draw(), draw(), draw(), draw(), draw())

    def flat(self) -> "Buffers":
        """Return the same numbers in one tensor of each kind."""

        def joined(tensors: list[Tensor]) -> list[Tensor]:
            return [torch.cat([each.flatten() for each in tensors])]

        return Buffers(
            joined(self.weights), joined(self.gradients), joined(self.first_moments),
            joined(self.second_moments), joined(self.average),
        )  # fmt: skip

    def change(self, n_steps: Tensor, rate: Tensor, share: Tensor) -> None:
        """Clip, take a step of AdamW, move the average and set the gradients to zero."""
        norm = get_total_norm(self.gradients)
        torch._foreach_mul_(self.gradients, (1 / (norm + 1e-6)).clamp(max=1.0))
        n_steps += 1
        torch._fused_adamw_(
            self.weights, self.gradients, self.first_moments, self.second_moments, [],
            [n_steps] * len(self.weights), amsgrad=False, lr=rate, beta1=BETAS[0], beta2=BETAS[1],
            weight_decay=0.01, eps=EPS, maximize=False, grad_scale=None, found_inf=None,
        )  # fmt: skip
        torch._foreach_lerp_(self.average, self.weights, [share] * len(self.weights))
        torch._foreach_zero_(self.gradients)


def numbers(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the steps so far, the rate and the share of the new weights, on the device."""
    # The CPU's kernel reads the rate in float64, the CUDA kernel in float32.
    rate_type = torch.float64 if device.type == "cpu" else torch.float32
    return (
        torch.zeros((), device=device),
        torch.full((), 1e-4, dtype=rate_type, device=device),
        torch.full((), 0.01, device=device),
    )


def _change_row(size: StepSize, device: torch.device) -> Row:
    network = family_of(size.model).build(size.model, bf16=False, device="meta")
    usual = Buffers.of([parameter.shape for parameter in network.parameters()], device)
    with torch.no_grad():
        ours, other = (
            replayed_seconds(partial(each.change, *numbers(device)), device, _graphs(device))
            for each in (usual, usual.flat())
        )
    what = f"clip, AdamW and average, {size.name}"
    return _compared(what, "one flat buffer", other, f"{len(usual.weights)} tensors", ours)


def chains(
    stream_RD: Tensor, update_RD: Tensor, inner_RM: Tensor, gain_D: Tensor, shift_D: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what is between the products of a layer: dropout, residual and norm; GELU, dropout.

    Returns: the stream, its norm, and the hidden layer.
    """
    middle_RD = stream_RD + F.dropout(update_RD, 0.2)
    normed_RD = F.layer_norm(middle_RD, gain_D.shape, gain_D, shift_D).to(update_RD.dtype)
    return middle_RD, normed_RD, F.dropout(F.gelu(inner_RM), 0.2)


def _compiled_rows(sizes: Sizes, device: torch.device) -> Rows:
    """Compile the chains for each width, in an empty cache and then again from it."""
    # Nothing is mocked: the user's own setting is back at the end, however that comes.
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=folder),
    ):
        for width in sizes.compiled_widths:
            work = partial(_train_chains, inputs=_chain_inputs(width, sizes.batch, device))
            seconds = []
            for _ in range(2):
                torch._dynamo.reset()
                compiled = torch.compile(chains, backend=sizes.backend)
                began = time.perf_counter()
                work(compiled)
                seconds.append(time.perf_counter() - began)
            yield Row(
                f"compile of the elementwise chains, d{width}", f"{seconds[0]:.1f} s",
                f"{seconds[1]:.1f} s from its cache",
            )  # fmt: skip
            ours, other = (
                replayed_seconds(partial(work, each), device, _graphs(device))
                for each in (chains, compiled)
            )
            what = f"elementwise chains of a layer, d{width}, with their gradients"
            yield _compared(what, "compiled", other, "library", ours)


def _chain_inputs(width: int, batch: int, device: torch.device) -> tuple[Tensor, ...]:
    n_rows, dtype = batch * family_of(BASE).n_tokens(BASE), _dtype(device)
    gain_D, shift_D = torch.ones(width, device=device), torch.zeros(width, device=device)
    inputs = (
        torch.randn(n_rows, width, device=device),
        torch.randn(n_rows, width, device=device, dtype=dtype),
        torch.randn(n_rows, BASE.d_ff_ratio * width, device=device, dtype=dtype),
        gain_D,
        shift_D,
    )
    return tuple(each.requires_grad_() for each in inputs)


def _train_chains(form: Callable[..., tuple[Tensor, ...]], inputs: tuple[Tensor, ...]) -> None:
    outputs = form(*inputs)
    torch.autograd.grad(outputs, inputs, [torch.ones_like(each) for each in outputs])


def _dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if supports_bf16(device) else torch.float32


def _compared(what: str, name: str, seconds: float, usual_name: str, usual: float) -> Row:
    return Row(
        what, f"{seconds * 1e6:.1f} us, {name}",
        f"{usual * 1e6:.1f} us, {usual_name}, so {usual / seconds:.2f}x",
    )  # fmt: skip
