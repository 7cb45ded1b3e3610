"""A tiny panel with a planted signal, absent assets and two sectors, and a tiny model for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from study.data.panel.panel_labels import HorizonLabels
from study.data.panel.shared_inputs import SharedInputs
from study.model.model_config import ModelConfig
from study.training.panel.panel_samples import PanelTrainingData
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer

CPU = torch.device("cpu")
N_ASSETS, N_FEATURES = 6, 3
MODEL = ModelConfig(
    n_features=N_FEATURES,
    n_assets=N_ASSETS,
    n_sectors=2,
    d_model=16,
    n_layers=2,
    n_heads=2,
    d_ff_ratio=2,
    context_length=8,
    patch_length=4,
    patch_stride=2,
)
TRAIN = TrainConfig(learning_rate=1e-2, epochs=4, effective_batch=16, patience=None)


def planted_panel(*, n_train: int = 90, n_validation: int = 60, seed: int = 0) -> PanelTrainingData:
    """Return a panel whose targets are the last day's first feature and noise."""
    draw = np.random.default_rng(seed)
    n_days = n_train + n_validation + 30
    values = draw.standard_normal((n_days, N_ASSETS, N_FEATURES)).astype(np.float32)
    present = draw.random((n_days, N_ASSETS)) < 0.9
    present[:, :3] = True
    # The last asset is listed late.
    present[: n_days // 3, -1] = False
    values[~present] = 0
    noise = draw.standard_normal((n_days, N_ASSETS))
    targets = np.where(present, values[:, :, 0] + 0.5 * noise, np.nan).astype(np.float32)
    targets[40, 1] = np.nan
    first = 10 + n_train + 5
    return PanelTrainingData(
        inputs=SharedInputs(values),
        present=present,
        targets=targets,
        returns=(targets / 100).astype(np.float32),
        volatility=np.exp(draw.standard_normal(n_days) / 2).astype(np.float32),
        sectors=np.array([0, 0, 0, 1, 1, 1]),
        train_days=np.delete(np.arange(10, 10 + n_train), 30),
        validation_days=np.arange(first, first + n_validation),
        horizon=1,
        cost_bps=10.0,
        share=0.2,
        baseline_rank_ics=np.full(n_validation, 0.1),
    )


def with_heads(data: PanelTrainingData, *, seed: int = 1) -> PanelTrainingData:
    """Return a panel with labels of two further horizons, of which the second are few.

    The first ones are the last day's second feature and noise, the second ones its third feature.
    """
    draw = np.random.default_rng(seed)
    further = []
    for horizon, feature in ((5, 1), (10, 2)):
        noise = draw.standard_normal(data.present.shape)
        known = np.where(data.present, data.inputs.values[:, :, feature] + 0.5 * noise, np.nan)
        target = known.astype(np.float32)
        if horizon == 10:
            # None on some days, and of some assets on others.
            target[::3] = np.nan
            target[1::3, 0] = np.nan
        returns = (target / 50).astype(np.float32)
        further.append(HorizonLabels(horizon=horizon, returns=returns, targets=target))
    return replace(data, further=further)


DATA = planted_panel()
HEADS = with_heads(DATA)
"""The panel with labels of three horizons, for networks of as many heads."""


def make_trainer(
    *,
    model: ModelConfig = MODEL,
    train: TrainConfig = TRAIN,
    data: PanelTrainingData = DATA,
    micro_batch: int = 16,
    **changes: Any,
) -> Trainer:
    """Return a trainer on the CPU; ``changes`` are fields of TrainConfig."""
    return Trainer(
        model=model,
        train=replace(train, **changes),
        data=data,
        device=CPU,
        micro_batch=micro_batch,
        seed=7,
        bf16=False,
    )
