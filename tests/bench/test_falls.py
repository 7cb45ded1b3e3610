"""What a network and a linear model gain from the label of falls, on validation days alone.

Run by hand with ``make bench``. Nothing is chosen here: every network trains its whole schedule and
answers with the averaged weights of the last epoch. The validation days of a later fold are test
days of an earlier one, so what is chosen by this table has seen their labels once.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from study.data.data_config import DataConfig
from study.data.dataset import Dataset, build_dataset
from study.data.evaluation.baselines import logistic_probability
from study.data.evaluation.probability_scores import log_losses
from study.final.answers.baseline_predictions import both_sides_probability
from study.model.model_config import ModelConfig
from study.statistics.block_length import judged_block_days
from study.statistics.mean_error import standard_error
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer
from study.training.windows import TrainingData

pytestmark = pytest.mark.bench

RECIPES = {
    "network": (0.0, 0.0),
    "network, range": (0.5, 0.0),
    "network, falls": (0.0, 1.0),
    "network, range and falls": (0.5, 1.0),
}
"""Weights of the two auxiliary targets: the log range and the label of falls."""
MARKETS = ("sp500-long", "sp500")


def network_losses(data: Dataset, auxiliary_weight: float, fall_weight: float) -> np.ndarray:
    """Train a network of about 60k parameters, and return its losses on the validation days."""
    model = ModelConfig(
        n_features=data.features.shape[1], d_model=32, n_layers=4, n_heads=4, d_ff_ratio=4,
        context_length=60, patch_length=10, patch_stride=5, dropout=0.2, head="last",
        last_day_skip=True, auxiliary_head=auxiliary_weight > 0,
    )  # fmt: skip
    train = TrainConfig(
        learning_rate=2e-3, epochs=12, weight_decay=0.05, auxiliary_weight=auxiliary_weight,
        fall_weight=fall_weight, ema_decay=0.98, patience=None,
    )  # fmt: skip
    trainer = Trainer(
        model=model, train=train, data=TrainingData.of(data), device=torch.device("cpu"),
        micro_batch=256, seed=0, bf16=False,
    )  # fmt: skip
    while trainer.run_epoch().stop_reason is None:
        pass
    logit = trainer.predict(data.validation_days).astype(np.float64)
    return log_losses(logit, data.labels[data.validation_days].astype(np.float64))


def linear_losses(data: Dataset, *, both_sides: bool) -> np.ndarray:
    """Fit logistic regression, to falls too if asked for, and return its validation losses."""
    judged = data.validation_days
    if not both_sides:
        p = logistic_probability(data)
    else:
        assert data.falls is not None
        p = both_sides_probability(data.features, data.labels, data.falls, data.train_days)[judged]
    answers: np.ndarray = data.labels[judged].astype(np.float64)
    return log_losses(np.log(p) - np.log1p(-p), answers)


def paired(losses: np.ndarray, other: np.ndarray, horizon: int) -> tuple[float, float]:
    """Return the mean difference of two models' losses and its standard error."""
    difference = losses - other
    error = standard_error(difference, judged_block_days(horizon, len(difference)))
    assert error is not None
    return float(difference.mean()), error


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("horizon", [1, 3])
def test_auxiliary_targets_teach_what_a_rise_tells_too_rarely(market: str, horizon: int) -> None:
    config = DataConfig(horizon=horizon, source=market)
    n_folds = build_dataset(config).n_folds
    parts = [build_dataset(config, fold=k) for k in range(n_folds)] if n_folds > 1 else [
        build_dataset(config)
    ]  # fmt: skip

    def of_all(each: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(each)

    losses = {
        "logistic": of_all([linear_losses(part, both_sides=False) for part in parts]),
        "logistic, both sides": of_all([linear_losses(part, both_sides=True) for part in parts]),
    }
    for name, weights in RECIPES.items():
        losses[name] = of_all([network_losses(part, *weights) for part in parts])
    n_days = len(losses["logistic"])
    print(f"\n{market}, horizon {horizon}, {n_days} validation days of {len(parts)} folds: "
          "log-loss, less logistic, less both sides")  # fmt: skip
    for name, own in losses.items():
        (a, a_error), (b, b_error) = (
            paired(own, losses[other], horizon) for other in ("logistic", "logistic, both sides")
        )
        print(f"  {name:26s} {own.mean():.4f}  {a:+.4f} +- {a_error:.4f}  "
              f"{b:+.4f} +- {b_error:.4f}")  # fmt: skip
    # Both targets help a network everywhere; falls beside the range do on the long history.
    assert losses["network, range and falls"].mean() < losses["network"].mean()
    if market == "sp500-long" and horizon == 1:
        gain, error = paired(
            losses["network, range and falls"], losses["network, range"], horizon
        )  # fmt: skip
        assert gain + 2 * error < 0
