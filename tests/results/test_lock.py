import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.errors import StudyError
from study.results.lock import LOCK_FILE, FolderLock, LockError, remove_abandoned

HOLD = """
import subprocess, sys, time
from pathlib import Path
from study.results.lock import FolderLock
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


def test_only_old_folders_without_a_holder_are_removed(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("abandoned", "held", "young")}
    for folder in folders.values():
        folder.mkdir()
    with FolderLock(folders["held"]):
        for name in ("abandoned", "held"):
            os.utime(folders[name], (0, 0))
        remove_abandoned([*folders.values(), tmp_path / "absent"])
    assert {folder.name for folder in tmp_path.iterdir()} == {"held", "young"}
