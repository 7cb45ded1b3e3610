"""What a lean step costs in time, by a full one, on networks of 200 million parameters.

Run by hand with ``make bench ARGS="-k lean_step"``: about five minutes on two cores.
"""

import dataclasses
import statistics
from pathlib import Path
from typing import get_args

import pytest
import torch

from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters
from study.training.device import supports_bf16
from study.training.train_config import Memory, TrainConfig
from study.training.trainer import Trainer
from tests.model.trial_peak import market

pytestmark = pytest.mark.bench

MOST_RATIO = 1.6
"""Seconds of a lean step by those of a full one; computing each layer again is 1.33 of it."""

BATCH = 256
N_TIMED = 3
CPU = torch.device("cpu")
SHAPES = ((1024, 16, 4), (512, 64, 4))
"""Width, depth and ratio of the feed-forward block: the widest usual layer, and a deep model."""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_lean_step_takes_little_longer_than_a_full_one(
    shape: tuple[int, int, int], tmp_path: Path
) -> None:
    width, layers, ratio = shape
    data = market(25, BATCH)
    # The validation of a few windows is no part of what is timed.
    data = dataclasses.replace(data, validation_days=data.validation_days[:2])
    model = ModelConfig(
        n_features=25, d_model=width, n_layers=layers, n_heads=8, d_ff_ratio=ratio,
        context_length=60, patch_length=10, patch_stride=5, dropout=0.2, head="last",
        last_day_skip=True, auxiliary_head=True,
    )  # fmt: skip
    trainers = {}
    for memory in get_args(Memory):
        train = TrainConfig(
            learning_rate=3e-4, weight_decay=0.01, epochs=N_TIMED + 1, effective_batch=BATCH,
            auxiliary_weight=0.5, ema_decay=0.95, patience=None, collapse_grace_share=1.0,
            memory=memory,
        )  # fmt: skip
        trainers[memory] = Trainer(
            model=model, train=train, data=data, device=CPU, micro_batch=BATCH, seed=0,
            bf16=supports_bf16(CPU), scratch=tmp_path,
        )  # fmt: skip
    seconds: dict[Memory, list[float]] = {memory: [] for memory in trainers}
    for number in range(N_TIMED + 1):
        for memory, trainer in trainers.items():
            report = trainer.run_epoch()
            if number:
                seconds[memory].append(report.step_seconds)
    found = statistics.median(
        lean / full for lean, full in zip(seconds["lean"], seconds["full"], strict=True)
    )
    full, lean = (statistics.median(seconds[memory]) for memory in ("full", "lean"))
    print(
        f"\nd{width} L{layers} x{ratio}, {count_parameters(model) / 1e6:.1f}M: "
        f"full {full:.1f} s, lean {lean:.1f} s, {found:.2f} of it"
    )
    assert found <= MOST_RATIO
