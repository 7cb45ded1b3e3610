"""What any model must beat on the same validation days."""

from dataclasses import dataclass

import numpy as np
from arch.bootstrap import CircularBlockBootstrap
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from study.data.arrays import PriceArray
from study.data.dataset import Dataset

N_RESAMPLES = 500
"""Bootstrap resamples; a standard error from 500 is itself good to 3 %."""

# A block of one horizon reads the error of overlapping labels a quarter too small. The automatic
# block length of Politis and White sees the overlap but not the slow swing between calm and rough
# months: it chose one day for the S&P 500 at horizon 1, which hides a fifth of the error there.
_BLOCK_DAYS = 20
_BLOCK_HORIZONS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """Scores of one baseline on the validation days.

    Standard errors come from a circular block bootstrap of the days, in blocks of
    max(20, 4 * horizon) days: labels overlap and calm days come together, so days are not
    independent.
    """

    name: str
    log_loss: float
    """Mean negative log likelihood, nats per day."""
    log_loss_se: float
    auc: float | None
    """None where it is undefined: a constant ranks nothing."""
    auc_se: float | None
    brier: float
    """Mean squared error of the probability."""
    skill: float
    """1 - log_loss / log loss of the constant at the training base rate."""


def score_baselines(dataset: Dataset) -> tuple[Baseline, Baseline]:
    """Score a constant at the training base rate, and logistic regression on the last day's inputs.

    The regression sees training days only. Its inputs are standardised by them under every
    normalization, and its penalty is the library's default (C = 1): with thousands of days and
    25 inputs hardly any is needed, and none is chosen by looking at validation.
    """
    train, validation = dataset.train_days, dataset.validation_days
    inputs = dataset.features.astype(np.float64)
    answer = dataset.labels[validation].astype(np.float64)
    # Newton's method: exact to rounding, and the fastest for few inputs.
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=1.0, solver="newton-cholesky", max_iter=200)
    )
    model.fit(inputs[train], dataset.labels[train])
    constant = np.full(len(validation), dataset.base_rate)
    regression = model.predict_proba(inputs[validation])[:, 1]
    reference = float(_losses(answer, constant).mean())
    return (
        _score("constant", answer, constant, dataset.horizon, reference),
        _score("logistic", answer, regression, dataset.horizon, reference),
    )


def _score(
    name: str, answer: PriceArray, probability: PriceArray, horizon: int, reference: float
) -> Baseline:
    losses = _losses(answer, probability)
    auc = _auc(answer, probability)
    block = max(_BLOCK_DAYS, _BLOCK_HORIZONS * horizon)
    bootstrap = CircularBlockBootstrap(block, np.arange(len(losses)), seed=0)
    draws = [np.asarray(days) for (days,), _ in bootstrap.bootstrap(N_RESAMPLES)]
    mean_losses = np.array([losses[days].mean() for days in draws])
    aucs = [_auc(answer[days], probability[days]) for days in draws] if auc is not None else []
    defined = np.array([value for value in aucs if value is not None])
    return Baseline(
        name=name,
        log_loss=float(losses.mean()),
        log_loss_se=float(mean_losses.std(ddof=1)),
        auc=auc,
        auc_se=float(defined.std(ddof=1)) if len(defined) > 1 else None,
        brier=float(((probability - answer) ** 2).mean()),
        skill=1 - float(losses.mean()) / reference,
    )


def _losses(answer: PriceArray, probability: PriceArray) -> PriceArray:
    losses: PriceArray = -np.log(np.where(answer == 1, probability, 1 - probability))
    return losses


def _auc(answer: PriceArray, probability: PriceArray) -> float | None:
    """Return the chance that a positive ranks above a negative, ties counting half.

    None where it is undefined: one class only, or one and the same probability everywhere.
    """
    positive = answer == 1
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if n_positive == 0 or n_negative == 0 or np.ptp(probability) == 0:
        return None
    ranks = rankdata(probability)
    wins = ranks[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(wins / (n_positive * n_negative))
