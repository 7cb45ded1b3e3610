"""The folder of a new search is made whole or not at all, and nothing of a user's is removed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from study.data.dataset import Dataset
from study.errors import StudyError
from study.results.journal import Journal
from study.search.cell_folder import (
    create,
)
from study.storage.layout import JOURNAL_FILES, LOCK_FILE
from study.storage.lock import FolderLock
from study.storage.place import LocalPlace
from tests.results.conftest import full_disk
from tests.search.folders import closed, contents, describe
from tests.search.simulated_search import CELL


def test_a_folder_that_is_there_is_not_made_again(path: Path, data: Dataset) -> None:
    before = contents(path.parent)
    with pytest.raises(StudyError, match=f"{path}: must be a folder that can be made"):
        create(LocalPlace(path), describe(path, data))
    assert contents(path.parent) == before
    assert [each.name for each in path.parent.iterdir()] == [CELL.name]


@pytest.mark.parametrize("room", [0, 100, 5_000])
def test_a_folder_that_could_not_be_made_whole_is_not_there(
    tmp_path: Path, data: Dataset, room: int
) -> None:
    path = tmp_path / CELL.name
    described = describe(path, data)
    is_open = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
    # The description is so large that the disk cannot hold all of it.
    described["features"] = ["a name of a feature"] * 500
    with full_disk(room), pytest.raises(StudyError, match="but got File too large"):
        create(LocalPlace(path), described)
    assert list(tmp_path.iterdir()) == []
    still_open = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
    assert len(still_open) == len(is_open)


def test_a_description_that_is_not_plain_leaves_nothing_behind(
    tmp_path: Path, data: Dataset
) -> None:
    path = tmp_path / CELL.name
    with pytest.raises(ValueError, match="not JSON compliant"):
        create(LocalPlace(path), {**describe(path, data), "n_rows": float("nan")})
    assert list(tmp_path.iterdir()) == []


def hidden(tmp_path: Path, data: Dataset) -> Path:
    """Return the unfinished folder of a killed process, an hour later."""
    path = tmp_path / CELL.name
    made = create(LocalPlace(path), describe(path, data))
    aside = closed(made).rename(path.with_name(f".{CELL.name}.{made.journal.search}"))
    os.utime(aside, (0, 0))
    return aside


def test_what_a_killed_process_left_half_made_is_removed(tmp_path: Path, data: Dataset) -> None:
    path, aside = tmp_path / CELL.name, hidden(tmp_path, data)
    (aside / ".cell.yaml.tmp").write_text("half")
    (aside / "cell.yaml").unlink()
    os.utime(aside, (0, 0))
    closed(create(LocalPlace(path), describe(path, data)))
    assert list(tmp_path.iterdir()) == [path]


def renamed(aside: Path) -> Path:
    return aside.rename(aside.with_name(f".{CELL.name}.old"))


def named_like_another_search(aside: Path) -> Path:
    return aside.rename(aside.with_name(f".{CELL.name}.deadbeef"))


def with_a_trial(aside: Path) -> Path:
    (aside / "trial_0000").mkdir()
    return aside


def with_notes(aside: Path) -> Path:
    (aside / "notes.txt").write_text("mine")
    return aside


def with_another_event(aside: Path) -> Path:
    Journal.open(aside, witness=None).append({"kind": "exhausted", "time": 1.0})
    return aside


def without_a_lock(aside: Path) -> Path:
    (aside / LOCK_FILE).unlink()
    return aside


def as_a_link(aside: Path) -> Path:
    aside.rename(aside.with_name("target"))
    aside.symlink_to(aside.with_name("target"))
    return aside


def in_use(aside: Path) -> Path:
    # Released with the test's process.
    FolderLock(aside)
    return aside


@pytest.mark.parametrize(
    "put",
    [
        renamed, named_like_another_search, with_a_trial, with_notes, with_another_event,
        without_a_lock, as_a_link, in_use,
    ],
)  # fmt: skip
def test_a_folder_that_a_user_has_put_aside_stays(
    tmp_path: Path, data: Dataset, put: Callable[[Path], Path]
) -> None:
    aside = put(hidden(tmp_path, data))
    os.utime(aside, (0, 0))
    before = contents(aside)
    assert set(before) >= {*JOURNAL_FILES, "cell.yaml"}
    path = tmp_path / CELL.name
    closed(create(LocalPlace(path), describe(path, data)))
    assert contents(aside) == before
