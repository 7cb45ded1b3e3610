"""A worker uses the accelerator that Ray assigned, on machines without one."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch

from study.data.dataset import Dataset
from study.errors import SpecError
from study.results.epoch_report import EpochRecord
from study.search.assignment import Assignment
from study.storage.layout import CHECKPOINTS_FOLDER
from study.training.checkpoint import CheckpointFolder
from study.training.device import (
    accelerator_memory_bytes,
    limit_memory,
    resolve_device,
    supports_bf16,
)
from study.training.trainer import Trainer
from study.training.windows import TrainingData
from study.tuner.trainable import CellTrainable, StepResult, TrialSettings
from tests.accelerator import accelerator
from tests.tuner.small_trial import small_trial

KINDS = pytest.mark.parametrize("kind", ["cuda", "mps"])
SHARE = 0.25
SHORTAGES = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    # torch 2.13 aten/src/ATen/mps/MPSAllocator.mm: a RuntimeError with this text.
    "mps": RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9 GB)"),
}


@pytest.fixture(scope="module")
def cell() -> tuple[Dataset, Assignment]:
    """Return a data set, and a small trial on it."""
    return small_trial(epochs=3)


def worker(
    cell: tuple[Dataset, Assignment], folder: Path, *, capture: bool = True
) -> CellTrainable:
    """Return an actor's trainable before its first step, as Tune sets it up."""
    data, trial = cell
    settings = TrialSettings(
        cell_folder=folder, device=None, capture=capture, share_bytes={trial.config.budget: 2**30}
    )
    found = CellTrainable.__new__(CellTrainable)
    found.setup(trial.flat(), data=[[TrainingData.of(data)]], settings=settings)
    return found


def epoch(trainable: CellTrainable) -> EpochRecord:
    """Return the report of the epoch that one step must run."""
    report = StepResult.read(trainable.step()).report
    assert report is not None
    return report


@pytest.fixture(autouse=True)
def _assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    assigned = {"CPU": 1.0, "GPU": SHARE}
    context = SimpleNamespace(get_assigned_resources=lambda: assigned)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)


@pytest.mark.slow
@KINDS
def test_a_trial_on_an_accelerator_runs_saves_is_restored_and_goes_on(
    kind: str, cell: tuple[Dataset, Assignment], tmp_path: Path
) -> None:
    with accelerator(kind) as device:
        first = worker(cell, tmp_path)
        report = epoch(first)
        assert report.worker.device == kind
        assert report.peak_memory_bytes == 123 * 2**20
        assert report.worker.optimizer.is_fused
        first.cleanup()
        (folder,) = tmp_path.glob("trial_*")
        state = CheckpointFolder(folder / CHECKPOINTS_FOLDER).newest_intact()
        assert state is not None
        assert state.state["device_random"] is not None

        second = worker(cell, tmp_path)
        assert epoch(second).epoch == 1  # the report of the checkpoint, again
        assert epoch(second).epoch == 2
        second.cleanup()
    if kind == "cuda":
        # Each worker limits itself to its share of the one device that it can see.
        assert device.calls["_cuda_setMemoryFraction"] == [(SHARE, 0)] * 2
        assert {index for (index,) in device.calls["_cuda_memoryStats"]} == {0}
    else:
        assert device.calls["_mps_setMemoryFraction"] == [(SHARE,)] * 2


@pytest.mark.slow
@KINDS
def test_memory_running_out_on_an_accelerator_halves_the_micro_batch(
    kind: str, cell: tuple[Dataset, Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: torch.nn.Module, arguments: tuple[torch.Tensor]) -> None:
        if len(arguments[0]) > 256:
            raise SHORTAGES[kind]

    build = Trainer.__init__

    def built(self: Trainer, **values: Any) -> None:
        build(self, **values)
        self.model.register_forward_pre_hook(refuse)

    monkeypatch.setattr(Trainer, "__init__", built)
    with accelerator(kind) as device:
        only = worker(cell, tmp_path)
        report = epoch(only)
        only.cleanup()
    assert (report.micro_batch, report.out_of_memory_count) == (256, 1)
    emptied = device.calls["_cuda_emptyCache" if kind == "cuda" else "_mps_emptyCache"]
    assert len(emptied) == 2  # after the shortage, and after the trial


@pytest.mark.slow
@KINDS
def test_steps_are_captured_where_the_device_can_and_give_the_same_epochs(
    kind: str, cell: tuple[Dataset, Assignment], tmp_path: Path
) -> None:
    data, trial = cell
    train = dataclasses.replace(trial.config.train, effective_batch=128)
    config = dataclasses.replace(trial.config, train=train)
    short = data, dataclasses.replace(trial, config=config)
    with accelerator(kind) as device:
        found = []
        for capture in (True, False):
            folder = tmp_path / str(capture)
            folder.mkdir()
            only = worker(short, folder, capture=capture)
            found.append([epoch(only) for _ in range(2)])
            only.cleanup()
    captured, eager = found
    for one, other in zip(captured, eager, strict=True):
        # The rate of a captured step is float32, as the kernel of CUDA reads it.
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-4)
        assert other.worker.capture is None
        assert one.worker.capture == ("captured" if kind == "cuda" else None)
    if kind == "cuda":
        # The gradients of 128 samples, the change of the weights, and the validation's passes.
        modes = set(device.calls["Graph"])
        assert modes == {((0, 1), "thread_local")}
        assert 3 <= len(device.calls["Graph"]) <= 4
        # 16 steps of two graphs each, of which two are eager.
        assert len(device.calls["replay"]) >= 2 * 14


@KINDS
def test_a_resolved_accelerator_is_the_device_of_its_tensors(kind: str) -> None:
    with accelerator(kind):
        device = resolve_device(SHARE)
        # torch gives every tensor on an accelerator an index, and compares devices with it.
        assert device == torch.device(kind, 0)
        assert resolve_device(0.0, kind) == device
        assert resolve_device(0.0) == torch.device("cpu")
        assert supports_bf16(device) is (kind == "cuda")
        memory, is_shared = accelerator_memory_bytes()
        assert memory is not None
        assert memory >= 16 * 2**30
        assert is_shared is (kind == "mps")
        other = "mps" if kind == "cuda" else "cuda"
        with pytest.raises(SpecError, match="must be present"):
            resolve_device(0.0, other)


@KINDS
def test_a_whole_accelerator_may_be_given(kind: str) -> None:
    # torch 2.13 torch/cuda/memory.py and torch/mps/__init__.py set_per_process_memory_fraction:
    # "Invalid type for fraction argument, must be `float`".
    with accelerator(kind) as device:
        limit_memory(resolve_device(1), 1)
    (calls,) = device.calls.values()
    assert calls[0][0] == 1.0


def test_the_stand_in_refuses_what_torch_refuses() -> None:
    # torch 2.13 torch/cuda/memory.py set_per_process_memory_fraction: an explicit device needs an
    # index, and torch/_utils.py _get_device_index raises this message without one.
    with accelerator("cuda"), pytest.raises(ValueError, match="specified index or an integer"):
        limit_memory(torch.device("cuda"), SHARE)
    with accelerator("mps"), pytest.raises(TypeError, match="doesn't support float64"):
        torch.zeros(3, dtype=torch.float64, device=torch.device("mps", 0))
