"""The optimizer, its learning-rate schedule, and a record of its settings."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from study.results.epoch_report import OptimizerRecord
from study.training.step.adabelief import AdaBelief
from study.training.step.moments import MomentOptimizer, ParameterGroup
from study.training.train_config import TrainConfig

BETAS = (0.9, 0.999)
"""Decays of the two moments: torch's defaults for AdamW, and the paper's for AdaBelief."""

EPS = 1e-8
"""Number that AdamW adds to the root of the second moment: torch's default."""

BELIEF_EPS = 1e-16
"""Number that AdaBelief adds to the second moment and to its root: its authors' default, under
which the spread of gradients alone sets the length of steps."""


class AdamW(MomentOptimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as ``torch.optim.AdamW``.

    The kernel and the results are those of ``torch.optim.AdamW(fused=True)``, bit for bit. That
    class imports torch's compiler (2.13) when it is first built, which takes a second of every
    worker, and counts the steps of every parameter apart.
    """

    is_fused = True

    def step(self, is_broken: Tensor | None = None, rate: Tensor | None = None) -> None:
        """Change the parameters by their gradients; see ``MomentOptimizer``."""
        with torch.no_grad():
            counts = self.moving()
            for n_steps in counts.values():
                n_steps.add_(1)
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
                    [counts[group.clock]] * len(gradients),
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
                for n_steps in counts.values():
                    n_steps.sub_(is_broken)


def build_optimizer(
    parameters: Mapping[str, tuple[Sequence[Parameter], Sequence[Parameter]]], config: TrainConfig
) -> MomentOptimizer:
    """Return the optimizer of the settings, at the peak rate.

    Args:
        parameters: those with decay and those without, by the name of what counts their steps.
        config: the settings.
    """
    built, eps = (AdamW, EPS) if config.optimizer == "adamw" else (AdaBelief, BELIEF_EPS)
    groups = [
        ParameterGroup(own, decay, clock)
        for clock, (decayed, undecayed) in parameters.items()
        for own, decay in ((decayed, config.weight_decay), (undecayed, 0.0))
    ]
    return built(groups, learning_rate=config.learning_rate, betas=BETAS, eps=eps)


def read_optimizer(optimizer: MomentOptimizer) -> OptimizerRecord:
    """Return the settings of an optimizer, with the rate that is set now."""
    decayed, undecayed = optimizer.groups[::2], optimizer.groups[1::2]
    return OptimizerRecord(
        name=type(optimizer).__name__,
        learning_rate=optimizer.learning_rate,
        beta1=optimizer.betas[0],
        beta2=optimizer.betas[1],
        eps=optimizer.eps,
        weight_decay=decayed[0].weight_decay,
        n_decayed=sum(p.numel() for group in decayed for p in group.parameters),
        n_undecayed=sum(p.numel() for group in undecayed for p in group.parameters),
        is_fused=optimizer.is_fused,
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
