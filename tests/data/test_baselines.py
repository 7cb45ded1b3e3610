import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.data.evaluation.baselines import _score, score_baselines
from study.data.prices import Prices


def test_scores_on_the_sp500(sp500: Prices) -> None:
    dataset = build_dataset(DataConfig(horizon=1), sp500)
    constant, logistic = score_baselines(dataset)
    answer = dataset.labels[dataset.validation_days]
    expected = log_loss(answer, np.full(len(answer), dataset.base_rate))
    assert constant.log_loss == pytest.approx(expected)
    assert (constant.auc, constant.auc_se, constant.skill) == (None, None, 0.0)
    # Measured; a leak would be far better, a broken input far worse.
    assert logistic.log_loss == pytest.approx(0.383, abs=0.002)
    assert logistic.auc == pytest.approx(0.800, abs=0.005)
    assert logistic.skill == pytest.approx(1 - logistic.log_loss / constant.log_loss)


def test_scores_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(5)
    probability = np.round(generator.uniform(0.05, 0.95, 400), 1)
    answer = (generator.random(400) < probability).astype(float)
    score = _score("model", answer, probability, 1, 0.69)
    assert score.log_loss == pytest.approx(log_loss(answer, probability))
    assert score.auc == pytest.approx(roc_auc_score(answer, probability))
    assert score.brier == pytest.approx(brier_score_loss(answer, probability))
    # Independent days: the block bootstrap must agree with the plain standard error.
    losses = -np.log(np.where(answer == 1, probability, 1 - probability))
    assert score.log_loss_se == pytest.approx(losses.std() / 20, rel=0.3)


def test_overlapping_labels_widen_the_standard_error() -> None:
    generator = np.random.default_rng(5)
    answer = np.repeat((generator.random(1000) < 0.4).astype(float), 5)
    probability = np.full(5000, 0.3)
    losses = -np.log(np.where(answer == 1, probability, 1 - probability))
    score = _score("constant", answer, probability, 5, 0.69)
    # Five equal days in a row hold one day's information: sqrt(5) = 2.2 times the plain error.
    assert score.log_loss_se is not None
    assert score.log_loss_se > 1.7 * losses.std() / np.sqrt(5000)


def test_auc_is_none_where_it_is_undefined() -> None:
    one_class = _score("model", np.ones(50), np.linspace(0.1, 0.9, 50), 1, 0.69)
    constant = _score("model", np.tile([0.0, 1.0], 25), np.full(50, 0.4), 1, 0.69)
    assert one_class.auc is None
    assert constant.auc is None
