"""The place in the random streams from which a network draws its dropout masks."""

import torch
from torch import Tensor

from study.training.device import DeviceRandomness


class DropoutStream:
    """The generator of the CPU and that of an accelerator, of which a device uses one.

    Args:
        generator: that of the CPU.
        random: that of the accelerator; call these functions inside its ``active``.
    """

    def __init__(self, generator: torch.Generator, random: DeviceRandomness) -> None:
        self._generator = generator
        self._random = random

    def position(self) -> tuple[Tensor, Tensor | None]:
        """Return the place that the next mask is drawn from."""
        return self._generator.get_state(), self._random.position()

    def rewind_to(self, position: tuple[Tensor, Tensor | None]) -> None:
        """Draw the next mask from an earlier place: the same masks again, in the same order."""
        own, other = position
        self._generator.set_state(own)
        self._random.rewind_to(other)
