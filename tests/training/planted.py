"""A tiny market with a planted answer, and a tiny model for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from study.model.model_config import ModelConfig
from study.results.epoch_report import EpochReport
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer
from study.training.windows import TrainingData

CPU = torch.device("cpu")
N_FEATURES = 4
MODEL = ModelConfig(
    n_features=N_FEATURES,
    d_model=32,
    n_layers=2,
    n_heads=2,
    d_ff_ratio=2,
    context_length=12,
    patch_length=4,
    patch_stride=2,
)
TRAIN = TrainConfig(learning_rate=3e-3, epochs=6, effective_batch=64, patience=None)


def planted_data(
    *, signal: float = 3.0, n_train: int = 300, n_validation: int = 150, seed: int = 0
) -> TrainingData:
    """Return labels whose log-odds are ``signal`` times the last day's first feature, less one."""
    draw = np.random.default_rng(seed)
    n_days = n_train + n_validation + 40
    features = draw.standard_normal((n_days, N_FEATURES)).astype(np.float32)
    chance = 1 / (1 + np.exp(1 - signal * features[:, 0]))
    labels = (draw.random(n_days) < chance).astype(np.float32)
    train_days = np.arange(20, 20 + n_train)
    first = 20 + n_train + 10
    return TrainingData(
        features=features,
        labels=labels,
        auxiliary=(features[:, 0] ** 2 - 1).astype(np.float32),
        falls=(features[:, 1] > 1).astype(np.float32),
        train_days=train_days,
        validation_days=np.arange(first, first + n_validation),
        base_rate=float(labels[train_days].mean()),
    )


DATA = planted_data()


def make_trainer(
    *,
    model: ModelConfig = MODEL,
    train: TrainConfig = TRAIN,
    data: TrainingData = DATA,
    micro_batch: int = 64,
    seed: int = 7,
    bf16: bool = False,
    **changes: Any,
) -> Trainer:
    """Return a trainer on the CPU; ``changes`` are fields of TrainConfig."""
    return Trainer(
        model=model,
        train=replace(train, **changes),
        data=data,
        device=CPU,
        micro_batch=micro_batch,
        seed=seed,
        bf16=bf16,
    )


def run_to_end(trainer: Trainer) -> list[EpochReport]:
    """Train to the end, and return every report of the trial."""
    reports = [trainer.run_epoch()]
    while reports[-1].stop_reason is None:
        reports.append(trainer.run_epoch())
    return reports


_MEASURED = (
    "data_seconds",
    "step_seconds",
    "validation_seconds",
    "samples_per_second",
    "pretrain_seconds",
)
"""Fields of a report that a clock measures."""


def trace(reports: list[EpochReport]) -> list[dict[str, Any]]:
    """Return reports without the values that depend on a clock or on the process's memory."""
    left_out = (*_MEASURED, "peak_memory_bytes")
    return [
        {
            name: getattr(report, name)
            for name in EpochReport.__dataclass_fields__
            if name not in left_out
        }
        for report in reports
    ]
