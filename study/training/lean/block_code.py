"""Numbers of 8 bits in blocks of 256, each block with a scale of its own."""

from typing import Any

import torch
from torch import Tensor

from study.errors import require
from study.training.lean.rounding import draw_sixteen_bits

BLOCK = 256
"""Numbers that share a scale, as in bitsandbytes since 0.44."""

_SIGNED_TOP = 127
_UNSIGNED_TOP = 256
_SMALLEST_SCALE = torch.finfo(torch.float32).tiny


class CodedBlocks:
    """A vector of numbers coded in 8 bits each; a byte of zero in a block of scale zero is zero.

    The levels are squares, finer towards zero: ``(k / 127)^2`` of the block's largest with either
    sign, or, where no number is negative, ``((k + 1) / 256)^2``, among which is no zero: what
    stands in a divisor must never be rounded to zero, as linear codes do with numbers far below
    their block's largest.

    Args:
        codes: uint8 (n,), n a multiple of 256.
        scales: float32 (n / 256,): the largest magnitude of each block.
        is_signed: may numbers be negative?
    """

    def __init__(self, codes: Tensor, scales: Tensor, *, is_signed: bool) -> None:
        require(
            codes.numel() == BLOCK * scales.numel(),
            "CodedBlocks",
            f"there must be {BLOCK} codes for every scale",
            got=f"{codes.numel()} codes and {scales.numel()} scales",
            remedy="Pad the numbers with zeros.",
        )
        self.codes = codes
        self.scales = scales
        self.is_signed = is_signed

    @classmethod
    def zeros(
        cls, n_numbers: int, *, is_signed: bool, device: torch.device | str = "cpu"
    ) -> "CodedBlocks":
        """Return ``n_numbers`` zeros, a multiple of 256."""
        return cls(
            torch.zeros(n_numbers, dtype=torch.uint8, device=device),
            torch.zeros(n_numbers // BLOCK, device=device),
            is_signed=is_signed,
        )

    def decode(self, start: int, stop: int) -> Tensor:
        """Return numbers ``start`` to ``stop``, multiples of 256, as float32 (stop - start,)."""
        codes = self.codes[start:stop]
        if self.is_signed:
            root = codes.view(torch.int8).to(torch.float32)
            level = (root * root.abs()).div_(_SIGNED_TOP**2)
        else:
            root = codes.to(torch.float32).add_(1)
            level = root.square_().div_(_UNSIGNED_TOP**2)
        level.view(-1, BLOCK).mul_(self._scales(start, stop))
        return level

    def encode(self, start: int, values: Tensor, generator: torch.Generator | None = None) -> None:
        """Code ``values`` as the numbers from ``start`` on.

        Args:
            start: number of the first, a multiple of 256.
            values: float32 (m,), m a multiple of 256. A block that holds NaN or an infinity
                decodes to none but NaN and infinities.
            generator: rounds each number to one of the two levels around it so that the mean of
                many roundings is the number; None rounds to the nearest in the scale of roots.
        """
        magnitude = values.abs()
        blocks = magnitude.view(-1, BLOCK)
        scales = self._scales(start, start + values.numel())
        scales.copy_(blocks.amax(dim=1, keepdim=True))
        top = _SIGNED_TOP if self.is_signed else _UNSIGNED_TOP
        blocks.mul_(top**2 / scales.clamp(min=_SMALLEST_SCALE))
        root = magnitude.sqrt_()
        if generator is None:
            code = root.round_()
        else:
            below = root.floor()
            part = root - below
            # The share of the way between two squares, from that between their roots.
            part.mul_(root.add_(below)).div_(below * 2 + 1)
            draws = draw_sixteen_bits(values.numel(), generator)
            code = below.add_(part.mul_(65536) > draws)
        if self.is_signed:
            codes = self.codes[start : start + values.numel()].view(torch.int8)
            codes.copy_(code.copysign_(values))
        else:
            self.codes[start : start + values.numel()].copy_(code.sub_(1).clamp_(min=0))

    def _scales(self, start: int, stop: int) -> Tensor:
        return self.scales[start // BLOCK : stop // BLOCK].unsqueeze(1)

    def state_dict(self) -> dict[str, Any]:
        """Return the codes and scales, which are not copied."""
        return {"codes": self.codes, "scales": self.scales}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy what ``state_dict`` returned into this one."""
        self.codes.copy_(state["codes"])
        self.scales.copy_(state["scales"])
