import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from study.training.metrics import evaluate, probability


@settings(max_examples=60, deadline=None)
@given(
    data=st.data(),
    n=st.integers(2, 60),
    # Few distinct values, so that ties are the rule; wide ones, so that probabilities are extreme.
    values=st.sampled_from(
        [(-2.0, 0.0, 0.5), (-12.0, -1.0, 12.0), tuple(k / 8 for k in range(-30, 30))]
    ),
)
def test_metrics_equal_scikit_learn(data: st.DataObject, n: int, values: tuple[float, ...]) -> None:
    logit = data.draw(arrays(np.float32, n, elements=st.sampled_from(values)))
    label = data.draw(arrays(np.float32, n, elements=st.sampled_from([0.0, 1.0])))
    metrics = evaluate(logit, label, base_rate=0.3)
    assert metrics is not None
    p = probability(logit.astype(np.float64))
    assert metrics.loss == pytest.approx(log_loss(label, p, labels=[0, 1]), rel=1e-9, abs=1e-12)
    assert metrics.brier == pytest.approx(brier_score_loss(label, p), abs=1e-12)
    constant = log_loss(label, np.full(n, 0.3), labels=[0, 1])
    assert metrics.skill == pytest.approx(1 - metrics.loss / constant)
    if len(np.unique(label)) == 2:
        assert metrics.auc == pytest.approx(roc_auc_score(label, logit), abs=1e-12)
        own = log_loss(label, np.full(n, float(label.mean())), labels=[0, 1])
        assert metrics.skill_own_base_rate == pytest.approx(1 - metrics.loss / own)
    else:
        assert metrics.auc is None
        assert metrics.skill_own_base_rate is None
    assert metrics.logit_sd == pytest.approx(float(logit.astype(np.float64).std()))
    assert metrics.prediction_min == p.min()
    assert metrics.prediction_max == p.max()


def test_a_constant_at_the_base_rate_has_no_skill_and_no_spread() -> None:
    logit = np.full(1000, math.log(0.118 / 0.882), np.float32)
    label = np.zeros(1000, np.float32)
    label[:118] = 1
    metrics = evaluate(logit, label, base_rate=0.118)
    assert metrics is not None
    assert metrics.loss == pytest.approx(0.3629, abs=5e-5)  # looks like a result, and is none
    assert metrics.skill == pytest.approx(0, abs=1e-7)
    assert metrics.auc == 0.5
    assert metrics.logit_sd == pytest.approx(0, abs=1e-12)


def test_extreme_logits_stay_exact() -> None:
    metrics = evaluate(
        np.array([1000, -1000], np.float32), np.array([0, 1], np.float32), base_rate=0.5
    )
    assert metrics is not None
    assert metrics.loss == 1000
    assert (metrics.prediction_min, metrics.prediction_max) == (0, 1)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_have_no_score(broken: float) -> None:
    assert (
        evaluate(np.array([0, broken], np.float32), np.array([0, 1], np.float32), base_rate=0.5)
        is None
    )
