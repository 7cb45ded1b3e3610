from pathlib import Path

import pytest
import torch

from study.training.checkpoint import CheckpointError, CheckpointFolder, load, save

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


def test_the_last_two_are_kept_and_a_torn_one_falls_back(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "trial")
    assert folder.newest_intact() is None
    for epoch in (1, 2, 9, 10):
        folder.save({"epoch": epoch}, epoch=epoch)
    names = sorted(p.name for p in (tmp_path / "trial").glob("*.pt"))
    assert names == ["epoch_0009.pt", "epoch_0010.pt"]
    assert folder.newest_intact() == {"epoch": 10}

    newest = tmp_path / "trial" / "epoch_0010.pt"
    newest.write_bytes(newest.read_bytes()[:100])
    assert folder.newest_intact() == {"epoch": 9}

    folder.save({"epoch": 10}, epoch=10)
    assert folder.newest_intact() == {"epoch": 10}

    for path in (tmp_path / "trial").glob("*.pt"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError):
        folder.newest_intact()


def test_a_crash_before_the_rename_leaves_the_old_one(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save({"epoch": 1}, epoch=1)
    (tmp_path / ".epoch_0002.pt.tmp").write_bytes(b"half")
    (tmp_path / "epoch_0002.pt.sha256").write_text("{}")
    assert folder.newest_intact() == {"epoch": 1}
