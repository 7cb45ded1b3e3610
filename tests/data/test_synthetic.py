import numpy as np
import pytest

from study.data.baselines import score_baselines
from study.data.config import DataConfig
from study.data.dataset import build_dataset
from study.data.labels import make_labels
from study.data.synthetic import SyntheticMarket, simulate_market


def test_the_same_seed_draws_the_same_market(market: SyntheticMarket) -> None:
    again = simulate_market(n_days=3000, seed=11)
    assert again.prices.fingerprint == market.prices.fingerprint
    other = simulate_market(n_days=3000, seed=12)
    assert other.prices.fingerprint != market.prices.fingerprint
    assert market.prices.name == "synthetic"


def test_the_exact_probability_is_the_frequency() -> None:
    market = simulate_market(n_days=60_000, seed=7)
    probability = market.bayes_probability()[:-1]
    label = make_labels(market.prices.frame, kind="high", horizon=1, threshold=0.01)[:-1]
    # Published for this market: base rate .369 +- .008, Bayes log loss .633 +- .004.
    assert probability.mean() == pytest.approx(0.369, abs=0.008)
    entropy = -(
        probability * np.log(probability) + (1 - probability) * np.log(1 - probability)
    ).mean()
    assert entropy == pytest.approx(0.6327, abs=0.004)
    # In every tenth of the forecasts, as many hits as forecast, within four standard errors.
    for tenth in np.array_split(np.argsort(probability), 10):
        expected = probability[tenth].mean()
        error = np.sqrt(expected * (1 - expected) / len(tenth))
        assert abs(label[tenth].mean() - expected) < 4 * error


def test_no_baseline_beats_the_exact_answer() -> None:
    market = simulate_market(n_days=20_000, seed=3)
    dataset = build_dataset(DataConfig(horizon=1), market.prices)
    constant, logistic = score_baselines(dataset)
    first = len(market.prices.frame) - 20_000 + 219
    probability = market.bayes_probability()[first + dataset.validation_days]
    answer = dataset.labels[dataset.validation_days]
    bayes = -np.log(np.where(answer == 1, probability, 1 - probability)).mean()
    assert bayes < logistic.log_loss < constant.log_loss
    # Beyond the answer by this much and the inputs would know the future.
    assert logistic.log_loss - bayes < 0.02
