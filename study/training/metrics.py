"""Computes the scores of a set of logits, in numpy."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from study.data.evaluation.probability_scores import (
    auc,
    half_means,
    log_losses,
    standard_error,
)
from study.results.scores import BestEpoch, Validation
from study.statistics.auc_error import auc_standard_error
from study.statistics.block_length import block_days
from study.statistics.skill import constant_loss, skill, skill_on

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics(Validation):
    """All scores of one part of the days, with their errors: a ``BestEpoch`` without its epoch."""

    loss_se: float | None
    half_losses: tuple[float, float] | None
    difference: float | None
    difference_se: float | None
    auc_se: float | None

    def validation(self) -> Validation:
        """Return the scores that every epoch reports."""
        return Validation(**{f.name: getattr(self, f.name) for f in fields(Validation)})

    def best(self, epoch: int) -> BestEpoch:
        """Return the scores that are kept if ``epoch`` is the best one."""
        names = [field.name for field in fields(BestEpoch) if field.name != "epoch"]
        return BestEpoch(epoch=epoch, **{name: getattr(self, name) for name in names})


def evaluate(
    logit: npt.NDArray[np.float32],
    label: npt.NDArray[np.float32],
    *,
    base_rate: float,
    horizon: int = 1,
    baseline_losses: Float64Array | None = None,
) -> Metrics | None:
    """Return the scores of logits against labels; None if a logit is not finite.

    Args:
        logit: logits, shape (n,), n >= 1.
        label: labels, 0 or 1, shape (n,).
        base_rate: share of positives in training, strictly between 0 and 1.
        horizon: trading days that a label looks ahead, for the standard errors.
        baseline_losses: log-losses of the baseline to beat on the same days, shape (n,).
    """
    if not np.isfinite(logit).all():
        return None
    z = logit.astype(np.float64)
    y = label.astype(np.float64)
    p = probability(z)
    losses = log_losses(z, y)
    loss = float(losses.mean())
    block = block_days(horizon)
    difference = None if baseline_losses is None else losses - baseline_losses
    own = float(y.mean())
    area = auc(z, y)
    return Metrics(
        loss=loss,
        loss_se=standard_error(losses, block),
        half_losses=half_means(losses, block),
        difference=None if difference is None else float(difference.mean()),
        difference_se=None if difference is None else standard_error(difference, block),
        skill=skill(loss, constant_loss(base_rate, own)),
        skill_own_base_rate=skill_on(loss, own),
        auc=area,
        auc_se=None if area is None else auc_standard_error(area, int(y.sum()), int((1 - y).sum())),
        brier=float(np.mean((p - y) ** 2)),
        prediction_sd=float(p.std()),
        prediction_min=float(p.min()),
        prediction_max=float(p.max()),
        logit_sd=float(z.std()),
    )


def probability(logit: Float64Array) -> Float64Array:
    """Return the probabilities of logits, by a logistic function that does not overflow."""
    tail = np.exp(-np.abs(logit))
    return np.where(logit >= 0, 1.0, tail) / (1.0 + tail)
