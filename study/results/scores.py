"""What a validation says of a model: the one shape in which scores travel and are kept.

None stands for a score that is undefined; no score is ever NaN or infinite.
"""

from dataclasses import dataclass
from typing import final

COLLAPSED_LOGIT_SD = 0.1
"""Standard deviation of the logits under which a model gives next to the same answer to every day.
A constant predictor on an 11.8 % base rate has a log-loss of .363, which looks good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochScores:
    """Scores of one epoch on the validation days."""

    loss: float
    """Mean log-loss, nats."""
    skill: float
    """1 - loss / loss of a constant at the training base rate."""
    skill_own_base_rate: float | None
    """1 - loss / loss of a constant at the part's own base rate; None if a class is missing."""
    auc: float | None
    """Chance that a positive outranks a negative, a tie counting half; None if a class is
    missing."""
    brier: float
    """Mean squared error of the probabilities."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation(EpochScores):
    """Scores of an epoch with the spread of its predictions, as every epoch reports them."""

    prediction_sd: float
    """Standard deviation of the probabilities, ddof 0."""
    prediction_min: float
    """Least probability."""
    prediction_max: float
    """Greatest probability."""
    logit_sd: float
    """Standard deviation of the logits, ddof 0: it tells a collapsed model from one that knows
    little."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BestEpoch(EpochScores):
    """Scores of the epoch of least log-loss with their errors, as a trial is ranked by them."""

    epoch: int
    """Its number, from 1."""
    loss_se: float | None
    """Standard error of ``loss`` over dependent days; None with too few of them."""
    half_losses: tuple[float, float] | None
    """Mean log-loss on every other block of days and on those between: how far ranks by ``loss``
    may be trusted. None with too few days."""
    difference: float | None
    """Mean of this loss less the baseline's, day by day: negative is better. None without a
    baseline."""
    difference_se: float | None
    """Standard error of that mean, far smaller than that of either loss."""
    auc_se: float | None
    """Standard error of ``auc`` (Hanley and McNeil 1982), which takes days for independent. None
    if read from the record of a trial, which keeps it only as the error of an objective."""
