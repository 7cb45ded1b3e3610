"""The MPS daemon of a search, with a program in its place that behaves like NVIDIA's."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from study.cluster.accelerator import mps
from study.errors import SpecError
from study.tuner.faults import classify

PROGRAM = """#!{python}
import os, signal, socket, sys, time
pipes = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
assert os.path.isdir(os.environ.get("CUDA_MPS_LOG_DIRECTORY", pipes))
pid_file = os.path.join(pipes, "nvidia-cuda-mps-control.pid")
def running():
    try:
        number = int(open(pid_file).read())
        os.kill(number, 0)
        return number
    except (OSError, ValueError):
        return None
if sys.argv[1:] == ["-d"]:
    if running():
        sys.exit("An instance of this daemon is already running")
    ready, done = os.pipe()
    if os.fork():
        os.close(done)
        os.read(ready, 1)
        os._exit(0)
    os.setsid()
    server = os.fork()
    if not server:
        os.close(done)
        while True:
            time.sleep(1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    open(pid_file, "w").write(str(os.getpid()))
    open(os.path.join(pipes, "server"), "w").write(str(server))
    os.write(done, b"1")
    os.close(done)
    while not os.path.exists(os.path.join(pipes, "quit")):
        time.sleep(0.01)
    os.kill(server, signal.SIGKILL)
    os.unlink(pid_file)
elif "quit" in sys.stdin.read() and running():
    open(os.path.join(pipes, "quit"), "w").close()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    found = folder / mps.PROGRAM
    found.write_text(PROGRAM.format(python=sys.executable))
    found.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    # Nothing runs where CUDA looks, whatever the machine has.
    (tmp_path / "usual").mkdir()
    monkeypatch.setenv(mps.PIPES, str(tmp_path / "usual"))
    monkeypatch.delenv(mps.SETTING, raising=False)
    return found


def members(pipes: Path) -> list[psutil.Process]:
    numbers = [(pipes / name).read_text() for name in (f"{mps.PROGRAM}.pid", "server")]
    return [psutil.Process(int(number)) for number in numbers]


@pytest.mark.slow
def test_a_search_runs_under_a_daemon_of_its_own_and_ends_it(program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    before = dict(os.environ)
    with mps.mps_daemon(folder, n_gpus=1):
        pipes = Path(os.environ[mps.PIPES])
        assert pipes == mps.pipes_of(folder)
        assert mps.describe() == "on, a daemon of this search"
        for private in (folder, pipes, folder / "log"):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
        started = members(pipes)
    assert not psutil.wait_procs(started, timeout=5)[1]
    assert dict(os.environ) == before


@pytest.mark.slow
def test_a_daemon_that_does_not_answer_is_killed(program: Path, tmp_path: Path) -> None:
    with mps.mps_daemon(tmp_path / "m", n_gpus=1):
        started = members(mps.pipes_of(tmp_path / "m"))
        program.write_text("#!/bin/sh\nexit 1\n")
    assert not psutil.wait_procs(started, timeout=5)[1]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_search_that_is_killed_leaves_no_daemon(
    program: Path, tmp_path: Path, how: signal.Signals
) -> None:
    folder = tmp_path / "m"
    code = (
        "import sys, time; from pathlib import Path\n"
        "from study.cluster import reaper; from study.cluster.accelerator import mps\n"
        f"folder = Path({str(folder)!r})\n"
        "with reaper.reaping(mps.pipes_of(folder)), mps.mps_daemon(folder, n_gpus=1):\n"
        "    print('there', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as search:
        assert search.stdout is not None
        assert search.stdout.readline() == b"there\n"
        started = members(mps.pipes_of(folder))
        search.send_signal(how)
    assert not psutil.wait_procs(started, timeout=15)[1]


def test_the_setting_keeps_trials_away_from_any_daemon(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mps.SETTING, "off")
    with mps.mps_daemon(tmp_path / "m", n_gpus=1):
        assert not list(Path(os.environ[mps.PIPES]).iterdir())
        assert mps.describe() == "off, as STUDY_MPS says"
    monkeypatch.setenv(mps.SETTING, "maybe")
    with pytest.raises(SpecError, match="STUDY_MPS: must be on or off, but got 'maybe'"):
        with mps.mps_daemon(tmp_path / "n", n_gpus=1):
            pass


def test_nothing_is_started_without_a_device(program: Path, tmp_path: Path) -> None:
    with mps.mps_daemon(tmp_path / "m", n_gpus=0):
        assert not (tmp_path / "m").exists()


def test_a_search_does_without_a_program_that_fails(program: Path, tmp_path: Path) -> None:
    program.write_text("#!/bin/sh\nexit 1\n")
    with mps.mps_daemon(tmp_path / "m", n_gpus=1):
        assert mps.describe() == "off, the daemon did not start"


@pytest.mark.slow
def test_a_daemon_of_the_user_is_used_and_left_running(program: Path, tmp_path: Path) -> None:
    with mps.mps_daemon(tmp_path / "first", n_gpus=1):
        started = members(mps.pipes_of(tmp_path / "first"))
        with mps.mps_daemon(tmp_path / "second", n_gpus=1):
            assert not (tmp_path / "second").exists()
        assert all(process.is_running() for process in started)


@pytest.mark.slow
def test_a_daemon_of_somebody_else_is_refused_in_one_line(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mps.mps_daemon(tmp_path / "first", n_gpus=1):
        # Another user's process is not to be had in a test: this user takes another number.
        monkeypatch.setattr(os, "getuid", lambda: 2**31)
        owner = members(mps.pipes_of(tmp_path / "first"))[0].uids().real
        if owner == 0:
            return
        with pytest.raises(SpecError, match=rf"got one of user {owner}, process") as refused:
            with mps.mps_daemon(tmp_path / "second", n_gpus=1):
                pass
        assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_a_client_gets_a_limit_of_memory(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "")
    with mps.mps_daemon(tmp_path / "m", n_gpus=1):
        mps.join_daemon(3 * 2**30)
        assert os.environ["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=4096M"


@pytest.mark.slow
def test_after_a_fault_the_trial_is_retried_without_the_daemon(
    program: Path, tmp_path: Path
) -> None:
    with mps.mps_daemon(tmp_path / "m", n_gpus=1):
        with pytest.raises(mps.MpsError) as failed, mps.blaming_daemon():
            raise RuntimeError("CUDA error: unspecified launch failure\nCompile with ...")
        assert classify(failed.value, "").kind == "worker"
        mps.join_daemon(2**30)
        assert not list(Path(os.environ[mps.PIPES]).iterdir())
        # The same fault without the daemon is the trial's own.
        with pytest.raises(RuntimeError, match="launch") as own, mps.blaming_daemon():
            raise RuntimeError("CUDA error: unspecified launch failure")
        assert classify(own.value, "").kind == "error"
        os.environ[mps.PIPES] = str(mps.pipes_of(tmp_path / "m"))


def test_a_daemon_that_was_killed_is_not_waited_for(program: Path, tmp_path: Path) -> None:
    with mps.mps_daemon(tmp_path / "m", n_gpus=1):
        pipes = mps.pipes_of(tmp_path / "m")
        for process in members(pipes):
            process.kill()
        deadline = time.monotonic() + 5
        while mps.describe().startswith("on") and time.monotonic() < deadline:
            time.sleep(0.01)
        mps.join_daemon(2**30)
        assert not list(Path(os.environ[mps.PIPES]).iterdir())


@pytest.mark.slow
def test_running_out_of_memory_is_not_blamed_on_the_daemon(program: Path, tmp_path: Path) -> None:
    with mps.mps_daemon(tmp_path / "m", n_gpus=1):
        with pytest.raises(RuntimeError, match="memory"), mps.blaming_daemon():
            raise RuntimeError("CUDA error: out of memory")
        assert mps.describe().startswith("on")
