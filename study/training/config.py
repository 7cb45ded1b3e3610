"""How one trial is trained: every number that shapes the optimisation."""

from dataclasses import dataclass
from typing import Literal, get_args

from study.errors import require

Optimizer = Literal["adamw"]
Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How one trial is trained. Every field may be a search dimension."""

    learning_rate: float
    """Peak rate per optimizer step."""
    epochs: int
    """Length of the trial's own schedule."""
    weight_decay: float = 0.0
    """Decoupled decay, not applied to norms, biases and positions."""
    warmup_share: float = 0.1
    """Share of the trial's own steps over which the rate rises linearly from zero."""
    schedule: Schedule = "cosine"
    """What the rate does after the warm-up: fall to zero on a cosine, or stay."""
    optimizer: Optimizer = "adamw"
    clip_norm: float = 1.0
    """Largest global gradient norm."""
    effective_batch: int = 256
    """Samples per optimizer step, whatever the micro-batch."""
    auxiliary_weight: float = 0.0
    """Weight of the squared error on the standardised log range of the next ``horizon`` days."""
    ema_decay: float = 0.0
    """Decay per step of the averaged weights that are validated and kept; 0 switches it off."""
    patience: int | None = 10
    """Epochs without an improvement of ``min_delta`` before the trial stops; None: never."""
    min_delta: float = 0.001
    """Smallest fall of the validation log-loss that resets the patience, in nats."""
    collapse_grace_share: float = 0.3
    """Share of the schedule after which a collapsed trial stops."""

    def __post_init__(self) -> None:
        where = "TrainConfig"
        rules: tuple[tuple[bool, str, str], ...] = (
            (self.learning_rate > 0, "learning_rate must be > 0", "learning_rate"),
            (self.epochs >= 1, "epochs must be >= 1", "epochs"),
            (self.weight_decay >= 0, "weight_decay must be >= 0", "weight_decay"),
            (0 <= self.warmup_share < 1, "warmup_share must lie in [0, 1)", "warmup_share"),
            (
                self.schedule in get_args(Schedule),
                f"schedule must be one of {', '.join(get_args(Schedule))}",
                "schedule",
            ),
            (
                self.optimizer in get_args(Optimizer),
                f"optimizer must be one of {', '.join(get_args(Optimizer))}",
                "optimizer",
            ),
            (self.clip_norm > 0, "clip_norm must be > 0", "clip_norm"),
            (self.effective_batch >= 1, "effective_batch must be >= 1", "effective_batch"),
            (self.auxiliary_weight >= 0, "auxiliary_weight must be >= 0", "auxiliary_weight"),
            (0 <= self.ema_decay < 1, "ema_decay must lie in [0, 1)", "ema_decay"),
            (
                self.patience is None or self.patience >= 1,
                "patience must be >= 1, or null for none",
                "patience",
            ),
            (self.min_delta >= 0, "min_delta must be >= 0", "min_delta"),
            (
                0 < self.collapse_grace_share <= 1,
                "collapse_grace_share must lie in (0, 1]",
                "collapse_grace_share",
            ),
        )
        for holds, rule, name in rules:
            require(
                holds,
                where,
                rule,
                got=f"{name}={getattr(self, name)!r}",
                remedy="Mend the search space.",
            )
