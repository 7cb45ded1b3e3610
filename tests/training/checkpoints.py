"""States of trials, and what is found of them in a folder of checkpoints."""

from pathlib import Path
from typing import Any

import torch

from study.training.checkpoint import CheckpointFolder, Found
from study.training.state_file import (
    State,
)


def trial_state(step: int, *, best_epoch: int | None, run: int = 0, n_floats: int = 50) -> State:
    """Return a small state in the form of a trainer's; ``run`` numbers the runs of one trial."""
    best = None
    if best_epoch is not None:
        best = {
            "epoch": best_epoch,
            "metrics": {"loss": 1 / best_epoch + run, "auc": None},
            "weights": {"w": torch.full((n_floats,), float(best_epoch + 100 * run))},
        }
    return {
        "step": step,
        "model": {"w": torch.full((n_floats,), float(step + 1000 * run))},
        "best": best,
        "model_config": {"d_model": 8},
        "train_config": {"epochs": 4},
        "seed": 7,
    }


def flat(state: Any) -> Any:
    """Return a state in a form that == can compare."""
    if isinstance(state, torch.Tensor):
        return state.tolist()
    if isinstance(state, dict):
        return {key: flat(value) for key, value in state.items()}
    return state


def newest(folder: Path) -> Found:
    found = CheckpointFolder(folder).newest_intact()
    assert found is not None
    return found


def names(folder: Path) -> list[str]:
    """Return the names of the files, each of which must have its hash."""
    every = {path.name for path in folder.iterdir()}
    content = {name for name in every if name.endswith(".pt")}
    assert every == content | {f"{name}.sha256" for name in content}
    return sorted(content)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])
