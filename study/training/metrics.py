"""How good a set of logits is, in numpy."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Scores of one part. None where a score is undefined, never a stand-in."""

    loss: float
    """Mean log-loss, nats."""
    skill: float
    """1 - loss / loss of a constant at the training base rate."""
    skill_own_base_rate: float | None
    """1 - loss / loss of a constant at the part's own base rate; None if a class is missing."""
    auc: float | None
    """Chance that a positive outranks a negative, a tie counting half; None as above."""
    brier: float
    """Mean squared error of the probabilities."""
    prediction_sd: float
    prediction_min: float
    prediction_max: float
    """Spread of the probabilities; sd with ddof 0."""
    logit_sd: float
    """Spread of the logits, ddof 0: what tells a collapsed model from one that knows little."""


def evaluate(
    logit: npt.NDArray[np.float32], label: npt.NDArray[np.float32], *, base_rate: float
) -> Metrics | None:
    """Score logits against labels, or None if a logit is not finite.

    Args:
        logit: (n,), n >= 1.
        label: (n,), each 0 or 1.
        base_rate: share of positives in training, strictly between 0 and 1.
    """
    if not np.isfinite(logit).all():
        return None
    z = logit.astype(np.float64)
    y = label.astype(np.float64)
    p = probability(z)
    loss = log_loss(z, y)
    own = float(y.mean())
    # Both constants are scored on this part's labels.
    loss_constant = -own * math.log(base_rate) - (1 - own) * math.log1p(-base_rate)
    entropy = -own * math.log(own) - (1 - own) * math.log1p(-own) if 0 < own < 1 else None
    return Metrics(
        loss=loss,
        skill=1 - loss / loss_constant,
        skill_own_base_rate=None if entropy is None else 1 - loss / entropy,
        auc=auc(z, y),
        brier=float(np.mean((p - y) ** 2)),
        prediction_sd=float(p.std()),
        prediction_min=float(p.min()),
        prediction_max=float(p.max()),
        logit_sd=float(z.std()),
    )


def probability(logit: Float64Array) -> Float64Array:
    """The logistic function without overflow: the one place where logits become probabilities."""
    tail = np.exp(-np.abs(logit))
    return np.where(logit >= 0, 1.0, tail) / (1.0 + tail)


def log_loss(logit: Float64Array, label: Float64Array) -> float:
    """Mean log-loss from logits, nats. Exact where a probability would round to 0 or 1."""
    return float(np.mean(np.logaddexp(0.0, logit) - label * logit))


def auc(score: Float64Array, label: Float64Array) -> float | None:
    """Area under the ROC curve from mean ranks, or None if a class is missing."""
    is_positive = label == 1
    n_positive = int(is_positive.sum())
    n_negative = len(label) - n_positive
    if n_positive == 0 or n_negative == 0:
        return None
    _, group, count = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    rank_sum = float(mean_rank[group][is_positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
