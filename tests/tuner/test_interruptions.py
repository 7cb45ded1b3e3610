"""A search that is interrupted from the command line can be resumed."""

import json
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from study.storage.layout import JOURNAL_FILES, STATUS_FILE
from study.training.checkpoint import CheckpointFolder
from tests.tuner.command import (
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
EPOCHS = 25

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


def is_alone(session: int) -> bool:
    return not workers(session)


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


def test_a_signal_pauses_trials_between_two_steps(here: Path) -> None:
    # Epochs take seconds, so that the signal arrives within one.
    large = ("--budget", "2M", "--max-epochs", "3", "--trials", "1")
    folder = here / "ray_results" / "tiny_2M_h3_threshold_1pct"
    for after, number in ((1, signal.SIGTERM), (2, signal.SIGUSR1)):
        process = start(here, *large, *(["--resume"] if folder.exists() else []))
        wait_until(partial(has_epochs, here, after), process)
        time.sleep(0.6)
        os.kill(process.pid, number)
        output, errors = process.communicate(timeout=60)
        check_ended_gracefully(output, process.returncode)
        assert ("resumes after epoch 1" in output) == (after == 2)
        assert "ending: running trials save themselves" in errors
        assert not left_over(process.pid)
        (checkpoints,) = folder.glob("trial_*/checkpoints")
        found = CheckpointFolder(checkpoints).newest_intact()
        assert found is not None
        assert found.state["epoch"] == after
        assert len(found.state["partial"]["norms"]) >= 1

    output, _ = run(here, *large, "--resume")
    assert "resumes after epoch 2" in output
    (log,) = folder.glob("trial_*/result.json")
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2, 3]


def test_the_key_q_ends_gracefully(here: Path) -> None:
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        command(),
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
    process.wait(timeout=30)
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


def test_a_second_ctrl_c_ends_at_once(here: Path) -> None:
    process = start(here)
    wait_until(partial(has_epochs, here, 3), process)
    # The workers do not answer, so that a graceful end would never come.
    stopped = workers(process.pid)
    for worker in stopped:
        worker.suspend()
    os.kill(process.pid, signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    check_ended_gracefully(output, process.returncode)
    assert not left_over(process.pid)
    run(here, "--resume")
    check_whole(here)


def test_a_killed_worker_costs_an_epoch_and_a_second_search_is_refused(here: Path) -> None:
    process = start(here)
    wait_until(partial(has_epochs, here, 5), process)
    _, errors = run(here, "--resume", expect=2)
    assert f"process {process.pid} on" in errors
    _, errors = run(here, "--fresh", expect=2)
    assert f"process {process.pid} on" in errors
    for worker in workers(process.pid):
        worker.kill()
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    assert "broke off and is tried again: its worker died" in output
    assert "raylet" not in output + errors
    check_whole(here)
    broken = [row for row in trials(here) if row["faults"]]
    assert broken
    assert all(fault.startswith("worker: ") for row in broken for fault in row["faults"])


def records_of(here: Path) -> dict[Path, bytes]:
    """Return all records but status.json, which only names the last driver and its end."""
    paths = cell_folder(here).rglob("*.json")
    return {p: p.read_bytes() for p in paths if p.name != STATUS_FILE}


def test_damaged_files_are_repaired_or_refused_and_never_begun_anew(here: Path) -> None:
    untouched = here / "untouched"
    untouched.mkdir()
    write_space(untouched, trials=TRIALS, epochs=EPOCHS, scheduler="fifo", forced="none")
    run(untouched, "--concurrency", "1")

    draw = random.Random(1)
    for has_come_to in (EPOCHS + 5, 2 * EPOCHS + 5):
        resumed = ["--resume"] if cell_folder(here).exists() else []
        process = start(here, "--concurrency", "1", *resumed)
        wait_until(partial(has_epochs, here, has_come_to), process)
        process.kill()
        process.communicate()
        # A worker that has not yet exited must not rewrite the damaged files.
        wait_until(partial(is_alone, process.pid), None)
        # Everything is damaged at once, but for one copy of the journal and one checkpoint.
        for path in (
            cell_folder(here) / draw.choice(JOURNAL_FILES),
            *here.glob("ray_results/*.csv"),
            *(p for p in cell_folder(here).glob("*") if p.suffix in (".yaml", ".json")),
            *cell_folder(here).glob("trial_*/*.json"),
            *cell_folder(here).glob("trial_*/events*"),
            *sorted(cell_folder(here).glob("trial_*/checkpoints/state_*.pt"))[-1:],
        ):
            os.truncate(path, draw.randrange(path.stat().st_size or 1))
    output, _ = run(here, "--resume", "--concurrency", "1")
    check_whole(here)
    for name in ("value", "params", "epochs_trained", "best_epoch"):
        assert [r[name] for r in trials(here)] == [r[name] for r in trials(untouched)]

    before = records_of(here)
    for name in JOURNAL_FILES:
        path = cell_folder(here) / name
        os.truncate(path, path.stat().st_size // 2)
    _, errors = run(here, "--resume", expect=2)
    assert "--import-trials" in errors
    assert records_of(here) == before

    output, _ = run(here, "--fresh", "--import-trials", str(cell_folder(here)), "--trials", "1")
    assert f"the sampler knows {TRIALS} old trials" in output
    assert trials(here)[0]["source"].startswith("imported:")


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_ends_the_search_cleanly(here: Path, small_disk: Path) -> None:
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
    output, _ = run(here, "--resume", "--concurrency", "1")
    assert "resumes after epoch" in output
    check_whole(here)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
def test_a_results_folder_that_cannot_be_written_is_one_clear_line(
    here: Path, small_disk: Path
) -> None:
    remount: Callable[[str], object] = lambda how: subprocess.run(  # noqa: E731
        ["mount", "-o", f"remount,{how}", small_disk], check=True
    )
    remount("ro")
    _, errors = run(here, expect=2)
    assert len(errors.splitlines()) == 1
    remount("rw")
    process = start(here, "--concurrency", "1")
    wait_until(partial(has_epochs, here, 2), process)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=60)
    remount("ro")
    _, errors = run(here, "--resume", expect=2)
    assert len(errors.splitlines()) == 1
    assert "--storage: must be a folder that can be written" in errors
    remount("rw")


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_ray_that_dies_ends_the_search_with_a_line(here: Path, name: str) -> None:
    process = start(here)
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
    # Suspended, so that the trial does not end before memory is full; it can still be killed.
    for worker in workers(process.pid):
        worker.suspend()
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
