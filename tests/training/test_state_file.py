"""A saved state is loaded as it was, or refused."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from study.training.state_file import (
    CheckpointError,
    load,
    save,
    state_bytes,
)

STATE = {"weights": torch.arange(1000.0), "epoch": 3, "nested": {"list": [1, None, "text", 2.5]}}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save(STATE, tmp_path / "a.pt")
    state = load(tmp_path / "a.pt")
    assert torch.equal(state["weights"], STATE["weights"])  # type: ignore[arg-type]
    assert state["nested"] == STATE["nested"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "a.pt.sha256"]


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save(STATE, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="must have the hash it was written with"):
        load(path)


def test_a_missing_or_broken_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save(STATE, path)
    for content in ("", "{}", "[]"):
        (tmp_path / "a.pt.sha256").write_text(content)
        with pytest.raises(CheckpointError, match="must be readable"):
            load(path)
    (tmp_path / "a.pt.sha256").unlink()
    with pytest.raises(CheckpointError, match="must be readable"):
        load(path)


def test_code_is_not_executed(tmp_path: Path) -> None:
    save({"path": Path("x")}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="must hold plain values"):
        load(tmp_path / "a.pt")


def test_bytes_are_those_of_all_tensors() -> None:
    nested = {"a": torch.zeros(3, 5), "b": [torch.zeros(2, dtype=torch.int64), (1, "x", None)]}
    assert state_bytes(nested) == 3 * 5 * 4 + 2 * 8
    assert state_bytes({}) == 0


def test_a_file_that_no_save_has_written_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"PK not a state")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "a.pt.sha256").write_text(json.dumps({"sha256": digest}))
    with pytest.raises(CheckpointError, match="must hold plain values"):
        load(path)
    (tmp_path / "a.pt.sha256").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="must be readable"):
        load(path)
