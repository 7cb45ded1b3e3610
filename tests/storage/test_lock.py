import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from study.errors import StudyError
from study.storage.layout import LOCK_FILE
from study.storage.lock import FolderLock, LockError, remove_abandoned, scratch_folder

HOLD = """
import subprocess, sys, time
from pathlib import Path
from study.storage.lock import FolderLock
lock = FolderLock(Path(sys.argv[1]))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(float(sys.argv[2]))
lock.release()
time.sleep(60)
"""


class Holder:
    """Another process that locks a folder and has a child."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder), str(seconds)], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.child = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> "Holder":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        os.kill(self.child, signal.SIGKILL)


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    with Holder(tmp_path, 60) as holder:
        with pytest.raises(LockError, match=f"got process {holder.process.pid} on .* at work"):
            FolderLock(tmp_path)
        began = time.monotonic()
        with pytest.raises(LockError):
            FolderLock(tmp_path, wait_seconds=0.3)
        assert time.monotonic() - began >= 0.3
        holder.kill()
        # Its child lives on, and holds nothing.
        os.kill(holder.child, 0)
        FolderLock(tmp_path).release()


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    with Holder(tmp_path, 0.5):
        with pytest.raises(LockError):
            FolderLock(tmp_path)
        FolderLock(tmp_path, wait_seconds=30).release()


def test_a_lock_excludes_its_own_process_too_until_it_is_released(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(LockError, match=f"process {os.getpid()}"):
        FolderLock(tmp_path)
    lock.release()
    lock.release()
    with FolderLock(tmp_path), pytest.raises(LockError):
        FolderLock(tmp_path)
    FolderLock(tmp_path).release()


def test_a_refusal_leaves_the_name_of_the_holder_and_no_open_file(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        before = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
        text = (tmp_path / LOCK_FILE).read_text()
        with pytest.raises(LockError):
            FolderLock(tmp_path)
        assert (tmp_path / LOCK_FILE).read_text() == text
        assert text.startswith(f"process {os.getpid()} on ")
        after = os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
        assert len(after) == len(before)


def test_a_moved_folder_stays_locked(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with FolderLock(folder):
        folder.rename(tmp_path / "moved")
        with pytest.raises(LockError):
            FolderLock(tmp_path / "moved")


def test_a_sign_of_life_is_the_time_of_change(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    os.utime(tmp_path / LOCK_FILE, (1000.0, 1000.0))
    lock.show_life()
    assert abs((tmp_path / LOCK_FILE).stat().st_mtime - time.time()) < 60
    lock.release()
    os.utime(tmp_path / LOCK_FILE, (1000.0, 1000.0))
    lock.show_life()
    assert (tmp_path / LOCK_FILE).stat().st_mtime == 1000.0


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="must be a file that can be written"):
        FolderLock(tmp_path / "absent")


def lead(path: Path, victim: Path, how: str) -> None:
    """Put something of somebody else into the place of a file."""
    if how == "link":
        path.symlink_to(victim)
    elif how == "hard link":
        path.hardlink_to(victim)
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("content", [b"years of work\n", b""])
@pytest.mark.parametrize("how", ["link", "pipe"])
def test_a_lock_that_is_no_file_is_refused(tmp_path: Path, how: str, content: bytes) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_bytes(content)
    folder.mkdir()
    lead(folder / LOCK_FILE, victim, how)
    with pytest.raises(LockError, match="must be a file that can be written, but got a "):
        FolderLock(folder)
    assert victim.read_bytes() == content


@pytest.mark.parametrize("content", [b"years of work\n", b""])
def test_a_lock_that_leads_to_another_file_is_not_written_to(
    tmp_path: Path, content: bytes
) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_bytes(content)
    folder.mkdir()
    lead(folder / LOCK_FILE, victim, "hard link")
    with FolderLock(folder), pytest.raises(LockError):
        FolderLock(folder)
    assert victim.read_bytes() == content


def test_a_file_that_only_has_the_name_of_a_lock_keeps_its_content(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).write_bytes(b"the key is under the mat")
    with FolderLock(tmp_path), pytest.raises(LockError):
        FolderLock(tmp_path)
    assert (tmp_path / LOCK_FILE).read_bytes() == b"the key is under the mat"


@pytest.mark.parametrize("left", [b"", b"\0" * 30, b"process 1", b"process 12 on a host", b"pro"])
def test_a_lock_that_a_crash_left_is_written_again(tmp_path: Path, left: bytes) -> None:
    (tmp_path / LOCK_FILE).write_bytes(left)
    with FolderLock(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")


def age(folder: Path) -> None:
    os.utime(folder, (0, 0))


def killed(parent: Path, name: str = "mss-killed_0") -> Path:
    """Make the temporary folder of a process that was killed."""
    with scratch_folder(parent) as folder:
        (folder / "trial").mkdir()
        (folder / "trial" / "file").touch()
        folder.rename(parent / name)
    age(parent / name)
    return parent / name


def test_a_temporary_folder_is_private_and_goes_with_its_process(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        age(folder)
        remove_abandoned(tmp_path)
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    young = killed(tmp_path, "mss-young_01")
    os.utime(young)
    killed(tmp_path)
    with scratch_folder(tmp_path) as folder:
        assert {each.name for each in tmp_path.iterdir()} == {young.name, folder.name}


def open_to_others(folder: Path) -> None:
    folder.chmod(0o755)


def of_another_user(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(folder, 12345, -1)


def marked_by_another_user(folder: Path) -> None:
    of_another_user(folder / "scratch")


def without_a_marker(folder: Path) -> None:
    (folder / "scratch").rename(folder / "lock")


def marked_by_somebody(folder: Path) -> None:
    (folder / "scratch").write_text("from scratch")


def marked_elsewhere(folder: Path) -> None:
    (folder / "scratch").write_text("process 1 on another machine")


def marked_by_a_link(folder: Path) -> None:
    marker = (folder / "scratch").rename(folder / "marker")
    (folder / "scratch").symlink_to(marker)


def named_otherwise(folder: Path) -> None:
    folder.rename(folder.with_name("mss-of-mine"))


@pytest.mark.parametrize(
    "change",
    [
        open_to_others, of_another_user, marked_by_another_user, without_a_marker,
        marked_by_somebody, marked_elsewhere, marked_by_a_link, named_otherwise,
    ],
)  # fmt: skip
def test_a_folder_that_may_be_somebody_elses_stays(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    change(killed(tmp_path))
    (folder,) = tmp_path.iterdir()
    age(folder)
    before = {each: each.is_file() and each.read_bytes() for each in folder.rglob("*")}
    remove_abandoned(tmp_path)
    assert {each: each.is_file() and each.read_bytes() for each in folder.rglob("*")} == before


def test_no_link_in_a_shared_folder_is_followed(tmp_path: Path) -> None:
    shared, own = tmp_path / "shared", tmp_path / "own"
    shared.mkdir()
    own.mkdir()
    # A folder of this user that could be removed, reached by a link of another user.
    target = killed(own)
    (shared / target.name).symlink_to(target)
    # Somebody's folder with a link to a file of this user.
    victim = own / "victim"
    victim.write_text("years of work")
    hostile = killed(shared, "mss-hostile0")
    (hostile / "scratch").unlink()
    (hostile / "scratch").symlink_to(victim)
    age(hostile)
    remove_abandoned(shared)
    remove_abandoned(tmp_path / "absent")
    assert target.is_dir()
    assert victim.read_text() == "years of work"
    assert hostile.is_dir()
