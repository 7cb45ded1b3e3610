"""What the lean memory mode costs in validation loss, on networks of 20 million parameters.

Run by hand with ``make bench``: five configurations with three seeds each, in full and in lean
memory and, to show that the check can fail, in lean memory with weights rounded to the nearest.
Windows are short and batches small, so that a step is mostly weights. Learning rates are low: most
changes of a step are then less than half of what bfloat16 resolves, which only rounding at random
survives. Without a linear path from the last day, what is learnt passes through the layers.

``LEAN_RUNS=FILE`` keeps the curves as lines of JSON, so that an interrupted bench goes on;
``LEAN_CURVES=FILE.svg`` draws them.
"""

import json
import os
import statistics
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.model.model_config import ModelConfig
from study.results.scores import Validation
from study.training.device import supports_bf16
from study.training.lean import lean_adamw
from study.training.train_config import Memory, TrainConfig
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from tests.training.lean.nearest import to_nearest

pytestmark = pytest.mark.bench

MOST_MEAN_DIFFERENCE = 0.002
"""Nats by which the mean validation loss of the two modes may differ."""

EPOCHS = 2
BATCH = 64
HORIZON = 3
CPU = torch.device("cpu")
N_SEEDS_OF = {"full": 3, "lean": 3, "nearest": 1}
"""Seeds of each kind; one shows how rounding to the nearest fails."""


class Recipe(NamedTuple):
    """A configuration of about 20 million parameters."""

    width: int
    layers: int
    ratio: int
    dropout: float
    learning_rate: float
    weight_decay: float
    ema_decay: float


RECIPES = (
    Recipe(384, 12, 4, 0.2, 3e-5, 0.01, 0.95),
    Recipe(512, 6, 4, 0.3, 3e-5, 0.05, 0.9),
    Recipe(768, 3, 4, 0.2, 2e-5, 0.1, 0.95),
    Recipe(256, 24, 4, 0.4, 5e-5, 0.02, 0.95),
    Recipe(1024, 2, 2, 0.3, 1e-4, 0.2, 0.9),
)


def curve(
    data: TrainingData, recipe: Recipe, memory: Memory, seed: int, scratch: Path
) -> list[float]:
    """Train one network, and return its validation loss after every epoch, in nats."""
    model = ModelConfig(
        n_features=data.features.shape[1], d_model=recipe.width, n_layers=recipe.layers,
        n_heads=8, d_ff_ratio=recipe.ratio, context_length=20, patch_length=10, patch_stride=5,
        dropout=recipe.dropout, head="last", last_day_skip=False, auxiliary_head=True,
    )  # fmt: skip
    train = TrainConfig(
        learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay, epochs=EPOCHS,
        effective_batch=BATCH, auxiliary_weight=0.5, ema_decay=recipe.ema_decay, patience=None,
        memory=memory,
    )  # fmt: skip
    trainer = Trainer(
        model=model, train=train, data=data, device=CPU, micro_batch=BATCH, seed=seed,
        bf16=supports_bf16(CPU), scratch=scratch,
    )  # fmt: skip
    losses = []
    for _ in range(EPOCHS):
        validation = trainer.run_epoch().validation
        assert isinstance(validation, Validation)
        losses.append(validation.loss)
    return losses


def all_curves(kept: Path, scratch: Path) -> dict[tuple[str, int, int], list[float]]:
    """Return the curves by kind, recipe and seed; those that ``kept`` has are not trained again."""
    lines = kept.read_text().splitlines() if kept.exists() else []
    found = {tuple(key): losses for key, losses in map(json.loads, lines)}
    data = TrainingData.of(build_dataset(DataConfig(horizon=HORIZON, context_length=20)))
    for seed in range(max(N_SEEDS_OF.values())):
        for number, recipe in enumerate(RECIPES):
            for kind, n_seeds in N_SEEDS_OF.items():
                key = (kind, number, seed)
                if key in found or seed >= n_seeds:
                    continue
                with pytest.MonkeyPatch.context() as patch:
                    if kind == "nearest":
                        patch.setattr(lean_adamw, "round_stochastically", to_nearest)
                    memory: Memory = "full" if kind == "full" else "lean"
                    found[key] = curve(data, recipe, memory, seed, scratch)
                with kept.open("a") as file:
                    file.write(json.dumps([key, found[key]]) + "\n")
    return found


def draw_curves(curves: dict[tuple[str, int, int], list[float]], path: Path) -> None:
    """Draw the validation loss of every recipe by epoch, a line for each seed and kind."""
    figure, axes = plt.subplots(1, len(RECIPES), figsize=(12, 3), layout="constrained")
    colours = dict(zip(N_SEEDS_OF, ("#0b6e99", "#c4451c", "#8a8a8a"), strict=True))
    epochs = range(1, EPOCHS + 1)
    for number, (recipe, panel) in enumerate(zip(RECIPES, axes, strict=True)):
        for (kind, own, seed), losses in curves.items():
            if own == number:
                label = kind if seed == 0 else None
                panel.plot(epochs, losses, color=colours[kind], lw=1, marker=".", label=label)
        panel.set_title(f"d{recipe.width} L{recipe.layers}", fontsize=9)
        panel.set_xticks(epochs)
    axes[0].set_ylabel("validation log-loss, nats")
    axes[0].set_xlabel("epoch")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path)


def test_lean_memory_costs_no_validation_loss_and_rounding_to_the_nearest_would(
    tmp_path: Path,
) -> None:
    curves = all_curves(Path(os.environ.get("LEAN_RUNS", tmp_path / "runs.jsonl")), tmp_path)
    if path := os.environ.get("LEAN_CURVES"):
        draw_curves(curves, Path(path))
    best = {
        kind: np.array(
            [[min(curves[kind, r, s]) for s in range(n_seeds)] for r in range(len(RECIPES))]
        )
        for kind, n_seeds in N_SEEDS_OF.items()
    }
    spread = float(np.sqrt(best["full"].var(axis=1, ddof=1).mean()))
    print(f"\nspread of the seeds in full memory: {spread:.5f} nats")
    differences = {}
    for kind in ("lean", "nearest"):
        pairs = (best[kind] - best["full"][:, : N_SEEDS_OF[kind]]).ravel()
        differences[kind] = abs(float(pairs.mean()))
        error = statistics.stdev(pairs) / len(pairs) ** 0.5
        print(f"{kind} less full: {pairs.mean():+.5f} +- {error:.5f} nats over {len(pairs)} pairs")
    most = min(MOST_MEAN_DIFFERENCE, spread)
    assert differences["lean"] < most
    assert differences["nearest"] >= most, "the check must fail with rounding to the nearest"
