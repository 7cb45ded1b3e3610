"""A rounding that loses small changes, in the place of ``round_stochastically``."""

import torch
from torch import Tensor


def to_nearest(
    values: Tensor,
    generator: torch.Generator,
    *,
    out: Tensor | None = None,
    scratch: Tensor | None = None,
) -> Tensor:
    """Round as a cast does: what half a unit in the last place does not reach, is lost."""
    rounded = values.to(torch.bfloat16)
    return rounded if out is None else out.copy_(rounded)
