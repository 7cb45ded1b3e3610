"""How far apart two networks are day by day, beside logistic regression and boosted trees.

Run by hand with ``make bench``. A plan measures the two simple models, which takes a second, and
scales their difference to that of two networks by the shares that are printed here.
"""

import itertools

import numpy as np
import pytest
import torch

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.data.evaluation.power import (
    AUC_SHARE,
    LOG_LOSS_SHARE,
    auc_difference_error,
    simple_pair,
)
from study.data.evaluation.probability_scores import log_losses
from study.model.model_config import ModelConfig
from study.statistics.block_length import block_days
from study.statistics.mean_error import standard_error
from study.training.prediction import predict_logits
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer
from study.training.windows import TrainingData

pytestmark = pytest.mark.bench

SIZES = {"20k": (16, 4), "60k": (32, 4), "200k": (64, 4)}
"""Width and layers of networks near three budgets of the small study."""
N_SEEDS = 2
FACTOR = 2
"""Largest ratio of the share that a plan counts and a median that is measured: between horizons the
medians in log-loss differ by 1.8."""
CPU = torch.device("cpu")


def logits(data: TrainingData, width: int, layers: int, seed: int) -> np.ndarray:
    """Train a network as the small study does, and return its validation logits."""
    model = ModelConfig(
        n_features=data.features.shape[1], d_model=width, n_layers=layers, n_heads=2, d_ff_ratio=2,
        context_length=60, patch_length=10, patch_stride=5, dropout=0.1, head="last",
        last_day_skip=True, auxiliary_head=True,
    )  # fmt: skip
    train = TrainConfig(
        learning_rate=2e-3, epochs=8, weight_decay=0.01, auxiliary_weight=0.5, ema_decay=0.98,
        patience=None,
    )  # fmt: skip
    trainer = Trainer(
        model=model, train=train, data=data, device=CPU, micro_batch=256, seed=seed, bf16=False
    )
    while trainer.run_epoch().stop_reason is None:
        pass
    weights = trainer.best_weights()
    assert weights is not None
    found = predict_logits(model, weights, data.features, data.validation_days, device=CPU)
    return np.asarray(found, dtype=np.float64)


@pytest.mark.parametrize("horizon", [1, 3, 5])
def test_two_networks_are_nearer_than_simple_models_by_the_share(horizon: int) -> None:
    built = build_dataset(DataConfig(horizon=horizon))
    data = TrainingData.of(built)
    label = built.labels[built.validation_days].astype(np.float64)

    def errors(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the standard errors of the differences in log-loss and in AUC."""
        differences = log_losses(second, label) - log_losses(first, label)
        found = standard_error(differences, block_days(horizon))
        area = auc_difference_error((first, second), label, horizon)
        return np.array([found, area], dtype=np.float64)

    simple = errors(*simple_pair(built))
    runs = {
        name: [logits(data, *shape, seed) for seed in range(N_SEEDS)]
        for name, shape in SIZES.items()
    }
    pairs = {
        "two sizes": [
            pair
            for first, second in itertools.combinations(runs.values(), 2)
            for pair in itertools.product(first, second)
        ],
        "two seeds": [pair for own in runs.values() for pair in itertools.combinations(own, 2)],
    }
    shares = {name: np.array([errors(*pair) / simple for pair in each])
              for name, each in pairs.items()}  # fmt: skip
    print(f"\nhorizon {horizon}: error of logistic regression and trees {simple[0]:.4f} nats, "
          f"{simple[1]:.4f} AUC; between networks, as shares of these:")  # fmt: skip
    for name, found in shares.items():
        for score, own in zip(("log-loss", "AUC"), found.T, strict=True):
            low, middle, high = np.quantile(own, [0.1, 0.5, 0.9])
            print(f"  {name}, {score}: median {middle:.2f}, 80 % of {len(own)} pairs from "
                  f"{low:.2f} to {high:.2f}")  # fmt: skip
    medians = np.median(shares["two sizes"], axis=0)
    for share, middle in zip((LOG_LOSS_SHARE, AUC_SHARE), medians, strict=True):
        assert share.value / FACTOR <= middle <= FACTOR * share.value
