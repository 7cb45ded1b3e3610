"""The two places of a cell keep the same promises, and each keeps what the other need not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from study.errors import StudyError
from study.storage.layout import ALIVE_FILE, JOURNAL_FILES, LEASE_FILE, LOCK_FILE, TABLE_FILE
from study.storage.lock import LockError
from study.storage.place import LocalPlace, Place, StoredPlace, place_of
from tests.store import Server, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with s3_server(tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture
def stored(server: Server, tmp_path: Path) -> StoredPlace:
    return StoredPlace(server.uri(tmp_path.name), tmp_path / "cell", sign_seconds=0.0)


@pytest.fixture(params=["local", "stored"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return LocalPlace(tmp_path / "cell")
    found: StoredPlace = request.getfixturevalue("stored")
    return found


def test_a_folder_alone_is_a_search_that_is_there(place: Place) -> None:
    assert not place.has_search()
    place.path.mkdir()
    assert place.has_search()


def test_a_search_that_is_begun_is_kept_and_moved_aside(place: Place) -> None:
    journal = place.path / JOURNAL_FILES[0]
    place.path.mkdir()
    journal.write_text("an event\n")
    with place.claim():
        place.publish(journal)
        place.push_views(lambda: "a row\n")
        kept = place.published_journal()
        moved = place.move_objects_aside("now")
        assert place.published_journal() is None
        assert place.move_objects_aside("then") is None
    is_stored = isinstance(place, StoredPlace)
    assert (kept == b"an event\n", moved is not None) == (is_stored, is_stored)


def test_a_trial_shows_that_it_lives(place: Place) -> None:
    assert place.last_sign("trial_0000") == 0
    folder = place.path / "trial_0000"
    folder.mkdir(parents=True)
    (folder / LOCK_FILE).touch()
    if isinstance(place, StoredPlace):
        place.mirror.write(f"trial_0000/{ALIVE_FILE}", b"")
    assert (place.last_sign("trial_0000") or 0) > 0


def test_another_machine_continues_from_a_store(
    server: Server, stored: StoredPlace, tmp_path: Path
) -> None:
    stored.path.mkdir()
    (stored.path / "all_trials.json").write_text("[]")
    (stored.path / "status.json").write_text("{}")
    with stored.claim():
        stored.push_views(lambda: "a row\n")
        with pytest.raises(LockError, match="one process at a time"):
            with StoredPlace(server.uri(tmp_path.name), tmp_path / "elsewhere" / "cell").claim():
                raise AssertionError
    assert stored.mirror.read(LEASE_FILE) is None
    assert stored.mirror.read(TABLE_FILE) == b"a row\n"
    other = StoredPlace(server.uri(tmp_path.name), tmp_path / "elsewhere" / "cell")
    other.make_folder()
    other.pull_views()
    assert [file.name for file in other.path.iterdir()] == ["all_trials.json"]


def test_what_a_worker_has_written_replaces_what_is_here(
    stored: StoredPlace, tmp_path: Path
) -> None:
    stored.mirror.write("trial_0000/checkpoints/best_0001.pt", b"new")
    stored.mirror.write("trial_0000/checkpoints/state_00000001.pt", b"state")
    folder = stored.path / "trial_0000" / "checkpoints"
    folder.mkdir(parents=True)
    old = folder / "best_0000.pt"
    old.touch()
    for place in (LocalPlace(stored.path), stored):
        place.fetch_from_worker(
            "trial_0000/checkpoints", forget=old.unlink, only=lambda name: "best_" in name
        )
        assert old.exists() == isinstance(place, LocalPlace)
    assert [file.name for file in folder.iterdir()] == ["best_0001.pt"]


@pytest.mark.slow
def test_a_store_that_does_not_answer_says_nothing_about_a_trial(tmp_path: Path) -> None:
    place = place_of("s3://bucket/p?endpoint_override=http://127.0.0.1:1", tmp_path / "cell")
    assert place.last_sign("trial_0000") is None
    with pytest.raises(StudyError, match="must be a place that can be read and written"):
        place.move_objects_aside("now")
    with pytest.raises(StudyError, match=r"Go on with --resume when it can\.$"), place.with_cause():
        place.published_journal()


def test_messages_name_every_part_of_a_place(stored: StoredPlace, tmp_path: Path) -> None:
    local = LocalPlace(tmp_path / "cell")
    assert local.describe() == local.identity == str(tmp_path / "cell")
    assert stored.describe() == f"{tmp_path / 'cell'} or {stored.identity}"
    assert local.note(Path("cell")) is None
    assert stored.note(Path("cell")) == f"  store   {stored.identity}, working copy in cell"
