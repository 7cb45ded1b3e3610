"""A search that is interrupted from the command line can be resumed."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from study.storage.layout import STATUS_FILE, STOP_FILE
from study.training.checkpoint import CheckpointFolder
from tests.sweeping.command import start as start_module
from tests.tuner.command import (
    FLAGS,
    cell_folder,
    command,
    epochs_of,
    left_over,
    run,
    start,
    trials,
    wait_until,
    workers,
    write_space,
)

TRIALS = 3
EPOCHS = 12

pytestmark = pytest.mark.ray


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder with a search space whose trials are long enough to be interrupted."""
    write_space(tmp_path, trials=TRIALS, epochs=EPOCHS, scheduler="fifo", forced="none")
    return tmp_path


def n_epochs(here: Path) -> int:
    files = (here / "ray_results").glob("*/trial_*/result.json")
    return sum(file.read_bytes().count(b"\n") for file in files)


def has_epochs(here: Path, count: int) -> bool:
    return n_epochs(here) >= count


def check_whole(here: Path) -> None:
    rows = trials(here)
    assert [row["number"] for row in rows] == list(range(TRIALS))
    for row in rows:
        assert row["reason"] in ("completed", "collapsed")
        assert [e["epoch"] for e in epochs_of(here, row)] == list(range(1, EPOCHS + 1))


def check_ended_gracefully(output: str, code: int | None) -> None:
    assert code == 130, output
    lines = [line for line in output.splitlines() if line.strip()]
    assert lines[-1].strip().startswith(("python", "/"))
    assert lines[-1].strip().endswith("--resume")
    assert lines[-2].endswith("Go on with:")


def test_a_signal_pauses_trials_between_two_steps(tmp_path: Path) -> None:
    write_space(tmp_path, trials=1, epochs=6, scheduler="fifo", forced="none")
    before = 0
    for number in (signal.SIGTERM, signal.SIGUSR1):
        resumed = ["--resume"] if before else []
        process = start_module(tmp_path, *FLAGS, *resumed, module="tests.tuner.slow_cell")
        wait_until(partial(has_epochs, tmp_path, before + 1), process)
        # An epoch of slow steps takes more than two seconds, so that the signal arrives within one.
        time.sleep(0.4)
        os.kill(process.pid, number)
        output, errors = process.communicate(timeout=60)
        check_ended_gracefully(output, process.returncode)
        assert (f"resumes after epoch {before}" in output) == (before > 0)
        assert "ending: running trials save themselves" in errors
        assert not left_over(process.pid)
        (checkpoints,) = cell_folder(tmp_path).glob("trial_*/checkpoints")
        found = CheckpointFolder(checkpoints).newest_intact()
        assert found is not None
        before = n_epochs(tmp_path)
        assert found.state["epoch"] == before
        assert len(found.state["partial"]["norms"]) >= 1

    output, _ = run(tmp_path, "--resume")
    assert f"resumes after epoch {before}" in output
    (row,) = trials(tmp_path)
    assert [epoch["epoch"] for epoch in epochs_of(tmp_path, row)] == list(range(1, 7))


def test_the_key_q_ends_gracefully(here: Path) -> None:
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        command("--concurrency", "1"),
        cwd=here,
        env={**os.environ, "HOME": str(here / "home"), "TERM": "xterm"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        # The process runs in the foreground of a terminal of its own.
        preexec_fn=partial(_take_terminal, inside),
    )
    os.close(inside)
    output = bytearray()
    pressed = False
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        try:
            output += os.read(terminal, 4096)
        except OSError:
            break
        if not pressed and has_epochs(here, 3):
            os.write(terminal, b"xq")
            pressed = True
    process.wait(timeout=60)
    os.close(terminal)
    text = output.decode(errors="replace")
    assert pressed
    assert process.returncode == 130, text
    assert "--resume" in text
    assert n_epochs(here) < TRIALS * EPOCHS


def _take_terminal(descriptor: int) -> None:
    os.setsid()
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def suspended(session: int) -> list[psutil.Process]:
    """Return the workers of a session, which make no step any more."""
    found = workers(session)
    for worker in found:
        worker.suspend()
    return found


def test_a_second_ctrl_c_ends_at_once_and_a_killed_worker_costs_an_epoch(here: Path) -> None:
    process = start(here, "--concurrency", "1")
    wait_until(partial(has_epochs, here, 3), process)
    # The worker does not answer, so that a graceful end would never come.
    assert suspended(process.pid)
    os.kill(process.pid, signal.SIGINT)
    wait_until((cell_folder(here) / STOP_FILE).exists, process)
    time.sleep(1.0)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    check_ended_gracefully(output, process.returncode)
    assert not left_over(process.pid)

    process = start(here, "--resume", "--concurrency", "1")
    wait_until(partial(has_epochs, here, n_epochs(here) + 3), process)
    # The search must not end before a second one is refused.
    living = suspended(process.pid)
    _, errors = run(here, "--resume", expect=2)
    assert f"process {process.pid} on" in errors
    _, errors = run(here, "--fresh", expect=2)
    assert f"process {process.pid} on" in errors
    assert living
    for worker in living:
        worker.kill()
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    assert not left_over(process.pid)
    assert "broke off and is tried again: its worker died" in output
    assert "raylet" not in output + errors
    check_whole(here)
    (broken,) = (row["faults"] for row in trials(here) if row["faults"])
    assert len(broken) == 1
    assert broken[0].startswith("worker: ")


@pytest.fixture
def small_disk(here: Path) -> Iterator[Path]:
    """Mount a file system of 12 MiB as the results folder."""
    folder = here / "ray_results"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, *, leave: int) -> Path:
    path = folder / "filler"
    path.write_bytes(b"\0" * (shutil.disk_usage(folder).free - leave))
    return path


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)


def check_refused_while_read_only(here: Path, folder: Path, *flags: str) -> None:
    """Check that a results folder that cannot be written is one clear line."""
    remount(folder, "ro")
    _, errors = run(here, *flags, expect=2)
    assert len(errors.splitlines()) == 1
    assert "--storage: must be a folder that can be written" in errors
    remount(folder, "rw")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_ends_the_search_cleanly_and_one_to_read_only_is_refused(
    here: Path, small_disk: Path
) -> None:
    check_refused_while_read_only(here, small_disk)
    # Every epoch is saved, so that a checkpoint meets the full disk before the journal does.
    space = (here / "tiny.yaml").read_text()
    (here / "tiny.yaml").write_text(
        space.replace("search:\n", "search:\n  checkpoint_seconds: 0\n")
    )
    nearly_full, full = 2**20, 0
    for come_to, leave in ((5, nearly_full), (EPOCHS + 5, full)):
        resumed = ["--resume"] if cell_folder(here).exists() else []
        process = start(here, "--concurrency", "1", *resumed)
        wait_until(partial(has_epochs, here, come_to), process)
        filler = fill(small_disk, leave=leave)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 1, output + errors
        assert "stopped: " in output
        assert "Traceback" not in output + errors
        assert not left_over(process.pid)
        assert come_to <= n_epochs(here) < come_to + EPOCHS - 5
        status = json.loads((cell_folder(here) / STATUS_FILE).read_text())
        assert status["state"] == "stopped"

        _, errors = run(here, "--resume", "--concurrency", "1", expect=2)
        assert "must have room for the checkpoints" in errors
        filler.unlink()
    check_refused_while_read_only(here, small_disk, "--resume")
    output, _ = run(here, "--resume", "--concurrency", "1")
    assert "resumes after epoch" in output
    check_whole(here)


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_ray_that_dies_ends_the_search_with_a_line(here: Path, name: str) -> None:
    process = start(here, "--concurrency", "1")
    wait_until(partial(has_epochs, here, 3), process)
    for child in psutil.Process(process.pid).children():
        if child.name() == name:
            child.kill()
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1, output + errors
    assert f"stopped: Ray's {name} has died" in output
    assert output.rstrip().endswith("--resume")
    assert all(row["faults"] == [] for row in trials(here))


def has_fault(here: Path) -> bool:
    return any(
        b'"kind": "fault"' in p.read_bytes() for p in here.glob("ray_results/*/journal.jsonl")
    )


# What its neighbours take and give back of the memory would decide.
@pytest.mark.alone
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Ray watches memory on Linux only")
def test_a_worker_that_the_memory_monitor_ends_goes_on_with_half_the_micro_batch(
    here: Path,
) -> None:
    memory = psutil.virtual_memory()
    threshold = 1 - memory.available / memory.total + 0.12
    # With one trial at a time it is certain which one Ray ends.
    process = start(
        here,
        *("--concurrency", "1", "--trials", "1"),
        RAY_memory_usage_threshold=f"{threshold:.3f}",
    )
    wait_until(partial(has_epochs, here, 3), process)
    # The trial must not end before memory is full; a suspended worker can still be killed.
    assert suspended(process.pid)
    greedy = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import time; b = b'x' * {int(0.16 * memory.total)}; time.sleep(99)",
        ]
    )
    try:
        wait_until(partial(has_fault, here), process)
    finally:
        greedy.kill()
        greedy.wait()
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, output + errors
    assert not left_over(process.pid)
    assert "broke off and is tried again: Ray's memory monitor ended the worker" in output
    assert "Traceback" not in output + errors
    (row,) = trials(here)
    assert [epoch["epoch"] for epoch in epochs_of(here, row)] == list(range(1, EPOCHS + 1))
    assert "then with at most 128 samples in a pass" in row["faults"][0]
    assert row["micro_batch"] <= 128
