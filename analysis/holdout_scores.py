"""Scores of a model's probabilities, each with its interval over days and seeds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.statistics.day_resampling import DaySamples, mean_over_seeds
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate, estimate
from analysis.study_records import Predictions
from study.results.scores import COLLAPSED_LOGIT_SD

N_BINS = 10
"""Number of bins of equal count in the reliability curve."""

_LOSS = (0.0, None)
_SKILL = (None, 1.0)
_SHARE = (0.0, 1.0)
"""Least and greatest value of a score."""

LEAST_SKILL = 0.005
"""Skill against the days' own base rate that the upper bound of a model must reach, or the model
says no more than a constant.

A search calls an epoch collapsed by another rule, skill <= 0 against the training base rate: it
has one number without an interval, in every epoch. On the test days the interval is known, and a
model counts as next to constant only if the days exclude that it has more skill.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """One bin of equal count."""

    predicted: float
    """Mean probability."""
    observed: float
    """Share of positives in the bin."""
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Decisions:
    """Consequences of saying yes from a probability on; means over seeds."""

    threshold: float
    """The least probability at which it says yes, a mean over days."""
    accuracy: Estimate
    majority_accuracy: float
    """Accuracy of always giving the commoner answer of these days."""
    precision: float | None
    """Share of positives among the days with a yes; None if it never says yes."""
    recall: float | None
    said_yes: float
    """Number of days with a yes, a mean over seeds."""
    positives: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """A model's scores on the days of a part. Losses are in nats per day."""

    model: str
    n_days: int
    n_seeds: int
    log_loss: Estimate
    skill_train_prior: Estimate
    """Skill 1 - loss / loss of a constant at the base rate of the training days."""
    skill_own_prior: Estimate
    """Skill 1 - loss / loss of a constant at the base rate of these days."""
    auc: Estimate
    brier: Estimate
    ece: Estimate
    """Expected calibration error over ten bins of equal count."""
    logit_sd: float
    """Spread of the answers, a mean over seeds."""
    is_next_to_constant: bool
    """Do the answers vary less than ``COLLAPSED_LOGIT_SD``, or is the skill surely next to none?"""
    decisions: tuple[Decisions, Decisions]
    """Decisions at a probability of one half, and at the base rate of the training days."""
    reliability: list[Reliability]
    """Reliability curve of the mean probability over seeds."""


def score_model(
    predictions: Predictions, model: str, train_prior: Floats, days: DaySamples
) -> Scores:
    """Score a model.

    Args:
        predictions: of a part's days.
        model: its name there.
        train_prior: base rate of the training days, for each day, shape (n_days,).
        days: samples of the part's days.
    """
    y, p = predictions.y, predictions.p[model]
    losses = predictions.losses(model)
    own_prior = float(y.mean())
    constant = _constant_losses(y, train_prior)
    own = _constant_losses(y, np.full(len(y), own_prior))
    mean, sampled = losses.mean(axis=1), days.means(losses)
    against_train = 1 - sampled / days.means(constant[None])
    # The constant at each sample's own base rate: what is known in hindsight.
    rates = np.clip(days.means(y[None])[:, 0], 1e-6, 1 - 1e-6)
    entropy = -(rates * np.log(rates) + (1 - rates) * np.log1p(-rates))
    against_own = 1 - sampled / entropy[:, None]
    logit_sd = float(np.mean(np.std(np.log(p) - np.log1p(-p), axis=1)))
    skill = _estimate(1 - mean / own.mean(), against_own, days, _SKILL)
    assert skill.high is not None
    return Scores(
        model=model,
        n_days=len(y),
        n_seeds=len(p),
        log_loss=_estimate(mean, sampled, days, _LOSS),
        skill_train_prior=_estimate(1 - mean / constant.mean(), against_train, days, _SKILL),
        skill_own_prior=skill,
        auc=_of_each(aucs, p, y, days),
        brier=_mean((p - y) ** 2, days),
        ece=_of_each(calibration_errors, p, y, days),
        logit_sd=logit_sd,
        is_next_to_constant=logit_sd < COLLAPSED_LOGIT_SD or skill.high < LEAST_SKILL,
        decisions=(_decide(p, y, np.full(len(y), 0.5), days), _decide(p, y, train_prior, days)),
        reliability=reliability(p.mean(axis=0), y),
    )


def _decide(p: Floats, y: Floats, threshold: Floats, days: DaySamples) -> Decisions:
    said_yes = p >= threshold
    right = (said_yes == y).astype(np.float64)
    hits = float((said_yes & (y == 1)).sum(axis=1).mean())
    n_yes = float(said_yes.sum(axis=1).mean())
    rate = float(y.mean())
    return Decisions(
        threshold=float(threshold.mean()),
        accuracy=_mean(right, days),
        majority_accuracy=max(rate, 1 - rate),
        precision=hits / n_yes if n_yes else None,
        recall=hits / y.sum() if y.sum() else None,
        said_yes=n_yes,
        positives=int(y.sum()),
    )


def aucs(p: Floats, y: Floats, counts: Floats) -> Floats:
    """Return the area under the ROC curve in each sample of days; ties count half.

    Args:
        p: probabilities of the days, shape (n_days,).
        y: 0 or 1, shape (n_days,).
        counts: how often each day is in each sample, shape (n_samples, n_days).

    Returns: shape (n_samples,); NaN where a class is missing, 0.5 for a constant.
    """
    _, group = np.unique(p, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    positive = np.add.reduceat((counts * y)[:, order], starts, axis=1)
    negative = np.add.reduceat((counts * (1 - y))[:, order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((positive * below).sum(axis=1) / pairs)


def calibration_errors(p: Floats, y: Floats, counts: Floats) -> Floats:
    """Return the mean distance of predicted and observed shares over bins, in each sample of days.

    The bins are those of equal count of all days. Arguments and shape as of ``aucs``.
    """
    order = np.argsort(p, kind="stable")
    sizes = [len(part) for part in np.array_split(order, min(N_BINS, len(order)))]
    starts = np.cumsum([0, *sizes[:-1]])
    gaps = np.add.reduceat((counts * (p - y))[:, order], starts, axis=1)
    return np.asarray(np.abs(gaps).sum(axis=1) / counts.sum(axis=1))


def reliability(p: Floats, y: Floats) -> list[Reliability]:
    """Return predicted and observed shares in bins of equal count, ascending."""
    order = np.argsort(p, kind="stable")
    return [
        Reliability(predicted=float(p[rows].mean()), observed=float(y[rows].mean()), n=len(rows))
        for rows in np.array_split(order, min(N_BINS, len(order)))
    ]


def _constant_losses(y: Floats, prior: Floats) -> Floats:
    positive, negative = -np.log(prior), -np.log1p(-prior)
    return np.asarray(np.where(y == 1, positive, negative))


def _of_each(
    score: Callable[[Floats, Floats, Floats], Floats], p: Floats, y: Floats, days: DaySamples
) -> Estimate:
    """Return the mean of a score between 0 and 1 over seeds with its interval."""
    once = np.ones((1, len(y)))
    value = np.array([score(seed, y, once)[0] for seed in p])
    sampled = np.stack([score(seed, y, days.counts) for seed in p], axis=1)
    return _estimate(value, sampled, days, _SHARE)


def _mean(values: Floats, days: DaySamples) -> Estimate:
    """Return the mean of daily values between 0 and 1 with its interval."""
    return _estimate(values.mean(axis=1), days.means(values), days, _SHARE)


def _estimate(
    value: Floats, sampled: Floats, days: DaySamples, bounds: tuple[float | None, float | None]
) -> Estimate:
    """Return the mean of a score over seeds with its interval.

    Args:
        value: of all days, shape (n_seeds,).
        sampled: of each sample of days, shape (n_resamples, n_seeds).
        days: the samples.
        bounds: beyond which the score cannot be.
    """
    spread = mean_over_seeds(days.stretched(sampled, value), np.random.default_rng(0))
    return estimate(float(value.mean()), np.clip(spread, *bounds))
