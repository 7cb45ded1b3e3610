"""Computes the scores of a set of logits, in numpy."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from study.data.evaluation.probability_scores import (
    auc,
    daily_means,
    half_means,
    log_losses,
)
from study.results.scores import BestEpoch, Validation
from study.statistics.auc_error import auc_standard_error
from study.statistics.block_length import block_days
from study.statistics.mean_error import standard_error
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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FoldAnswers:
    """The answers of the network of one fold on the days that it validates on."""

    logit: npt.NDArray[np.float32]
    """Logits, shape (n,)."""
    label: npt.NDArray[np.float32]
    """Labels, 0 or 1, shape (n,)."""
    days: npt.NDArray[np.int64]
    """Row of each day, ascending, shape (n,)."""
    base_rate: float
    """Share of positives among the training days of the fold."""
    baseline_losses: Float64Array | None = None
    """Log-losses of the baseline that was fitted on the same training days, shape (n,)."""


def evaluate_folds(folds: Sequence[FoldAnswers], *, horizon: int) -> Metrics | None:
    """Return the scores of a trial over all folds; None if a logit is not finite.

    Losses, Brier score and both skills are means over the days, to which every fold that validates
    a day contributes alike; their errors and the halves are those of daily means in the order of
    time. The AUC is computed over the days of each fold, whose networks have scales of their own,
    and averaged over the folds, as is the spread of the predictions. The error of the mean AUC
    takes networks that validate the same day for one.

    Args:
        folds: the answers of every fold; each day is in the same number of them.
        horizon: trading days that a label looks ahead, for the standard errors.
    """
    own = [evaluate(f.logit, f.label, base_rate=f.base_rate, horizon=horizon) for f in folds]
    found = [metrics for metrics in own if metrics is not None]
    if len(found) < len(folds):
        return None
    daily = functools.partial(daily_means, [f.days for f in folds])
    label = daily([f.label.astype(np.float64) for f in folds])
    by_fold = [log_losses(f.logit.astype(np.float64), f.label.astype(np.float64)) for f in folds]
    losses, block = daily(by_fold), block_days(horizon)
    # Every day is in as many folds as any other, so that a mean over both is one over days.
    sizes = [len(f.days) for f in folds]
    constant = np.average(
        [constant_loss(f.base_rate, float(f.label.mean())) for f in folds], weights=sizes
    )
    baseline = [f.baseline_losses for f in folds if f.baseline_losses is not None]
    difference = losses - daily(baseline) if len(baseline) == len(folds) else None
    squares = [(probability(f.logit.astype(np.float64)) - f.label) ** 2 for f in folds]
    areas = [m.auc for m in found if m.auc is not None]
    errors = [m.auc_se for m in found if m.auc_se is not None]
    repeats = sum(sizes) / len(losses)
    loss = float(losses.mean())
    return Metrics(
        loss=loss,
        loss_se=standard_error(losses, block),
        half_losses=half_means(losses, block),
        difference=None if difference is None else float(difference.mean()),
        difference_se=None if difference is None else standard_error(difference, block),
        skill=skill(loss, float(constant)),
        skill_own_base_rate=skill_on(loss, float(label.mean())),
        auc=float(np.mean(areas)) if len(areas) == len(folds) else None,
        auc_se=math.sqrt(repeats * float(np.square(errors).sum())) / len(folds)
        if len(errors) == len(folds)
        else None,
        brier=float(daily(squares).mean()),
        prediction_sd=float(np.mean([m.prediction_sd for m in found])),
        prediction_min=min(m.prediction_min for m in found),
        prediction_max=max(m.prediction_max for m in found),
        logit_sd=float(np.mean([m.logit_sd for m in found])),
    )


def probability(logit: Float64Array) -> Float64Array:
    """Return the probabilities of logits, by a logistic function that does not overflow."""
    tail = np.exp(-np.abs(logit))
    return np.where(logit >= 0, 1.0, tail) / (1.0 + tail)
