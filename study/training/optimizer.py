"""The optimizer, its learning-rate schedule, and a record of the settings it was built with."""

import math
from collections.abc import Sequence

import torch
from torch.nn import Parameter

from study.results.epoch_report import OptimizerRecord
from study.training.train_config import TrainConfig

BETAS = (0.9, 0.999)
"""Decays of AdamW's two moments: torch's defaults, which the record of the optimizer shows."""

EPS = 1e-8
"""Number that AdamW adds to the root of the second moment: torch's default."""


def build_optimizer(
    decayed: Sequence[Parameter], undecayed: Sequence[Parameter], config: TrainConfig
) -> torch.optim.AdamW:
    """Return AdamW with decoupled decay on ``decayed`` alone, at the peak rate."""
    return torch.optim.AdamW(
        [
            {"params": list(decayed), "weight_decay": config.weight_decay},
            {"params": list(undecayed), "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=BETAS,
        eps=EPS,
        fused=True,
    )


def read_optimizer(optimizer: torch.optim.Optimizer) -> OptimizerRecord:
    """Return the settings of an optimizer, with the rate that is set now."""
    decayed, undecayed = optimizer.param_groups
    beta1, beta2 = decayed["betas"]
    return OptimizerRecord(
        name=type(optimizer).__name__,
        learning_rate=decayed["lr"],
        beta1=beta1,
        beta2=beta2,
        eps=decayed["eps"],
        weight_decay=decayed["weight_decay"],
        n_decayed=sum(p.numel() for p in decayed["params"]),
        n_undecayed=sum(p.numel() for p in undecayed["params"]),
        is_fused=bool(decayed["fused"]),
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


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
