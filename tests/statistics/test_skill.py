import math

import numpy as np
import pytest

from study.data.evaluation.baselines import _score
from study.statistics.skill import constant_loss, skill_on
from study.training.metrics import evaluate


@pytest.mark.parametrize("rate", [0.118, 0.5])
def test_the_constant_at_the_base_rate_of_its_days_has_no_skill(rate: float) -> None:
    entropy = -rate * math.log(rate) - (1 - rate) * math.log(1 - rate)
    assert skill_on(entropy, rate) == pytest.approx(0)
    assert skill_on(0.9 * entropy, rate) == pytest.approx(0.1)


@pytest.mark.parametrize("rate", [0.0, 1.0, math.nan])
def test_days_with_one_kind_of_label_have_no_skill(rate: float) -> None:
    assert skill_on(0.3, rate) is None


@pytest.mark.parametrize("n_positive", [0, 30, 100])
def test_a_network_and_a_baseline_with_the_same_forecasts_have_the_same_skill(
    n_positive: int,
) -> None:
    base_rate, label = 0.4, (np.arange(100) < n_positive).astype(np.float32)
    logit = np.random.default_rng(3).normal(size=100).astype(np.float32)
    p = 1 / (1 + np.exp(-logit.astype(np.float64)))
    network = evaluate(logit, label, base_rate=base_rate)
    reference = constant_loss(base_rate, n_positive / 100)
    baseline = _score("other", label.astype(np.float64), p, 1, reference)
    assert network is not None
    assert network.skill == pytest.approx(baseline.skill)
    if n_positive in (0, 100):
        assert network.skill_own_base_rate is baseline.skill_own_base_rate is None
    else:
        assert network.skill_own_base_rate == pytest.approx(baseline.skill_own_base_rate)
