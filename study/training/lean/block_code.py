"""Numbers of 8 bits in blocks of 256, each block with a scale of its own.

The levels are squares, finer towards zero. They were chosen on 480 gradients of eight matrices of
the encoder (d_model 96, sp500), by the error of AdamW's step m / (sqrt(v) + eps) against moments
in float32, relative, root mean square, when one of the moments is coded after every step:

    first moment, nearest    linear .025, cubes .021, squares .018, bitsandbytes' dynamic map .029
    second moment, random    its root in squares .035, in equal steps .031, in cubes .043, as a
                             logarithm over 12 octaves .076; v itself in the dynamic map .043,
                             linear 2.4, with steps of up to 930 where v was coded to zero
    both                     as here (squares, random) .043, nearest .037; dynamic, nearest .054

Equal steps of the root are a little better there, where no root lay below 1/20 of its block's
largest; but they end at 1/256 of it, squares at 1/65536.

Rounding is stochastic although its error is a little larger: a second moment changes by at most a
thousandth in a step, less than half the way to the next level, and to the nearest it would stand
still (mean error of the root .9 % after 480 steps and growing, against .0 % here).
"""

from typing import Any

import torch
from torch import Tensor

from study.errors import require
from study.model.lean_memory import BLOCK
from study.training.lean.rounding import draw_sixteen_bits

N_BUFFERS = 4
"""Rows of the scratch of ``CodedBlocks``."""


class CodedBlocks:
    """A vector of numbers coded in 8 bits each; numbers of a block whose scale is zero are zero.

    The levels are ``(k / 127)^2`` of the block's largest with either sign, or, where no number is
    negative, ``((k + 1) / 256)^2``, among which is no zero: what stands in a divisor must not be
    rounded to zero, as linear codes do with numbers far below their block's largest.

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
        self._top = 127 if is_signed else 256
        """Root of the largest level in units of the roots' distance."""

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

    def decode(
        self, start: int, stop: int, *, out: Tensor | None = None, scratch: Tensor | None = None
    ) -> Tensor:
        """Return numbers ``start`` to ``stop``, multiples of 256, as float32 (stop - start,).

        Args:
            start: number of the first.
            stop: number after the last.
            out: float32 (stop - start,) that takes the result.
            scratch: float32 of at least one row of at least as many numbers.
        """
        n_numbers = stop - start
        out = torch.empty(n_numbers, device=self.codes.device) if out is None else out
        # Of the roots, because a small scale over the square of the top would be zero.
        distances = self._scales(start, stop).sqrt() / self._top
        if self.is_signed:
            root = torch.empty_like(out) if scratch is None else scratch[0][:n_numbers]
            root.copy_(self.codes[start:stop].view(torch.int8))
            root.view(-1, BLOCK).mul_(distances)
            torch.abs(root, out=out).mul_(root)
        else:
            out.copy_(self.codes[start:stop]).add_(1).view(-1, BLOCK).mul_(distances).square_()
        return out

    def encode(
        self,
        start: int,
        values: Tensor,
        generator: torch.Generator,
        *,
        scratch: Tensor | None = None,
    ) -> None:
        """Code ``values`` as the numbers from ``start`` on.

        Each becomes one of the two levels around it, so that the mean of many codings is the
        value; what lies below the smallest unsigned level becomes that.

        Args:
            start: number of the first, a multiple of 256.
            values: float32 (n,), n a multiple of 256. A block that holds NaN or an infinity
                decodes to NaN and infinities alone.
            generator: source of the random bits, on the device of the codes.
            scratch: float32 of at least 4 rows of at least n numbers, an even number.
        """
        n_values = values.numel()
        if scratch is None:
            scratch = torch.empty(N_BUFFERS, n_values, device=values.device)
        root, below, part = scratch[0][:n_values], scratch[1][:n_values], scratch[2][:n_values]
        scales = self._scales(start, start + n_values)
        blocks = torch.abs(values, out=root).view(-1, BLOCK)
        scales.copy_(blocks.amax(dim=1, keepdim=True))
        # The scale first: the square of the top over a small one would be infinite.
        blocks.div_(scales.masked_fill(scales == 0, 1.0))
        torch.floor(root.sqrt_().mul_(self._top), out=below)
        # The share of the way between two squares, from that between their roots:
        # (r^2 - b^2) / ((b + 1)^2 - b^2).
        torch.sub(root, below, out=part).mul_(root.add_(below))
        part.div_(torch.add(below, below, out=root).add_(1))
        draws = draw_sixteen_bits(n_values, generator, scratch[3])
        root.copy_(draws).mul_(2**-16).add_(0.5)
        # A draw and a share that make one together round up; the conversion cuts off the rest.
        code = below.add_(part.add_(root)).clamp_(max=self._top)
        own = self.codes[start : start + n_values]
        if self.is_signed:
            own.view(torch.int8).copy_(code.copysign_(values))
        else:
            own.copy_(code.sub_(1).clamp_(min=0))

    def _scales(self, start: int, stop: int) -> Tensor:
        return self.scales[start // BLOCK : stop // BLOCK].unsqueeze(1)

    def state_dict(self) -> dict[str, Any]:
        """Return the codes and scales, which are not copied."""
        return {"codes": self.codes, "scales": self.scales}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy what ``state_dict`` returned into this one."""
        self.codes.copy_(state["codes"])
        self.scales.copy_(state["scales"])
