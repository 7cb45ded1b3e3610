"""The optimizer, its learning-rate schedule, and a record of its settings."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from study.results.epoch_report import OptimizerRecord
from study.training.train_config import TrainConfig

BETAS = (0.9, 0.999)
"""Decays of AdamW's two moments: torch's defaults, which the record of the optimizer shows."""

EPS = 1e-8
"""Number that AdamW adds to the root of the second moment: torch's default."""


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """Parameters that share a weight decay, with their moments."""

    parameters: Sequence[Parameter]
    weight_decay: float
    first_moments: list[Tensor] = field(init=False)
    second_moments: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("first_moments", "second_moments"):
            object.__setattr__(self, name, [torch.zeros_like(p.data) for p in self.parameters])


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as ``torch.optim.AdamW``.

    The kernel and the results are those of ``torch.optim.AdamW(fused=True)``, bit for bit. That
    class imports torch's compiler (2.13) when it is first built, which takes a second of every
    worker, and counts the steps of every parameter apart.

    Args:
        groups: the parameters, all on one device, each in one group.
        learning_rate: of the first step.
        betas: decays of the two moments.
        eps: number added to the root of the second moment.
    """

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
        self._n_steps = torch.zeros((), device=device)
        """Steps taken, in float32 as the kernel reads it."""

    def step(self, is_broken: Tensor | None = None, rate: Tensor | None = None) -> None:
        """Change the parameters by their gradients; those without one stay as they are.

        Args:
            is_broken: flag on the parameters' device, float32 (); the step changes nothing if it
                is not zero. None always takes the step.
            rate: the learning rate as a tensor of one number, which a captured step reads anew in
                every replay: on CUDA float32 on the device, on the CPU float64. None takes
                ``learning_rate``.
        """
        with torch.no_grad():
            self._n_steps += 1
            for group in self.groups:
                gradients = {
                    i: p.grad for i, p in enumerate(group.parameters) if p.grad is not None
                }
                if not gradients:
                    continue
                torch._fused_adamw_(
                    [group.parameters[i] for i in gradients],
                    list(gradients.values()),
                    [group.first_moments[i] for i in gradients],
                    [group.second_moments[i] for i in gradients],
                    [],
                    [self._n_steps] * len(gradients),
                    amsgrad=False,
                    # An overload takes each of the two types, but none their union.
                    lr=self.learning_rate if rate is None else rate,  # type: ignore[arg-type]
                    beta1=self.betas[0],
                    beta2=self.betas[1],
                    weight_decay=group.weight_decay,
                    eps=self.eps,
                    maximize=False,
                    grad_scale=None,
                    found_inf=is_broken,
                )
            if is_broken is not None:
                self._n_steps -= is_broken

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


def build_optimizer(
    decayed: Sequence[Parameter], undecayed: Sequence[Parameter], config: TrainConfig
) -> AdamW:
    """Return AdamW with decoupled decay on ``decayed`` alone, at the peak rate."""
    groups = [ParameterGroup(decayed, config.weight_decay), ParameterGroup(undecayed, 0.0)]
    return AdamW(groups, learning_rate=config.learning_rate, betas=BETAS, eps=EPS)


def read_optimizer(optimizer: AdamW) -> OptimizerRecord:
    """Return the settings of an optimizer, with the rate that is set now."""
    decayed, undecayed = optimizer.groups
    return OptimizerRecord(
        name=type(optimizer).__name__,
        learning_rate=optimizer.learning_rate,
        beta1=optimizer.betas[0],
        beta2=optimizer.betas[1],
        eps=optimizer.eps,
        weight_decay=decayed.weight_decay,
        n_decayed=sum(p.numel() for p in decayed.parameters),
        n_undecayed=sum(p.numel() for p in undecayed.parameters),
        is_fused=True,
    )


def learning_rate(step: int, total_steps: int, config: TrainConfig) -> float:
    """Return the rate of one optimizer step: linear warm-up from zero, then the schedule.

    The rate of every step of the trial is above zero: the warm-up begins with its first increment,
    and the cosine would reach zero at ``total_steps``, one step after the last.

    Args:
        step: number of the step, 0-based, < total_steps.
        total_steps: number of steps of the trial's own schedule.
        config: peak rate, warm-up share and schedule.
    """
    # Without rounding, different shares give different rates, however short the trial is.
    warmup_steps = config.warmup_share * total_steps
    if step + 1 < warmup_steps:
        return config.learning_rate * (step + 1) / warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    progress = max(0.0, step - warmup_steps) / (total_steps - warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def _tensors(state: dict[str, Any]) -> Iterator[Tensor]:
    yield state["n_steps"]
    yield from state["first_moments"]
    yield from state["second_moments"]
