"""Baselines that any model must beat on the same validation days."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from study.data.arrays import PriceArray
from study.data.dataset import Dataset
from study.data.evaluation.probability_scores import auc as rank_auc
from study.data.evaluation.probability_scores import (
    daily_means,
    log_losses,
    resampled_day_indices,
)
from study.statistics.block_length import block_days
from study.statistics.mean_error import standard_error
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
    """Log-loss of each validation day, float64 of shape (n_validation,); on the folds of a search
    the days of one fold after the other."""
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

    The regression sees training days only. On the folds of a search it is fitted once for each, on
    the training days of the fold, and the scores are those of all validated days together.
    """
    if not dataset.search_folds:
        return _score_both(dataset)
    of_folds = [_score_both(fold) for fold in dataset.search_folds]
    constant = _pooled(dataset, [found[0] for found in of_folds], reference=None)
    logistic = [found[1] for found in of_folds]
    return constant, _pooled(dataset, logistic, reference=constant.log_loss)


def _pooled(dataset: Dataset, of_folds: Sequence[Baseline], *, reference: float | None) -> Baseline:
    """Return the scores of a baseline over all folds of a search.

    Means are over the days, with the errors of daily means; the AUC is the mean over the folds,
    with an error that takes fits which validate the same day for one.

    Args:
        dataset: the data set with the folds.
        of_folds: its scores on each.
        reference: log-loss of the constant on the same days; None if it is the constant.
    """
    folds = dataset.search_folds
    days = [fold.validation_days for fold in folds]
    losses = daily_means(days, [each.losses for each in of_folds])
    answer = daily_means(days, [f.labels[f.validation_days].astype(np.float64) for f in folds])
    rows = np.array([len(own) for own in days])
    areas = [each.auc for each in of_folds if each.auc is not None]
    errors = [each.auc_se for each in of_folds if each.auc_se is not None]
    loss, repeats = float(losses.mean()), rows.sum() / len(losses)
    return Baseline(
        name=of_folds[0].name,
        log_loss=loss,
        log_loss_se=standard_error(losses, block_days(dataset.horizon)),
        losses=np.concatenate([each.losses for each in of_folds]),
        auc=float(np.mean(areas)) if len(areas) == len(folds) else None,
        auc_se=float(np.sqrt(repeats * np.square(errors).sum())) / len(folds)
        if len(errors) == len(folds)
        else None,
        brier=float(np.average([each.brier for each in of_folds], weights=rows)),
        skill=skill(loss, loss if reference is None else reference),
        skill_own_base_rate=skill_on(loss, float(answer.mean())),
    )


def _score_both(dataset: Dataset) -> tuple[Baseline, Baseline]:
    """Score the constant and the regression on the validation days of one data set."""
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
