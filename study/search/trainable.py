"""The Ray trainable: a thin shell that runs one epoch of a Trainer per step."""

import dataclasses
import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch
from ray import tune

from study.data.dataset import Dataset
from study.model.memory import largest_micro_batch
from study.search.space import TrialConfig
from study.training.checkpoint import CheckpointFolder
from study.training.device import (
    limit_memory,
    release_cached_memory,
    resolve_device,
    supports_bf16,
)
from study.training.report import EpochReport
from study.training.trainer import Trainer
from study.training.windows import TrainingData


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSettings:
    """What every trial of a cell is told besides its configuration."""

    cell_folder: Path
    """Absolute; a trial keeps its checkpoints in its own folder there."""
    device: str | None
    """The user's choice; None follows what Ray assigned."""
    share_bytes: int
    """What a training step may use of the device's memory."""


def trial_folder_name(config: Mapping[str, Any]) -> str:
    """Return the name of a trial's folder inside its cell, from its flat configuration."""
    shape = f"d{config['d_model']}_L{config['n_layers']}_h{config['n_heads']}"
    return f"trial_{config['number']:04d}_{shape}"


def first_micro_batch(trial: TrialConfig, share_bytes: int, *, bf16: bool) -> int:
    """Return the micro-batch that a trial starts with; running out of memory may halve it."""
    return largest_micro_batch(
        trial.model,
        effective_batch=trial.train.effective_batch,
        limit_bytes=share_bytes,
        bf16=bf16,
        ema=trial.train.ema_decay > 0,
    )


def training_data(
    data: Dataset, baseline_losses: npt.NDArray[np.float64] | None = None
) -> TrainingData:
    """Return the part of a data set that a trainer reads, beside the baseline to beat."""
    return TrainingData(
        features=data.features,
        labels=data.labels,
        auxiliary=data.auxiliary,
        train_days=data.train_days,
        validation_days=data.validation_days,
        base_rate=data.base_rate,
        horizon=data.horizon,
        baseline_losses=baseline_losses,
    )


class CellTrainable(tune.Trainable):  # type: ignore[misc]
    """One trial. An actor is handed from trial to trial, so that a start costs no process.

    The trial's newest intact checkpoint on disk is the one truth about how far it came: it is
    written before the epoch is reported, so it is never older than Ray's snapshot, and a restored
    trial first repeats its last report, which every reader ignores if it has it already.
    """

    _replay: EpochReport | None
    """The last report of a restored trial, until it has been repeated."""

    def setup(
        self,
        config: dict[str, Any],
        *,
        data: Dataset,
        baseline_losses: npt.NDArray[np.float64],
        settings: TrialSettings,
    ) -> None:
        """Take the cell's data out of the object store, then begin the first trial."""
        self._data = training_data(data, baseline_losses)
        self._settings = settings
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in the same process."""
        self._begin(new_config)
        return True

    def cleanup(self) -> None:
        """Let go of the model when the actor ends."""
        self._release()

    def step(self) -> dict[str, Any]:
        """Run and save one epoch, and report it."""
        if self._replay is not None:
            restored, self._replay = self._replay, None
            return self._result(restored, checkpoint_seconds=0.0, replayed=True)
        report = self._trainer.run_epoch()
        began = time.perf_counter()
        self._checkpoints.save(self._trainer.state_dict(), report.epoch)
        return self._result(report, checkpoint_seconds=time.perf_counter() - began, replayed=False)

    def _begin(self, config: dict[str, Any]) -> None:
        self._release()
        self._began = time.time()
        assigned = ray.get_runtime_context().get_assigned_resources()
        share = float(assigned.get("GPU", 0.0))
        device = resolve_device(share, self._settings.device)
        torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))
        limit_memory(device, share)
        trial = TrialConfig.from_flat(config)
        bf16 = supports_bf16(device)
        self._resources = {"CPU": float(assigned.get("CPU", 0)), "GPU": share}
        self._folder = self._settings.cell_folder / trial_folder_name(config)
        self._checkpoints = CheckpointFolder(self._folder / "checkpoints")
        self._device = device
        self._trainer = Trainer(
            model=trial.model,
            train=trial.train,
            data=self._data,
            device=device,
            micro_batch=first_micro_batch(trial, self._settings.share_bytes, bf16=bf16),
            seed=config["seed"],
            bf16=bf16,
        )
        state = self._checkpoints.newest_intact()
        if state is not None:
            self._trainer.load_state_dict(state)
        self._replay = self._trainer.report

    def _result(
        self, report: EpochReport, *, checkpoint_seconds: float, replayed: bool
    ) -> dict[str, Any]:
        """Return the flat report; a value that is missing is left out, never stood in for."""
        values = {
            **dataclasses.asdict(report),
            "checkpoint_seconds": checkpoint_seconds,
            "replayed": replayed,
            "device": str(self._device),
            "optimizer": dataclasses.asdict(self._trainer.optimizer_record),
            "assigned_cpus": self._resources["CPU"],
            "assigned_gpus": self._resources["GPU"],
            "began": self._began,
            "reported": time.time(),
            "done": report.stop_reason is not None,
        }
        return {name: value for name, value in values.items() if value is not None}

    def _release(self) -> None:
        if hasattr(self, "_trainer"):
            del self._trainer
            gc.collect()
            release_cached_memory(self._device)
