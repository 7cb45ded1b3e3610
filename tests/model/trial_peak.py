"""The peak of one trial: run as a program, two epochs as a worker trains them; prints the bytes.

Two, because the copy of the best weights is there from the end of the first epoch on, and two
micro-batches per step, because gradients are there from the second on.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

# What a worker imports counts.
import study.tuner.trainable  # noqa: F401
from study.data.panel.shared_inputs import SharedInputs
from study.model.model_config import ModelConfig
from study.training.device import bound_kernel_cache, peak_memory_bytes
from study.training.panel.panel_samples import PanelTrainingData
from study.training.train_config import Memory, TrainConfig
from study.training.trainer import Trainer
from study.training.windows import TrainingData

N_DAYS = 4000
EPOCHS = 2
CPU = torch.device("cpu")


def measured_peak(
    model: ModelConfig,
    micro_batch: int,
    *,
    bf16: bool,
    memory: Memory = "full",
    effective_batch: int | None = None,
) -> int:
    """Return the largest resident set, bytes, of a process that trains ``model`` with averages.

    An epoch is one step of two micro-batches or, if it is given, of ``effective_batch`` samples.
    """
    given = {
        **dataclasses.asdict(model),
        "micro_batch": micro_batch,
        "bf16": bf16,
        "memory": memory,
        "effective_batch": effective_batch or 2 * micro_batch,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.trial_peak", json.dumps(given)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def market(n_features: int, n_samples: int) -> TrainingData:
    draw = np.random.default_rng(0)
    features = draw.standard_normal((N_DAYS, n_features)).astype(np.float32)
    return TrainingData(
        features=features,
        labels=(draw.random(N_DAYS) < 0.3).astype(np.float32),
        auxiliary=features[:, 0].copy(),
        train_days=np.arange(100, 100 + n_samples),
        validation_days=np.arange(2000, 2000 + n_samples),
        base_rate=0.3,
    )


def panel(config: ModelConfig, n_samples: int) -> PanelTrainingData:
    draw = np.random.default_rng(0)
    n_days = 100 + 2 * n_samples
    values = draw.standard_normal((n_days, config.n_assets, config.n_features), dtype=np.float32)
    targets = draw.standard_normal((n_days, config.n_assets)).astype(np.float32)
    return PanelTrainingData(
        inputs=SharedInputs(values),
        present=np.ones(targets.shape, dtype=bool),
        targets=targets,
        returns=targets,
        volatility=np.ones(n_days, np.float32),
        sectors=np.arange(config.n_assets) % max(1, config.n_sectors),
        train_days=np.arange(100, 100 + n_samples),
        validation_days=np.arange(100 + n_samples, n_days),
        horizon=1,
        cost_bps=10.0,
        share=0.2,
    )


def main(scratch: Path) -> None:
    given = json.loads(sys.argv[1])
    micro_batch, bf16 = given.pop("micro_batch"), given.pop("bf16")
    memory, n_samples = given.pop("memory"), given.pop("effective_batch")
    config = ModelConfig(**given)
    torch.set_num_threads(1)
    bound_kernel_cache()
    trainer = Trainer(
        model=config,
        # A schedule of many epochs, so that no trial ends as collapsed after its first.
        train=TrainConfig(
            learning_rate=3e-4,
            epochs=100 * EPOCHS,
            effective_batch=n_samples,
            memory=memory,
            auxiliary_weight=1.0 if config.auxiliary_head else 0.0,
            ema_decay=0.95,
        ),
        data=market(config.n_features, n_samples)
        if config.n_assets == 1
        else panel(config, n_samples),
        device=CPU,
        micro_batch=micro_batch,
        seed=0,
        bf16=bf16,
        scratch=scratch,
    )
    reports = [trainer.run_epoch() for _ in range(EPOCHS)]
    assert reports[-1].micro_batch == micro_batch
    # Not getrusage: on Linux a child's ru_maxrss starts at that of the process that forked it.
    print(peak_memory_bytes(CPU))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
