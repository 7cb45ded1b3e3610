"""What the experiment around the final runs of a walk forward costs.

Run by hand with ``make bench``. The runs of all folds and seeds are compared with single trainings
of the same lengths, one after the other in one process that has every core for itself.
"""

import os
import time
from pathlib import Path

import pytest
import torch

from study.data.dataset import build_dataset
from study.results.records import TrialRecord
from study.results.store import read_trials
from study.search.space import TrialConfig
from study.spec.spec_file import load_study
from study.storage.layout import FINAL_FOLDER, RUNS_FOLDER
from study.training.device import supports_bf16
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from tests.preloaded import Command
from tests.tuner.command import SPACES

SEEDS = int(os.environ.get("FOLD_SEEDS", "2"))
"""Number of seeds: of five, as study.train takes them, the runs last half an hour on two cores."""

MOST_OF_SINGLE_TRAININGS = 1.5

CELL = "long_200k_h1_threshold_1pct_sp500-long_walk-forward"

pytestmark = pytest.mark.bench


def command(here: Path, module: str, *flags: str) -> None:
    own = ("--search", "long", "--trials", "3", "--max-epochs", "6", "--no-beyond-edges")
    process = Command(module, [*own, *flags], cwd=here, env={**os.environ, "HOME": str(here)})
    output, errors = process.communicate()
    assert process.returncode == 0, output + errors


def single_seconds(runs: list[TrialRecord]) -> float:
    """Return the seconds of training each run again, to its last epoch, one after the other."""
    config = load_study(SPACES / "long.yaml").cell("200k", 1).data
    n_folds = build_dataset(config).n_folds
    data = [TrainingData.of(build_dataset(config, fold=fold)) for fold in range(n_folds)]
    torch.set_num_threads(os.cpu_count() or 1)
    device, seconds = torch.device("cpu"), 0.0
    for run in runs:
        trial = TrialConfig.from_flat(run.params)
        began = time.monotonic()
        trainer = Trainer(
            model=trial.model, train=trial.train, data=data[run.number % n_folds], device=device,
            micro_batch=trial.train.effective_batch, seed=run.seed, bf16=supports_bf16(device),
        )  # fmt: skip
        for _ in range(run.epochs_trained):
            trainer.run_epoch()
        seconds += time.monotonic() - began
    return seconds


def test_folds_and_seeds_together_take_hardly_longer_than_single_trainings(tmp_path: Path) -> None:
    command(tmp_path, "study.tune", "--budget", "200k", "--horizon", "1")
    command(
        tmp_path, "study.train", "--budgets", "200k", "--horizons", "1", "--candidates", "1",
        "--selection-seeds", "1", "--seeds", str(SEEDS),
    )  # fmt: skip
    runs = read_trials(tmp_path / "ray_results" / FINAL_FOLDER / CELL / RUNS_FOLDER)
    assert len(runs) == 10 * SEEDS
    together = max(run.ended for run in runs) - min(run.started for run in runs)
    single = single_seconds(runs)
    print(
        f"\n{len(runs)} runs of {runs[0].param_count:,} parameters: {together:.0f} s together, "
        f"{single:.0f} s one after the other, ratio {together / single:.2f}"
    )
    assert together <= MOST_OF_SINGLE_TRAININGS * single
