"""A trial's folder of checkpoints gives the newest intact state, whatever happens to its files."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.training.checkpoint import CheckpointFolder
from study.training.state_file import (
    CheckpointError,
    load,
    save,
)
from tests.training.checkpoints import flat, names, newest, tear, trial_state
from tests.training.planted import make_trainer, trace


@pytest.mark.slow
def test_a_trainer_resumes_from_the_state_that_the_folder_gives(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    trainer = make_trainer()
    folder.save(trainer.state_dict())
    assert names(tmp_path) == ["state_00000000.pt"]
    trainer.run_epoch()
    trainer.run_epoch(lambda: True)
    folder.save(trainer.state_dict())
    assert names(tmp_path) == ["best_0001.pt", "state_00000000.pt", "state_00000006.pt"]
    resumed = make_trainer()
    resumed.load_state_dict(newest(tmp_path).state)
    resumed_best, best = resumed.best_weights(), trainer.best_weights()
    assert resumed_best is not None
    assert best is not None
    assert flat(resumed_best) == flat(best)
    assert trace([resumed.run_epoch()]) == trace([trainer.run_epoch()])


def test_the_last_two_are_kept_with_the_best_they_refer_to(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "trial")
    assert folder.newest_intact() is None
    (tmp_path / "trial").mkdir()
    (tmp_path / "trial" / "notes.txt.sha256").touch()  # not ours
    assert folder.newest_intact() is None
    (tmp_path / "trial" / "notes.txt.sha256").unlink()
    kept = {
        1: ["state_00000001.pt"],
        2: ["best_0001.pt", "state_00000001.pt", "state_00000002.pt"],
        9: ["best_0001.pt", "state_00000002.pt", "state_00000009.pt"],
        10: ["best_0001.pt", "best_0003.pt", "state_00000009.pt", "state_00000010.pt"],
        11: ["best_0003.pt", "state_00000010.pt", "state_00000011.pt"],
    }
    for (step, expected), best in zip(kept.items(), (None, 1, 1, 3, 3), strict=True):
        state = trial_state(step, best_epoch=best)
        before = flat(state)
        path = folder.save(state)
        assert flat(state) == before
        assert path.name == f"state_{step:08d}.pt"
        assert names(tmp_path / "trial") == expected
        found = newest(tmp_path / "trial")
        assert flat(found.state) == before
        assert found.problems == ()


def test_the_best_is_written_once_and_is_usable_alone(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(trial_state(1, best_epoch=1))
    before = (tmp_path / "best_0001.pt").stat()
    folder.save(trial_state(2, best_epoch=1))
    resumed = CheckpointFolder(tmp_path)
    resumed.newest_intact()
    resumed.save(trial_state(3, best_epoch=1))
    after = (tmp_path / "best_0001.pt").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    state = trial_state(3, best_epoch=1)
    expected = {**state["best"], **{n: state[n] for n in ("model_config", "train_config", "seed")}}
    assert flat(load(tmp_path / "best_0001.pt")) == flat(expected)
    assert "weights" not in load(tmp_path / "state_00000003.pt")["best"]

    (tmp_path / "best_0001.pt").unlink()
    resumed.save(trial_state(4, best_epoch=1))
    assert flat(newest(tmp_path).state) == flat(trial_state(4, best_epoch=1))


def test_a_torn_state_or_best_falls_back_and_is_dropped_later(tmp_path: Path) -> None:
    for torn in ("state_00000010.pt", "best_0002.pt"):
        folder = CheckpointFolder(tmp_path)
        folder.save(trial_state(9, best_epoch=1))
        folder.save(trial_state(10, best_epoch=2))
        tear(tmp_path / torn)
        found = folder.newest_intact()
        assert found is not None
        assert flat(found.state) == flat(trial_state(9, best_epoch=1))
        assert len(found.problems) == 1
        assert torn in found.problems[0]
        # The broken state does not count among those that are kept.
        folder.save(trial_state(12, best_epoch=2))
        assert names(tmp_path) == [
            "best_0001.pt",
            "best_0002.pt",
            "state_00000009.pt",
            "state_00000012.pt",
        ]
        assert flat(newest(tmp_path).state) == flat(trial_state(12, best_epoch=2))
        folder.clear()


def test_all_broken_is_an_error(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(trial_state(1, best_epoch=1))
    folder.save(trial_state(2, best_epoch=1))
    (tmp_path / "best_0001.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"got 2 broken ones.*best_0001\.pt: content must"):
        folder.newest_intact()
    # A new beginning in the same folder removes the files of the old trial.
    folder.save(trial_state(1, best_epoch=None))
    assert names(tmp_path) == ["state_00000001.pt"]


def test_a_state_of_the_same_step_is_written_over_and_later_ones_are_dropped(
    tmp_path: Path,
) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in (5, 6):
        folder.save(trial_state(step, best_epoch=1))
    again = trial_state(5, best_epoch=1, run=1)
    CheckpointFolder(tmp_path).save(again)
    assert names(tmp_path) == ["best_0001.pt", "state_00000005.pt"]
    assert flat(newest(tmp_path).state) == flat(again)


def test_best_weights_of_another_run_of_the_epoch_are_refused(tmp_path: Path) -> None:
    CheckpointFolder(tmp_path).save(trial_state(5, best_epoch=1))
    CheckpointFolder(tmp_path).save(trial_state(8, best_epoch=2))
    other = tmp_path / "other"
    CheckpointFolder(other).save(trial_state(8, best_epoch=2, run=1))
    # This is the folder after a crash between the best file of a repeated epoch and its state.
    for name in ("best_0002.pt", "best_0002.pt.sha256"):
        (other / name).replace(tmp_path / name)
    found = newest(tmp_path)
    assert flat(found.state) == flat(trial_state(5, best_epoch=1))
    assert "another run of that epoch" in found.problems[0]


def test_what_a_crash_left_is_ignored_and_then_removed(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(trial_state(1, best_epoch=1))
    left_overs = (
        ".state_00000002.pt.tmp",
        ".state_00000002.pt.sha256.tmp",
        ".best_0002.pt.tmp",
        "state_00000002.pt.sha256",
        "best_0002.pt",
        "best_0002.pt.sha256",
    )
    for name in left_overs:
        (tmp_path / name).write_bytes(b"half")
    assert flat(newest(tmp_path).state) == flat(trial_state(1, best_epoch=1))
    folder.save(trial_state(3, best_epoch=1))
    assert names(tmp_path) == ["best_0001.pt", "state_00000001.pt", "state_00000003.pt"]


SAVED = ((3, None), (4, 1), (8, 2))
"""Steps and best epochs of the states that are saved."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three states and two best files."""
    folder = tmp_path_factory.mktemp("pristine")
    checkpoints = CheckpointFolder(folder, keep=3)
    for step, best_epoch in SAVED:
        checkpoints.save(trial_state(step, best_epoch=best_epoch))
    return folder


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_damage_yields_a_wrong_state(pristine: Path, data: st.DataObject) -> None:
    saved = [flat(trial_state(step, best_epoch=best)) for step, best in reversed(SAVED)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "trial"
        shutil.copytree(pristine, folder)
        paths = sorted(folder.iterdir())
        for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=6)):
            content = bytearray(path.read_bytes())
            offset = data.draw(st.integers(0, max(0, len(content) - 1)))
            if not content or data.draw(st.booleans()):
                path.write_bytes(content[:offset])
            else:
                content[offset] ^= data.draw(st.integers(1, 255))
                path.write_bytes(content)
        try:
            found = newest(folder)
        except CheckpointError:
            return
        assert flat(found.state) == saved[len(found.problems)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_single_damage_costs_more_than_the_newest(pristine: Path, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "trial"
        shutil.copytree(pristine, folder)
        path = data.draw(st.sampled_from(sorted(folder.iterdir())))
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        found = newest(folder)
        is_of_newest = "00000008" in path.name or "best_0002" in path.name
        assert found.state["step"] == (4 if is_of_newest else 8)


def test_a_trial_that_ended_keeps_its_best_alone(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "trial")
    folder.keep_best()
    assert not (tmp_path / "trial").exists()
    folder.save(trial_state(4, best_epoch=1))
    folder.save(trial_state(8, best_epoch=2))
    for name in (".state_00000009.pt.tmp", "state_00000009.pt.sha256"):
        (tmp_path / "trial" / name).touch()
    for _ in range(2):
        folder.keep_best()
        assert names(tmp_path / "trial") == ["best_0002.pt"]
    assert folder.newest_intact() is None
    assert load(tmp_path / "trial" / "best_0002.pt")["epoch"] == 2
    for _ in range(2):
        folder.clear()
        assert not (tmp_path / "trial").exists()


def test_keeping_the_best_may_be_cut_short_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    unlink = Path.unlink
    cuts = 0
    while True:
        path = tmp_path / str(cuts)
        folder = CheckpointFolder(path)
        # The state refers to an older best than the crashed writer left.
        folder.save(trial_state(4, best_epoch=1))
        folder.save(trial_state(8, best_epoch=2))
        save(trial_state(12, best_epoch=3)["best"], path / "best_0003.pt")
        left = cuts

        def unlink_or_die(self: Path, missing_ok: bool = False) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            unlink(self, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", unlink_or_die)
            try:
                folder.keep_best()
            except Killed:
                is_cut = True
            else:
                is_cut = False
        folder.keep_best()
        assert names(path) == ["best_0002.pt"]
        if not is_cut:
            break
        cuts += 1
    assert cuts == 8


def test_a_torn_hash_costs_no_best_weights(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(trial_state(4, best_epoch=1))
    folder.save(trial_state(8, best_epoch=2))
    for name in ("state_00000004.pt.sha256", "state_00000008.pt.sha256"):
        (tmp_path / name).write_text('{"best": "best_0009.pt"')
    folder.keep_best()
    assert names(tmp_path) == ["best_0002.pt"]


@pytest.mark.parametrize("name", ["state_00000008.pt", "state_00000008.pt.sha256", "best_0002.pt"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "loop"])
def test_what_is_no_file_costs_no_more_than_the_newest(
    tmp_path: Path, name: str, kind: str
) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(trial_state(4, best_epoch=1))
    folder.save(trial_state(8, best_epoch=2))
    path = tmp_path / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
        (path / "work").write_text("of years")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    folder = CheckpointFolder(tmp_path)
    found = folder.newest_intact()
    assert found is not None
    assert flat(found.state) == flat(trial_state(4, best_epoch=1))
    assert len(found.problems) == 1
    # The trial saves in its place, and nothing that others have made is deleted.
    folder.save(trial_state(8, best_epoch=2))
    folder.save(trial_state(12, best_epoch=2))
    assert flat(newest(tmp_path).state) == flat(trial_state(12, best_epoch=2))
    if kind == "folder":
        (aside,) = tmp_path.glob(f"{name}.moved-*")
        assert (aside / "work").read_text() == "of years"
        folder.clear()
        assert [each.name for each in tmp_path.iterdir()] == [aside.name]


@pytest.mark.parametrize("missing", ["best", "step", "seed"])
def test_a_state_of_another_kind_is_passed_over(tmp_path: Path, missing: str) -> None:
    CheckpointFolder(tmp_path).save(trial_state(4, best_epoch=1))
    other = trial_state(8, best_epoch=None)
    del other[missing]
    # The file has a right hash.
    save(other, tmp_path / "state_00000008.pt")
    found = newest(tmp_path)
    assert flat(found.state) == flat(trial_state(4, best_epoch=1))
    assert f"but got none of {missing}. Use an older checkpoint" in found.problems[0]
    with pytest.raises(CheckpointError, match="but got none of model_state"):
        CheckpointFolder(tmp_path).newest_intact(["step", "best", "model_state"])


@pytest.mark.parametrize("content", [[1, 2], "text", {"best": {"epoch": 1}, "step": 8}])
def test_a_payload_of_another_form_is_passed_over(tmp_path: Path, content: Any) -> None:
    CheckpointFolder(tmp_path).save(trial_state(4, best_epoch=1))
    save(content, tmp_path / "state_00000008.pt")
    assert newest(tmp_path).state["step"] == 4


def test_a_trial_whose_folder_was_removed_does_not_come_back(tmp_path: Path) -> None:
    (tmp_path / "cell" / "trial").mkdir(parents=True)
    folder = CheckpointFolder(tmp_path / "cell" / "trial" / "checkpoints")
    folder.save(trial_state(4, best_epoch=1))
    shutil.rmtree(tmp_path / "cell")
    with pytest.raises(FileNotFoundError):
        folder.save(trial_state(8, best_epoch=1))
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_has_put_beside_checkpoints_stays(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.save(trial_state(4, best_epoch=1))
    for name in ("state_00000004.pt.bak", "best.pt", "notes.txt", "state_4.pt"):
        (tmp_path / name).write_text("mine")
    folder.save(trial_state(8, best_epoch=2))
    folder.keep_best()
    folder.clear()
    assert {each.name for each in tmp_path.iterdir()} == {
        "state_00000004.pt.bak", "best.pt", "notes.txt", "state_4.pt",
    }  # fmt: skip


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("years of work")
    trial = tmp_path / "trial"
    trial.mkdir()
    for name in (".state_00000004.pt.tmp", ".state_00000004.pt.sha256.tmp"):
        (trial / name).symlink_to(victim)
        with pytest.raises(OSError, match="symbolic links"):
            CheckpointFolder(trial).save(trial_state(4, best_epoch=None))
        assert victim.read_text() == "years of work"
