"""What optimizers with two moments per parameter hold: their state, and its copies."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import Parameter


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a weight decay, with their moments."""

    parameters: Sequence[Parameter]
    weight_decay: float
    clock: str = "all"
    """Name of what counts its steps; groups of one clock have gradients in the same steps."""
    first_moments: list[Tensor] = field(init=False)
    second_moments: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("first_moments", "second_moments"):
            object.__setattr__(self, name, [torch.zeros_like(p.data) for p in self.parameters])


class MomentOptimizer(ABC):
    """An optimizer that keeps two moments of every parameter, and counts steps once per clock.

    Args:
        groups: the parameters, all on one device, each in one group.
        learning_rate: of the first step.
        betas: decays of the two moments.
        eps: number that keeps divisors from zero.
    """

    is_fused: ClassVar[bool]
    """Is a step one kernel for each group?"""

    def __init__(
        self,
        groups: Sequence[ParameterGroup],
        *,
        learning_rate: float,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        self.groups = tuple(groups)
        self.learning_rate = learning_rate
        self.betas = betas
        self.eps = eps
        device = next(p.device for group in groups for p in group.parameters)
        clocks = tuple(dict.fromkeys(group.clock for group in groups))
        self._n_steps = torch.zeros((len(clocks),) if len(clocks) > 1 else (), device=device)
        """Steps taken by each clock, in float32 as a fused kernel reads it; exact up to 16
        million. The count of an only clock is a scalar."""
        # Views of that tensor, which is what states are copied from and into.
        self._of_clock = {c: self._n_steps.view(-1)[i] for i, c in enumerate(clocks)}

    @abstractmethod
    def step(self, is_broken: Tensor | None = None, rate: Tensor | None = None) -> None:
        """Change the parameters by their gradients; those without one stay as they are.

        Args:
            is_broken: flag on the parameters' device, float32 (); the step changes nothing if it
                is not zero. None always takes the step.
            rate: the learning rate as a tensor of one number, which a captured step reads anew in
                every replay: on CUDA float32 on the device, on the CPU float64. None takes
                ``learning_rate``.
        """

    def moving(self) -> dict[str, Tensor]:
        """Return the counts of the clocks of which a parameter has a gradient, by their names."""
        names = [g.clock for g in self.groups if any(p.grad is not None for p in g.parameters)]
        return {name: self._of_clock[name] for name in names}

    def zero_grad(self) -> None:
        """Free the gradients."""
        for group in self.groups:
            for parameter in group.parameters:
                parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the last rate, the steps and the moments; the tensors are not copied."""
        return {
            "learning_rate": self.learning_rate,
            "n_steps": self._n_steps,
            "first_moments": [m for group in self.groups for m in group.first_moments],
            "second_moments": [m for group in self.groups for m in group.second_moments],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy what ``state_dict`` returned into this optimizer."""
        self.learning_rate = state["learning_rate"]
        with torch.no_grad():
            for own, saved in zip(_tensors(self.state_dict()), _tensors(state), strict=True):
                own.copy_(saved)


def _tensors(state: dict[str, Any]) -> Iterator[Tensor]:
    yield state["n_steps"]
    yield from state["first_moments"]
    yield from state["second_moments"]
