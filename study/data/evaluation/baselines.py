"""Baselines that any model must beat on the same validation days."""

from dataclasses import dataclass

import numpy as np

from study.data.arrays import PriceArray
from study.data.dataset import Dataset
from study.data.evaluation.probability_scores import auc as rank_auc
from study.data.evaluation.probability_scores import (
    log_losses,
    resampled_day_indices,
    standard_error,
)
from study.statistics.block_length import block_days
from study.statistics.skill import skill, skill_on


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """Scores of one baseline on the validation days.

    Standard errors are those of a circular block bootstrap of the days (see
    ``probability_scores``): labels overlap and calm days come together, so days are not
    independent.
    """

    name: str
    log_loss: float
    """Mean negative log likelihood, nats per day."""
    log_loss_se: float | None
    losses: PriceArray
    """Log-loss of each validation day, float64 of shape (n_validation,)."""
    auc: float | None
    """None where it is undefined: a constant ranks nothing."""
    auc_se: float | None
    brier: float
    """Mean squared error of the probability."""
    skill: float
    """1 - log_loss / log loss of the constant at the training base rate."""
    skill_own_base_rate: float | None
    """1 - log_loss / log loss of the constant at the base rate of the validation days; None if
    their labels are of one kind."""


def score_baselines(dataset: Dataset) -> tuple[Baseline, Baseline]:
    """Score a constant at the training base rate, and logistic regression on the last day's inputs.

    The regression sees training days only.
    """
    validation = dataset.validation_days
    answer = dataset.labels[validation].astype(np.float64)
    constant = np.full(len(validation), dataset.base_rate)
    logit = np.log(constant) - np.log1p(-constant)
    reference = float(log_losses(logit, answer).mean())
    regression = logistic_probability(dataset)
    return (
        _score("constant", answer, constant, dataset.horizon, reference),
        _score("logistic", answer, regression, dataset.horizon, reference),
    )


def logistic_probability(dataset: Dataset) -> PriceArray:
    """Return logistic regression's probability for each validation day, from the day's inputs.

    The inputs are standardised by the training days under every normalization, and the penalty is
    the library's default (C = 1): with thousands of days and 25 inputs hardly any is needed, and
    none is chosen by looking at validation.
    """
    # A second to import, which no other command on data need wait for.
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs = dataset.features.astype(np.float64)
    # Newton's method: exact to rounding, and the fastest for few inputs.
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=1.0, solver="newton-cholesky", max_iter=200)
    )
    model.fit(inputs[dataset.train_days], dataset.labels[dataset.train_days])
    probability: PriceArray = model.predict_proba(inputs[dataset.validation_days])[:, 1]
    return probability


def _score(
    name: str, answer: PriceArray, probability: PriceArray, horizon: int, reference: float
) -> Baseline:
    logit = np.log(probability) - np.log1p(-probability)
    losses = log_losses(logit, answer)
    block = block_days(horizon)
    auc = None if np.ptp(logit) == 0 else rank_auc(logit, answer)
    days_of_draws = resampled_day_indices(len(losses), block)
    aucs = [rank_auc(logit[d], answer[d]) for d in days_of_draws] if auc is not None else []
    defined = np.array([value for value in aucs if value is not None])
    return Baseline(
        name=name,
        log_loss=float(losses.mean()),
        log_loss_se=standard_error(losses, block),
        losses=losses,
        auc=auc,
        auc_se=float(defined.std(ddof=1)) if len(defined) > 1 else None,
        brier=float(((probability - answer) ** 2).mean()),
        skill=skill(float(losses.mean()), reference),
        skill_own_base_rate=skill_on(float(losses.mean()), float(answer.mean())),
    )
