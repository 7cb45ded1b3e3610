"""The copy of a cell in a real S3-compatible store."""

import errno
import http.client
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.errors import StudyError
from study.results.journal import Event, Journal, JournalError
from study.storage.layout import JOURNAL_FILES, LEASE_FILE
from study.storage.lease import Lease, is_held
from study.storage.lock import LockError
from study.storage.mirror import Mirror
from tests.store import BUCKET, CREDENTIALS, Server, s3_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with s3_server(tmp_path_factory.mktemp("store") / "log") as running:
        yield running


@pytest.fixture
def mirror(server: Server, tmp_path: Path) -> Mirror:
    """Yield the mirror of a cell of this test alone."""
    return Mirror(server.uri(tmp_path.name), "cell", tmp_path)


def written(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def read(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_another_machine_gets_what_was_pushed(
    server: Server, mirror: Mirror, tmp_path: Path
) -> None:
    files = {"a.json": b"1", "trial/log": b"", "trial/deep/w.pt": os.urandom(70_000)}
    written(tmp_path, {**files, ".a.json.tmp": b"half", "lock": b"mine"})
    mirror.push(skip=("lock",))
    other = tmp_path / "elsewhere"
    Mirror(server.uri(tmp_path.name), "cell", other).pull()
    assert read(other) == files


def test_only_what_has_changed_is_pushed_again(
    server: Server, mirror: Mirror, tmp_path: Path
) -> None:
    written(tmp_path, {"same": b"1", "other": b"1"})
    mirror.push()
    # Somebody else's, which a second push of the same file would undo.
    mirror.write("same", b"2")
    # Of the same size.
    written(tmp_path, {"other": b"2"})
    mirror.push()
    assert [server.content(f"cell/{name}", tmp_path.name) for name in ("same", "other")] == [
        b"2",
        b"2",
    ]


def test_what_is_gone_here_goes_there_and_nothing_else(
    server: Server, mirror: Mirror, tmp_path: Path
) -> None:
    written(tmp_path, {"trial_1/state": b"1", "trial_1/best": b"1", "trial_11/state": b"1"})
    mirror.push()
    mirror.write("trial_1/notes", b"of somebody")
    (tmp_path / "trial_1/state").unlink()
    (tmp_path / "trial_11/state").unlink()
    mirror.drop_missing("trial_1", only=lambda name: name in ("state", "best"))
    assert server.names(tmp_path.name) == [
        "cell/trial_1/best",
        "cell/trial_1/notes",
        "cell/trial_11/state",
    ]


def test_no_object_is_pulled_out_of_the_folder(
    server: Server, mirror: Mirror, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    for key in ("cell/../beside", "beside", "cell/inside"):
        # pyarrow shortens keys, when it reads too; the store does not.
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("PUT", f"/{BUCKET}/{tmp_path.name}/{key}", b"1")
        assert connection.getresponse().status == 200
        connection.close()
    Mirror(server.uri(tmp_path.name), "cell", root).pull()
    assert read(tmp_path) == {"root/inside": b"1"}


def test_a_file_never_stands_without_its_hash(
    server: Server, mirror: Mirror, tmp_path: Path
) -> None:
    names = ["best_1.pt", "best_1.pt.sha256", "state_2.pt", "state_2.pt.sha256"]
    written(tmp_path, {f"trial/{name}": b"1" for name in names})
    before = len(server.log.read_text().splitlines())
    mirror.push()
    for name in names:
        (tmp_path / "trial" / name).unlink()
    mirror.drop_missing("trial", only=bool)
    requests = server.log.read_text().splitlines()[before:]
    asked = re.compile(rf"(PUT|DELETE) /bucket/{tmp_path.name}/cell/trial/([^ ?]+)")
    done = [" ".join(found.groups()) for line in requests if (found := asked.search(line))]
    best, best_hash, state, state_hash = names
    assert done == [
        *(f"PUT {name}" for name in (best_hash, best, state_hash, state)),
        *(f"DELETE {name}" for name in (state, state_hash, best, best_hash)),
    ]


@pytest.mark.slow
def test_a_store_that_is_gone_is_an_error_of_storage_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    # Nobody listens there.
    mirror = Mirror("s3://bucket/p?endpoint_override=http://127.0.0.1:1", "cell", tmp_path)
    with pytest.raises(OSError, match="NETWORK_CONNECTION") as told:
        mirror.write("name", b"1")
    assert told.value.errno == errno.EIO
    assert told.value.filename == "s3://bucket/p/cell/name"
    with pytest.raises(StudyError, match="NETWORK_CONNECTION"):
        mirror.is_usable_with("name")


def test_a_wrong_uri_is_refused_and_credentials_in_it_are_not_repeated(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(StudyError, match="no such bucket"):
        Mirror(server.uri().replace("bucket", "nobody"), "cell", tmp_path).is_usable_with("x")
    with pytest.raises(StudyError, match="but got conection"):
        Mirror("s3://bucket/p?conection=slow", "cell", tmp_path)
    with pytest.raises(StudyError, match="must be a folder or s3://"):
        Mirror("gs://bucket/p", "cell", tmp_path)
    with pytest.raises(StudyError, match="credentials") as told:
        Mirror("s3://me:hunter2@bucket/p", "cell", tmp_path)
    assert "hunter2" not in str(told.value)


@pytest.mark.slow
def test_a_lease_excludes_others_and_tells_the_workers(
    server: Server, mirror: Mirror, tmp_path: Path
) -> None:
    stop = tmp_path / "stop"
    with Lease(mirror, stop) as lease:
        assert is_held(mirror, lease.holder)
        with pytest.raises(LockError, match=f"process {os.getpid()} on"):
            Lease(mirror, stop)
        stop.touch()
        until = 50
        while is_held(mirror, lease.holder) and until:
            until -= 1
            lease._ended.wait(0.1)
        assert not is_held(mirror, lease.holder)
        assert is_held(mirror, lease.holder, or_stopped=True)
    assert not mirror.has(LEASE_FILE)


def test_whoever_was_taken_over_publishes_nothing_more(mirror: Mirror, tmp_path: Path) -> None:
    lease = Lease(mirror, tmp_path / "stop")
    journal = Journal.create(tmp_path, "0123abcd", {"kind": "created", "time": 0.0})
    journal.publish = lease.publish
    journal.append({"kind": "one", "time": 1.0})
    assert mirror.read(JOURNAL_FILES[0]) == (tmp_path / JOURNAL_FILES[0]).read_bytes()
    published = mirror.read(JOURNAL_FILES[0])
    other = b'{"holder": "another", "host": "elsewhere"}'
    mirror.write(LEASE_FILE, other)
    with pytest.raises(OSError, match="another has taken over"):
        journal.append({"kind": "two", "time": 2.0})
    assert mirror.read(JOURNAL_FILES[0]) == published
    lease.release()
    assert mirror.read(LEASE_FILE) == other


def test_a_process_of_this_machine_that_has_ended_holds_no_lease(
    mirror: Mirror, tmp_path: Path
) -> None:
    lease = Lease(mirror, tmp_path / "stop")
    held = mirror.read(LEASE_FILE)
    assert held is not None
    lease.release()
    # Its number is another process's by now.
    mirror.write(LEASE_FILE, held.replace(b'"began": ', b'"began": 1'))
    Lease(mirror, tmp_path / "stop").release()
    for other in (
        held.replace(b'"host": "', b'"host": "not-'),
        held.replace(b'"pid": ', b'"pid": "x", "was": '),
        held.replace(b'"pid": ', b'"was": '),
        held.replace(b'"pid": ', b'"pid": -'),
    ):
        mirror.write(LEASE_FILE, other)
        with pytest.raises(LockError):
            Lease(mirror, tmp_path / "stop")
    mirror.write(LEASE_FILE, b"[" * 100_000)
    Lease(mirror, tmp_path / "stop").release()


def events(count: int, *more: str) -> list[Event]:
    kinds = [*(f"event {number}" for number in range(count)), *more]
    return [{"kind": kind, "time": 1.0} for kind in kinds]


def journal_of(folder: Path, events: list[Event]) -> str:
    """Write a journal; return the text of a copy."""
    folder.mkdir(exist_ok=True)
    journal = Journal.create(folder, "0123abcd", events[0])
    for event in events[1:]:
        journal.append(event)
    return (folder / JOURNAL_FILES[0]).read_text()


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        (None, events(3), events(3)),
        (events(2), events(3), events(3)),
        # An outage: what the store has not got stays.
        (events(4), events(3), events(4)),
        # Another process continued it: what never reached the store has not happened.
        (events(3, "lost", "lost"), events(3, "other"), events(3, "other")),
    ],
)
def test_the_journal_of_the_store_is_the_one_that_counts(
    tmp_path: Path, here: list[Event] | None, there: list[Event], expected: list[Event]
) -> None:
    published = journal_of(tmp_path / "store", there)
    if here is not None:
        journal_of(tmp_path, here)
    assert Journal.adopt(tmp_path, published) == (here != expected)
    assert Journal.open(tmp_path, witness=None).replay() == expected


def test_a_damaged_copy_here_is_mended_from_the_store(tmp_path: Path) -> None:
    published = journal_of(tmp_path, events(4))
    for name in JOURNAL_FILES:
        os.truncate(tmp_path / name, 150)
    assert Journal.adopt(tmp_path, published)
    assert Journal.open(tmp_path, witness=None).replay() == events(4)


def test_another_search_here_or_a_damaged_one_there_is_refused(tmp_path: Path) -> None:
    published = journal_of(tmp_path / "store", events(3))
    with pytest.raises(JournalError, match="damaged"):
        Journal.adopt(tmp_path, published[50:])
    Journal.create(tmp_path, "ffffffff", events(1)[0])
    before = read(tmp_path)
    with pytest.raises(JournalError, match="ffffffff"):
        Journal.adopt(tmp_path, published)
    assert read(tmp_path) == before


def test_an_earlier_search_is_moved_aside_and_the_lease_stays(
    server: Server, mirror: Mirror, tmp_path: Path
) -> None:
    written(tmp_path, {JOURNAL_FILES[0]: b"1", "trial/w.pt": b"2"})
    mirror.push()
    mirror.write(LEASE_FILE, b"3")
    aside = mirror.move_aside("then", last=JOURNAL_FILES[0], skip=(LEASE_FILE,))
    assert aside == f"s3://bucket/{tmp_path.name}/replaced/cell-then"
    assert server.names(tmp_path.name) == [
        f"cell/{LEASE_FILE}",
        f"replaced/cell-then/{JOURNAL_FILES[0]}",
        "replaced/cell-then/trial/w.pt",
    ]
    assert mirror.move_aside("again", last=JOURNAL_FILES[0], skip=(LEASE_FILE,)) is None
