"""Stochastic rounding of float32 to bfloat16, and the random bits that it takes."""

import torch
from torch import Tensor

LARGEST = torch.finfo(torch.bfloat16).max
"""Largest finite bfloat16."""


def draw_sixteen_bits(n_draws: int, generator: torch.Generator) -> Tensor:
    """Draw int32 of shape (n_draws,), uniform in [0, 65536), on the device of ``generator``."""
    device = generator.device
    if device.type != "cpu":
        return torch.randint(
            65536, (n_draws,), dtype=torch.int32, device=device, generator=generator
        )
    # Whole 64-bit words: one draw for four numbers (study/model/dropout.py says the same of bytes).
    words = torch.empty(-(-n_draws // 4), dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    return words.view(torch.int16)[:n_draws].to(torch.int32).bitwise_and_(0xFFFF)


def round_stochastically(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round to one of the two bfloat16 neighbours, to each with the probability of its nearness.

    The mean of many roundings is the value itself, so that changes below half a unit in the last
    place add up instead of vanishing. A bfloat16 is the upper half of a float32: sixteen random
    bits are added to the lower half, whose carry rounds up, and the lower half is cut off.

    Args:
        values: float32, contiguous, any shape. A number that bfloat16 holds never changes. NaN
            stays NaN and infinities stay; what lies beyond the largest bfloat16, 3.39e38, is
            rounded to the nearest.
        generator: source of the random bits, on the device of ``values``.

    Returns: bfloat16 of the shape of ``values``.
    """
    bits = draw_sixteen_bits(values.numel(), generator).view(values.shape)
    bits += values.view(torch.int32)
    rounded = (bits >> 16).to(torch.int16).view(torch.bfloat16)
    # False for NaN as well, some of whose bit patterns a carry would make a number.
    return torch.where(values.abs() <= LARGEST, rounded, values.to(torch.bfloat16))
