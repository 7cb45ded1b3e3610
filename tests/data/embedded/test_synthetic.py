import numpy as np
import pytest

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.data.embedded.synthetic import (
    SyntheticMarket,
    bayes_probability,
    next_variances,
    simulate_market,
)
from study.data.evaluation.baselines import score_baselines
from study.data.evaluation.probability_scores import auc
from study.data.labels import make_labels
from study.data.sources import load_prices


def test_the_same_seed_draws_the_same_market(market: SyntheticMarket) -> None:
    again = simulate_market(n_days=3000, seed=11)
    assert again.prices.fingerprint == market.prices.fingerprint
    other = simulate_market(n_days=3000, seed=12)
    assert other.prices.fingerprint != market.prices.fingerprint
    assert market.prices.name == "synthetic"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("horizon", "base_rate", "bayes_loss", "expected_auc"),
    [(1, 0.3690, 0.6327, 0.631), (3, 0.5943, 0.6613, 0.598), (5, 0.6787, 0.6181, 0.588)],
)
def test_the_exact_probability_is_the_frequency(
    horizon: int, base_rate: float, bayes_loss: float, expected_auc: float
) -> None:
    market = simulate_market(n_days=100_000, seed=7)
    probability = bayes_probability(market.next_variance, horizon=horizon)[:-horizon]
    label = make_labels(market.prices.frame, kind="high", horizon=horizon, threshold=0.01)
    label = label[:-horizon]
    # Planted in the market: base rate within .008, Bayes log loss within .004, AUC within .005.
    assert label.mean() == pytest.approx(base_rate, abs=0.008)
    entropy = -(
        probability * np.log(probability) + (1 - probability) * np.log(1 - probability)
    ).mean()
    assert entropy == pytest.approx(bayes_loss, abs=0.004)
    # What the labels say of it: within three standard errors of these days.
    losses = -np.log(np.where(label == 1, probability, 1 - probability))
    assert abs(losses.mean() - entropy) < 3 * losses.std() / np.sqrt(len(losses) / horizon)
    assert auc(probability, label.astype(np.float64)) == pytest.approx(expected_auc, abs=0.005)
    # In every tenth of the forecasts, as many hits as forecast, within four standard errors.
    for tenth in np.array_split(np.argsort(probability), 10):
        expected = probability[tenth].mean()
        error = np.sqrt(expected * (1 - expected) / len(tenth) * horizon)
        assert abs(label[tenth].mean() - expected) < 4 * error


@pytest.mark.slow
def test_no_baseline_beats_the_exact_answer() -> None:
    market = simulate_market(n_days=20_000, seed=3)
    dataset = build_dataset(DataConfig(horizon=1), market.prices)
    constant, logistic = score_baselines(dataset)
    first = len(market.prices.frame) - 20_000 + 219
    probability = bayes_probability(market.next_variance)[first + dataset.validation_days]
    answer = dataset.labels[dataset.validation_days]
    bayes = -np.log(np.where(answer == 1, probability, 1 - probability)).mean()
    assert bayes < logistic.log_loss < constant.log_loss
    # Beyond the answer by this much and the inputs would know the future.
    assert logistic.log_loss - bayes < 0.02


def test_the_table_of_several_days_agrees_with_the_closed_form_of_one() -> None:
    variance = np.geomspace(1e-5, 1e-3, 20)
    exact = bayes_probability(variance)
    # A second day can only add a chance; the first one's is known exactly.
    two = bayes_probability(variance, horizon=2)
    assert (two > exact).all()
    assert (np.diff(two) > 0).all()


def test_the_market_by_name_knows_its_own_variance() -> None:
    prices = load_prices("synthetic")
    again = simulate_market(n_days=len(prices.frame), seed=7)
    assert prices.fingerprint == again.prices.fingerprint
    found = next_variances(prices.frame["Close"].to_numpy())
    assert np.allclose(found, again.next_variance, rtol=1e-9)
