"""Stochastic rounding of float32 to bfloat16, and the random bits that it takes.

Both take buffers: new memory costs a page fault for every 4 KiB, several times the arithmetic.
"""

import torch
from torch import Tensor

N_BUFFERS = 2
"""Rows of the scratch of ``round_stochastically``."""

_LARGEST = torch.finfo(torch.bfloat16).max
_HALF = 1 << 15


def draw_sixteen_bits(n_draws: int, generator: torch.Generator, scratch: Tensor) -> Tensor:
    """Draw integers (n_draws,), uniform in [-32768, 32768), on the device of ``generator``.

    They are of 16 bits on the CPU and of 32 elsewhere, which no accelerator has run yet.

    Args:
        n_draws: how many.
        generator: their source.
        scratch: float32 of at least ``n_draws`` and 2 numbers, 8 bytes aligned, in which they may
            lie.
    """
    device = generator.device
    if device.type != "cpu":
        return torch.randint(
            -_HALF, _HALF, (n_draws,), dtype=torch.int32, device=device, generator=generator
        )
    # One draw of 64 bits for four numbers, as in study/model/dropout.py.
    words = scratch.view(torch.int64)[: -(-n_draws // 4)]
    words.random_(-(2**63), None, generator=generator)
    return words.view(torch.int16)[:n_draws]


@torch.no_grad()
def round_stochastically(
    values: Tensor,
    generator: torch.Generator,
    *,
    out: Tensor | None = None,
    scratch: Tensor | None = None,
) -> Tensor:
    """Round to one of the two bfloat16 neighbours, to each with the probability of its nearness.

    The mean of many roundings is the value itself, so that changes below half a unit in the last
    place add up instead of vanishing. A bfloat16 is the upper half of a float32: sixteen random
    bits are added to the lower half, whose carry rounds up, and the lower half is cut off.

    Args:
        values: float32 (n,). A number that bfloat16 holds never changes. If one of them is NaN,
            infinite or beyond the largest bfloat16, 3.39e38, all are rounded to the nearest; as
            many bits are drawn.
        generator: source of the random bits, on the device of ``values``.
        out: bfloat16 (n,) that takes the result.
        scratch: float32 of at least 2 rows of at least n numbers, an even number.

    Returns: bfloat16 (n,).
    """
    n_values = values.numel()
    if out is None:
        out = torch.empty(n_values, dtype=torch.bfloat16, device=values.device)
    if scratch is None:
        scratch = torch.empty(N_BUFFERS, n_values + 2 + n_values % 2, device=values.device)
    draws = draw_sixteen_bits(n_values, generator, scratch[0])
    bits = scratch[1][:n_values].view(torch.int32)
    bits.copy_(draws)
    bits.add_(values.view(torch.int32)).add_(_HALF).bitwise_right_shift_(16)
    # One flag a chunk: a mask would cost as much as all of the above. False for NaN as well, some
    # of whose patterns a carry would make a number.
    if bool(torch.abs(values, out=scratch[0][:n_values]).amax() <= _LARGEST):
        out.view(torch.int16).copy_(bits)
    else:
        out.copy_(values)
    return out
