"""A trial in the lean memory mode goes on from a saved state as if it had not stopped."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from study.results.epoch_report import EpochReport
from study.storage.file_pages import drop_file_pages
from study.training.checkpoint import CheckpointFolder
from study.training.lean.scratch import drop_pages, scratch_vector
from study.training.trainer import Trainer
from tests.training.checkpoints import newest
from tests.training.planted import CPU, DATA, MODEL, TRAIN, trace

_MIB = 2**20


def lean(scratch: Path | None = None, **changes: Any) -> Trainer:
    return Trainer(
        model=replace(MODEL, dropout=0.2),
        train=replace(TRAIN, memory="lean", ema_decay=0.9, **changes),
        data=DATA,
        device=CPU,
        micro_batch=24,
        seed=7,
        bf16=False,
        scratch=scratch,
    )


def tensors(state: Any) -> list[torch.Tensor]:
    """Return all tensors of a state, in order."""
    if isinstance(state, torch.Tensor):
        return [state]
    inner = state.values() if isinstance(state, dict) else state
    return [t for each in inner for t in tensors(each)] if isinstance(state, dict | list) else []


def test_saving_loading_and_going_on_is_not_having_stopped(tmp_path: Path) -> None:
    straight = lean()
    expected = [straight.run_epoch() for _ in range(2)]
    folder = CheckpointFolder(tmp_path / "checkpoints")
    trainer = lean(tmp_path)
    reports: list[EpochReport] = []
    while len(reports) < 2:
        report = trainer.run_epoch(lambda: True)
        reports += [] if report is None else [report]
        folder.save(trainer.state_dict())
        trainer = lean(tmp_path)
        trainer.load_state_dict(newest(tmp_path / "checkpoints").state)
    assert trace(reports) == trace(expected)
    ours, theirs = tensors(trainer.state_dict()), tensors(straight.state_dict())
    assert len(ours) == len(theirs) > 40
    # The seconds of the last report are the only other difference, and no tensor.
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    # Nothing lies beside the checkpoints: scratch files have no names.
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_a_state_that_goes_on_in_the_same_process_is_the_same_too() -> None:
    straight, other = lean(), lean()
    straight.run_epoch()
    other.load_state_dict(straight.state_dict())
    assert trace([straight.run_epoch()]) == trace([other.run_epoch()])


def test_rounding_goes_on_from_its_own_saved_stream() -> None:
    trainer, other = lean(), lean()
    trainer.run_epoch(lambda: True)
    state = trainer.state_dict()
    state["rounding"] = torch.Generator().manual_seed(1).get_state()
    other.load_state_dict(state)
    trainer.run_epoch(lambda: True)
    other.run_epoch(lambda: True)
    first, second = (each.state_dict()["layers"]["weights"][0] for each in (trainer, other))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("memory", ["full", "lean"])
def test_an_epoch_may_be_cut_short(memory: Any) -> None:
    cut = replace(TRAIN, memory=memory, steps_per_epoch=2, epochs=3, collapse_grace_share=1.0)
    trainer = Trainer(
        model=MODEL, train=cut, data=DATA, device=CPU, micro_batch=64, seed=7, bf16=False
    )
    assert trainer.samples_per_epoch == 128
    reports = [trainer.run_epoch() for _ in range(3)]
    assert [report.step for report in reports] == [2, 4, 6]
    assert [report.stop_reason is None for report in reports] == [True, True, False]
    # The schedule is that of six steps: the last is a step before the cosine reaches zero.
    assert 0 < reports[-1].learning_rate < 0.15 * TRAIN.learning_rate
    seconds = reports[0].data_seconds + reports[0].step_seconds
    assert reports[0].samples_per_second == pytest.approx(128 / seconds)
    # An epoch begins as one that is not cut, with the same samples in the same order.
    whole = Trainer(
        model=MODEL,
        train=replace(cut, steps_per_epoch=None),
        data=DATA,
        device=CPU,
        micro_batch=64,
        seed=7,
        bf16=False,
    )
    assert whole.samples_per_epoch == len(DATA.train_days)
    paused = Trainer(
        model=MODEL, train=cut, data=DATA, device=CPU, micro_batch=64, seed=7, bf16=False
    )
    for each in (whole, paused):
        assert each.run_epoch(lambda: True) is None
    first, second = (each.state_dict()["partial"]["days"] for each in (whole, paused))
    assert torch.equal(first[:128], second)


def test_a_scratch_vector_lies_in_a_file_and_its_pages_come_back(tmp_path: Path) -> None:
    vector = scratch_vector(100_000, torch.int32, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not bool(vector.any())
    vector.copy_(torch.arange(100_000))
    drop_pages(vector)
    assert torch.equal(vector, torch.arange(100_000, dtype=torch.int32))
    # Memory that is no file's would come back as zeros.
    other = torch.arange(100_000)
    drop_pages(other)
    drop_file_pages(other.data_ptr(), other.nbytes, only_shared=False)
    assert torch.equal(other, torch.arange(100_000))


_MEASURE = """
import json, sys
from dataclasses import replace
from pathlib import Path
import torch
from study.training.checkpoint import CheckpointFolder
from study.training.device import peak_memory_bytes, reset_peak_memory
from study.training.trainer import Trainer
from tests.training.planted import CPU, DATA, MODEL, TRAIN

here, peaks = Path(sys.argv[1]), {}


def note(name):
    peaks[name] = peak_memory_bytes(CPU)
    reset_peak_memory(CPU)


def build():
    return Trainer(
        model=replace(MODEL, d_model=512, n_layers=8, n_heads=8, d_ff_ratio=4),
        train=replace(TRAIN, memory="lean", ema_decay=0.9, effective_batch=2, steps_per_epoch=1),
        data=replace(DATA, validation_days=DATA.validation_days[:2]),
        device=CPU, micro_batch=2, seed=7, bf16=False, scratch=here,
    )


torch.set_num_threads(1)
note("start")
trainer = build()
note("built")
reports = [trainer.run_epoch()]
note("epoch")
folder = CheckpointFolder(here / "checkpoints")
folder.save(trainer.state_dict())
note("saved")
trainer.load_state_dict(folder.newest_intact().state)
note("restored")
print(json.dumps(peaks))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is resident")
def test_a_large_model_is_built_saved_and_restored_within_its_bytes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    peaks = json.loads(done.stdout)
    # 25 million weights of 4 bytes each, and a layer of 3 million in float32 with its gradients.
    n_weights, layer = 12 * 512**2 * 8, 12 * 512**2
    assert peaks["built"] - peaks["start"] < 1.15 * (4 * n_weights + 8 * layer) + 24 * _MIB
    # The average and the best weights, 3 bytes each, are in files; kernels take half as much.
    assert peaks["epoch"] - peaks["built"] < 4.5 * n_weights
    assert peaks["saved"] < peaks["epoch"] + 32 * _MIB
    assert peaks["restored"] < peaks["epoch"] + 64 * _MIB
    state = next((tmp_path / "checkpoints").glob("state_*.pt"))
    best = next((tmp_path / "checkpoints").glob("best_*.pt"))
    assert state.stat().st_size < 1.03 * 5 * n_weights
    assert best.stat().st_size < 1.03 * 2 * n_weights
