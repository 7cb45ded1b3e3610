"""The settings of one trial's training."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from study.errors import require
from study.fields import Rule, above, check_values, one_of, or_none, share, text, whole, within
from study.training.phases.phase import Phase, parse_phases

Optimizer = Literal["adamw", "adabelief"]
Schedule = Literal["cosine", "constant"]
Memory = Literal["full", "lean"]
"""How a trial's state is held: all in float32, or weights in bfloat16 with 8-bit moments that are
changed inside the backward pass (``study.training.lean``)."""
BaseLoss = Literal["squared", "huber"]
"""Loss of a panel's scores against the target, to which the weighted terms are added."""

_LARGEST_NUMBER = 1e38
"""Largest rate, norm or weight: far beyond any that trains, and still a float32."""

TRAIN_RULES: dict[str, Rule] = {
    "learning_rate": above(0, _LARGEST_NUMBER),
    "epochs": whole(1, 1_000_000),
    "weight_decay": within(0, _LARGEST_NUMBER),
    "warmup_share": share(one=False),
    "schedule": one_of(get_args(Schedule)),
    "optimizer": one_of(get_args(Optimizer)),
    "clip_norm": above(0, _LARGEST_NUMBER),
    "effective_batch": whole(1, 1_000_000_000),
    "memory": one_of(get_args(Memory)),
    "steps_per_epoch": or_none(whole(1, 1_000_000_000)),
    "auxiliary_weight": within(0, _LARGEST_NUMBER),
    "fall_weight": within(0, _LARGEST_NUMBER),
    "base_loss": one_of(get_args(BaseLoss)),
    "ic_weight": within(0, _LARGEST_NUMBER),
    "rank_weight": within(0, _LARGEST_NUMBER),
    "rank_temperature": share(zero=False),
    "sharpe_weight": within(0, _LARGEST_NUMBER),
    "regime_strength": within(0, _LARGEST_NUMBER),
    "ema_decay": share(one=False),
    "patience": or_none(whole(1, 1_000_000)),
    "min_delta": within(0, _LARGEST_NUMBER),
    "collapse_grace_share": share(zero=False),
    "phases": text(),
    "pretrain_epochs": whole(0, 1_000_000),
    "pretrain_mask_share": within(0.05, 0.95),
}
"""Rule for the value of each field, whatever the values of the others are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """The settings of one trial's training. Every field may be a search dimension."""

    learning_rate: float
    """Peak rate per optimizer step."""
    epochs: int
    """Number of epochs of the trial's own schedule."""
    weight_decay: float = 0.0
    """Decoupled decay, not applied to norms, biases and positions."""
    warmup_share: float = 0.1
    """Share of the trial's own steps over which the rate rises linearly from zero."""
    schedule: Schedule = "cosine"
    """Course of the rate after the warm-up: it falls to zero on a cosine, or stays constant."""
    optimizer: Optimizer = "adamw"
    """Rule of a step: AdamW, or AdaBelief, which divides by the spread of gradients alone."""
    clip_norm: float = 1.0
    """Largest global gradient norm."""
    effective_batch: int = 256
    """Number of samples per optimizer step, whatever the micro-batch."""
    memory: Memory = "full"
    """How weights and moments are held; a plan makes it lean where a full state does not fit."""
    steps_per_epoch: int | None = None
    """Most optimizer steps of an epoch, for checks of models of which an epoch takes hours; None
    takes every training day."""
    auxiliary_weight: float = 0.0
    """Weight of the squared error on the standardised log range of the next ``horizon`` days."""
    fall_weight: float = 0.0
    """Weight of the log-loss of the label of a fall (does the market fall as far?), of which the
    model's logit, shifted by the difference of the two base rates in log-odds, is the answer too:
    most of what can be known of either is how far prices will move."""
    base_loss: BaseLoss = "squared"
    """Loss of a panel's scores against the standardised target of each asset and day."""
    ic_weight: float = 0.0
    """Weight of 1 less a day's correlation of scores and targets; for panels alone."""
    rank_weight: float = 0.0
    """Weight of 1 less a day's rank correlation, of soft ranks; for panels alone."""
    rank_temperature: float = 0.2
    """Width of a soft comparison of two scores, in standard deviations of a day's scores."""
    sharpe_weight: float = 0.0
    """Weight of the utility of a day's long-short portfolio; for panels alone."""
    regime_strength: float = 0.0
    """Power of the market's past volatility by which the weight of a panel's day falls; 0 weighs
    all days alike."""
    ema_decay: float = 0.0
    """Decay per step of the averaged weights, which are validated and kept; 0 averages nothing."""
    patience: int | None = 10
    """Number of epochs without an improvement after which the trial stops; None never stops it."""
    min_delta: float = 0.001
    """Fall of what is minimised on the validation days that counts as an improvement if exceeded,
    in its own unit: nats of a log-loss; on a panel 1 less a correlation, 1 less a Sharpe ratio, or
    the squared error."""
    collapse_grace_share: float = 0.3
    """Share of the schedule after which a collapsed trial stops."""
    phases: str = ""
    """Phases of the schedule as ``study.training.phases.phase.phases_text`` writes them; empty for
    one that has none. The phase of an epoch follows from its number alone; a schedule may end
    before its last phase does."""
    pretrain_epochs: int = 0
    """Number of epochs before the first in which the encoder learns to fill in hidden patches of
    the training days; 0 pretrains nothing."""
    pretrain_mask_share: float = 0.4
    """Share of the patches that are hidden, each independently; the default is that of PatchTST's
    authors (Nie et al. 2023, https://arxiv.org/abs/2211.14730)."""

    def __post_init__(self) -> None:
        check_values(TRAIN_RULES, self, "Mend the search space.")
        phases = self.phase_list
        for phase in phases:
            self.in_phase(phase)
        most = sum(phase.epochs for phase in phases)
        require(
            not phases or self.epochs <= most,
            "train.phases",
            f"the phases must hold all epochs of the schedule, {self.epochs}",
            got=f"{most} in {len(phases)} phases",
            remedy="Lengthen a phase, or shorten the schedule.",
        )

    @property
    def phase_list(self) -> tuple[Phase, ...]:
        """The phases of the schedule, in order; may be none."""
        return parse_phases(self.phases)

    def steps_in_epoch(self, n_samples: int) -> int:
        """Return the optimizer steps of an epoch of ``n_samples``, which may be cut short."""
        steps = math.ceil(n_samples / self.effective_batch)
        return steps if self.steps_per_epoch is None else min(steps, self.steps_per_epoch)

    def samples_in_epoch(self, n_samples: int) -> int:
        """Return how many of ``n_samples`` an epoch takes: the first of its own shuffled order."""
        return min(n_samples, self.steps_in_epoch(n_samples) * self.effective_batch)

    def in_phase(self, phase: Phase | None) -> "TrainConfig":
        """Return the settings of a phase: the trial's, with the values that are the phase's own."""
        if phase is None:
            return self
        rate = self.learning_rate * phase.learning_rate_factor
        return replace(self, phases="", learning_rate=rate, **phase.overrides)


PANEL_SETTINGS: dict[str, object] = {
    "base_loss": "squared",
    "ic_weight": 0.0,
    "rank_weight": 0.0,
    "rank_temperature": 0.2,
    "sharpe_weight": 0.0,
    "regime_strength": 0.0,
}
"""Settings that only a panel reads, with their defaults."""


def require_no_panel_settings(train: TrainConfig) -> None:
    """Refuse settings of a panel's loss for one asset, where they would change nothing.

    Raises: StudyError.
    """
    for name, default in PANEL_SETTINGS.items():
        value = getattr(train, name)
        require(
            value == default,
            "Trainer",
            f"{name} must be {default} for one asset",
            got=f"{name}={value}",
            remedy="Leave it out; only a panel has days of several assets.",
        )
