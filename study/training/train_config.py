"""How one trial is trained: every number that shapes the optimisation."""

from dataclasses import dataclass
from typing import Literal, get_args

from study.fields import Rule, above, check_values, one_of, or_none, share, whole, within

Optimizer = Literal["adamw"]
Schedule = Literal["cosine", "constant"]

_LARGEST_NUMBER = 1e38
"""Of a rate or a weight: far beyond what trains, and still a float32."""

TRAIN_RULES: dict[str, Rule] = {
    "learning_rate": above(0, _LARGEST_NUMBER),
    "epochs": whole(1, 1_000_000),
    "weight_decay": within(0, _LARGEST_NUMBER),
    "warmup_share": share(one=False),
    "schedule": one_of(get_args(Schedule)),
    "optimizer": one_of(get_args(Optimizer)),
    "clip_norm": above(0, _LARGEST_NUMBER),
    "effective_batch": whole(1, 1_000_000_000),
    "auxiliary_weight": within(0, _LARGEST_NUMBER),
    "ema_decay": share(one=False),
    "patience": or_none(whole(1, 1_000_000)),
    "min_delta": within(0, _LARGEST_NUMBER),
    "collapse_grace_share": share(zero=False),
}
"""What the value of a field must be by itself."""


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
        check_values(TRAIN_RULES, self, "Mend the search space.")
