"""The optimizer, its learning-rate schedule, and the record of what was really built."""

import math
from collections.abc import Sequence

import torch
from torch.nn import Parameter

from study.results.epoch_report import OptimizerRecord
from study.training.train_config import TrainConfig

# torch's defaults, named because the record shows them.
BETAS = (0.9, 0.999)
EPS = 1e-8


def build_optimizer(
    decayed: Sequence[Parameter], undecayed: Sequence[Parameter], config: TrainConfig
) -> torch.optim.AdamW:
    """AdamW with decoupled decay on ``decayed`` alone, at the peak rate."""
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
    """Read back what ``build_optimizer`` built, with the rate that is set now."""
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
    """The rate of one optimizer step: linear warm-up from zero, then the schedule.

    Never zero inside the trial, so no step is spent on nothing: the first is one stride up the
    warm-up, and the cosine would reach zero at ``total_steps``, one past the last.

    Args:
        step: 0-based, < total_steps.
        total_steps: of the trial's own schedule.
        config: peak rate, warm-up share and schedule.
    """
    # Not rounded: two shares that differ give rates that differ, however short the trial.
    warmup_steps = config.warmup_share * total_steps
    if step + 1 < warmup_steps:
        return config.learning_rate * (step + 1) / warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    progress = max(0.0, step - warmup_steps) / (total_steps - warmup_steps)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
