"""Which epochs are collapsed where the base rate of the judged days is not that of training."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from study.results.scores import COLLAPSED_LOGIT_SD
from study.training.kept_weights import BestWeights, is_better
from study.training.metrics import Metrics, evaluate
from study.training.panel.panel_metrics import PanelMetrics
from study.training.stopping import EarlyStopping, is_collapsed
from study.training.train_config import TrainConfig

BASE_RATE = 0.2
"""Share of positives among the training samples."""

N_DAYS = 20_000


def scores(logit: np.ndarray, rate: float, *, informed: float = 0.0) -> Metrics:
    """Return the scores of logits on days with this share of positives.

    Args:
        logit: logits, shape (N_DAYS,).
        rate: share of positives.
        informed: share of the days on which the label follows the order of the logits.
    """
    rng = np.random.default_rng(7)
    order = np.where(rng.random(N_DAYS) < informed, logit, rng.permutation(logit))
    label = (order > np.quantile(order, 1 - rate)).astype(np.float32)
    found = evaluate(logit.astype(np.float32), label, base_rate=BASE_RATE)
    assert found is not None
    return found


def panel_scores(loss: float | None) -> PanelMetrics:
    """Return the scores of an epoch on a panel, of which only the loss is read."""
    own: dict[str, Any] = {field.name: 0.0 for field in dataclasses.fields(PanelMetrics)}
    return PanelMetrics(**{**own, "loss": loss, "half_losses": None})


def around(rate: float, sd: float) -> np.ndarray:
    """Return logits around that of a probability."""
    return np.random.default_rng(5).normal(np.log(rate / (1 - rate)), sd, N_DAYS)


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("sd", [0.0, COLLAPSED_LOGIT_SD / 2, 2 * COLLAPSED_LOGIT_SD])
def test_the_training_rate_is_collapsed_whatever_the_rate_of_the_days(
    rate: float, sd: float
) -> None:
    assert is_collapsed(scores(around(BASE_RATE, sd), rate))


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_a_constant_at_the_rate_of_the_days_is_collapsed_for_its_spread(rate: float) -> None:
    found = scores(around(rate, COLLAPSED_LOGIT_SD / 2), rate)
    assert found.skill > 0.02
    assert is_collapsed(found)


def test_a_model_that_knows_days_but_not_their_new_rate_is_not_collapsed() -> None:
    found = scores(around(BASE_RATE, 0.7), 0.4, informed=0.3)
    assert found.skill_own_base_rate is not None
    assert found.skill > 0.05
    # The constant that is known in hindsight is better than it.
    assert found.skill_own_base_rate < 0
    assert not is_collapsed(found)


def test_an_epoch_without_a_loss_is_no_improvement_and_never_better_than_one_with_it() -> None:
    stopping = EarlyStopping(TrainConfig(learning_rate=1e-3, epochs=9, patience=2, min_delta=0))
    for loss in (None, 1.4, None, 1.3, None):
        stopping.update(loss)
        assert not stopping.is_exhausted
    stopping.update(None)
    assert stopping.is_exhausted


def test_any_loss_is_better_than_none_and_none_only_than_no_epoch() -> None:
    unknown, negative = (panel_scores(loss) for loss in (None, 1.4))
    assert is_better(unknown, None)
    assert is_better(negative, BestWeights(1, unknown, {}))
    assert not is_better(unknown, BestWeights(1, unknown, {}))
    # A ratio of 0, which a loss of 1 stands for, would have beaten a negative one.
    assert not is_better(unknown, BestWeights(1, negative, {}))
