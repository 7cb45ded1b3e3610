"""A disk that is full before a checkpoint is written, or fills up while it is."""

import errno
import shutil
from pathlib import Path

import pytest
import torch

from study.training.checkpoint import RESERVE_BYTES, CheckpointFolder
from study.training.state_file import (
    NoSpaceError,
    state_bytes,
)
from tests.results.conftest import full_disk
from tests.training.checkpoints import flat, names, newest, trial_state


def test_a_full_disk_is_foreseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(trial_state(1, best_epoch=1))
    before = names(tmp_path)
    usage = shutil.disk_usage(tmp_path)

    def leave_free(n_bytes: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=n_bytes))

    state = trial_state(2, best_epoch=2)
    needed = int(state_bytes(state) * 1.02) + RESERVE_BYTES
    leave_free(needed - 1)
    with pytest.raises(NoSpaceError, match=f"must have {needed} bytes free .* got free=") as caught:
        folder.save(state)
    assert caught.value.errno == errno.ENOSPC
    assert names(tmp_path) == before
    # Without an improvement the best weights need no room.
    folder.save(trial_state(2, best_epoch=1))
    leave_free(needed)
    folder.save(trial_state(3, best_epoch=2))
    assert newest(tmp_path).state["step"] == 3


@pytest.mark.parametrize("large", ["best", "model"])
@pytest.mark.parametrize("n_floats", [3_000, 300_000])  # in the buffer's last flush, and before
def test_a_write_that_fails_leaves_the_old_and_nothing_else(
    tmp_path: Path, large: str, n_floats: int
) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (1, 2):
        folder.save(trial_state(step, best_epoch=1))
    before = names(tmp_path)
    state = trial_state(3, best_epoch=2)
    part = state["model"] if large == "model" else state["best"]["weights"]
    part["w"] = torch.zeros(n_floats)
    with full_disk(8_000), pytest.raises(OSError, match="File too large") as caught:
        folder.save(state)
    assert caught.value.errno == errno.EFBIG
    assert names(tmp_path) == before
    assert flat(newest(tmp_path).state) == flat(trial_state(2, best_epoch=1))
    folder.save(state)
    assert flat(newest(tmp_path).state) == flat(state)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_while_writing_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(trial_state(1, best_epoch=1))

    def fail(_: int) -> None:
        raise OSError(code, "planted")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(NoSpaceError, match=r"best_0002\.pt: must find room on its disk"):
            folder.save(trial_state(2, best_epoch=2))
    assert names(tmp_path) == ["best_0001.pt", "state_00000001.pt"]
