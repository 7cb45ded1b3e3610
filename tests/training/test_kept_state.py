"""The state that an ended trial keeps, so that it can go on with a longer schedule."""

from pathlib import Path

from study.training.checkpoint import CheckpointFolder
from tests.training.checkpoints import names, tear, trial_state

MANY = 2**40


def test_the_newest_state_stays_with_its_best_weights_alone(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "trial")
    folder.save(trial_state(4, best_epoch=1))
    folder.save(trial_state(8, best_epoch=2))
    for _ in range(2):
        assert folder.keep_newest(MANY)
        assert names(tmp_path / "trial") == ["best_0002.pt", "state_00000008.pt"]
    assert folder.has_state()
    found = folder.newest_intact()
    assert found is not None
    assert (found.state["step"], found.state["best"]["epoch"]) == (8, 2)


def test_a_state_that_is_too_large_torn_or_absent_is_not_kept_and_nothing_is_removed(
    tmp_path: Path,
) -> None:
    folder = CheckpointFolder(tmp_path / "trial")
    assert not folder.keep_newest(MANY)
    assert not folder.has_state()
    folder.save(trial_state(4, best_epoch=1))
    folder.save(trial_state(8, best_epoch=2))
    before = names(tmp_path / "trial")
    newest = tmp_path / "trial" / "state_00000008.pt"
    assert not folder.keep_newest(newest.stat().st_size - 1)
    tear(newest)
    assert not folder.keep_newest(MANY)
    assert not folder.has_state()
    assert names(tmp_path / "trial") == before
