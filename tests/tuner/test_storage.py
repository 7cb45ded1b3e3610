"""A search whose results are in an S3-compatible store, through the command line."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from study.storage.layout import JOURNAL_FILES, LEASE_FILE
from study.training.checkpoint import CheckpointFolder
from tests.store import CREDENTIALS, Line, Server, s3_server
from tests.tuner.command import (
    CELL,
    cell_folder,
    epochs_of,
    left_over,
    run,
    start,
    trials,
    wait_until,
    workers,
    write_space,
)

pytestmark = pytest.mark.ray

TRIALS = 3
EPOCHS = 8
MORE_EPOCHS = 10


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with s3_server(tmp_path / "log") as running:
        yield running


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose commands have a temporary folder of their own."""
    # The store shows how far a trial has come by the states in it.
    write_space(
        tmp_path,
        trials=TRIALS,
        epochs=EPOCHS,
        scheduler="fifo",
        forced="none",
        checkpoint_seconds=0.0,
    )
    scratch = tmp_path / "temporary"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    # The paths of Ray's sockets must be short.
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    return tmp_path


def is_in_a_second_trial(server: Server) -> bool:
    """Has one trial ended, and has another one published its first epoch?"""
    names = server.names()
    ended = {Path(name).parent for name in names if name.endswith("/metrics.json")}
    states = [Path(name) for name in names if "/state_" in name and name.endswith(".pt")]
    running = Counter(path.parent.parent for path in states)
    return bool(ended) and any(n == 2 and trial not in ended for trial, n in running.items())


def has_epoch(server: Server) -> bool:
    journal = f"{CELL}/{JOURNAL_FILES[0]}"
    return journal in server.names() and b'"kind": "epoch"' in server.content(journal)


def test_an_outage_pauses_a_search_which_goes_on_and_once_killed_on_another_machine(
    server: Server, here: Path
) -> None:
    line = Line(server.port)
    # The identity of a search includes the whole URI, so all commands use the port of the line.
    flags = ("--storage", Server(line.port, server.log).uri(), "--concurrency", "1")
    process = start(here, *flags)
    try:
        wait_until(partial(has_epoch, server), process)
    finally:
        line.cut()
    output, errors = process.communicate(timeout=90)
    assert process.returncode == 1, output + errors
    assert "stopped: " in output
    assert output.rstrip().endswith("--resume")
    assert "Traceback" not in output + errors
    assert not left_over(process.pid)
    line = Line(server.port, line.port)
    try:
        check_killed_search(server, here, flags)
        check_other_machine(server, here, flags)
    finally:
        line.cut()


def check_killed_search(server: Server, here: Path, flags: tuple[str, ...]) -> None:
    """Resume a search after an outage, and kill it in its second trial."""
    process = start(here, *flags, "--resume")
    wait_until(partial(is_in_a_second_trial, server), process)
    assert "resumes after epoch" in (cell_folder(here) / "log.txt").read_text()
    # Suspended, because on a busy machine it might end before the other one is refused.
    process.send_signal(signal.SIGSTOP)
    _, errors = run(here, *flags, "--resume", expect=2)
    assert f"process {process.pid} on" in errors
    process.kill()
    process.communicate()
    # The next command stands for another machine, on which these workers do not run.
    wait_until(lambda: not workers(process.pid), None)


def check_other_machine(server: Server, here: Path, flags: tuple[str, ...]) -> None:
    """Resume it where nothing of it is but what the store holds, a minute later and longer."""
    before = json.loads(server.content(f"{CELL}/all_trials.json"))
    assert 1 <= len(before) < TRIALS
    logs = {row["number"]: server.content(f"{CELL}/{row['folder']}/result.json") for row in before}
    shutil.rmtree(here / "ray_results")
    for left in (here / "temporary").glob("mss-*"):
        os.utime(left, (time.time() - 120,) * 2)
    _, errors = run(here, *flags, expect=2)
    assert "a cell is searched once" in errors
    output, errors = run(here, *flags, "--resume", "--max-epochs", str(MORE_EPOCHS))
    assert "resumes after epoch" in output
    assert errors == "", "exits are clean"
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in output + errors

    rows = trials(here)
    assert [row["number"] for row in rows] == list(range(TRIALS))
    # A trial that had completed goes on from the state that the store has kept of it.
    longer = {row["number"] for row in before if row["reason"] == "completed"}
    assert longer
    for row in rows:
        assert row["reason"] in ("completed", "collapsed")
        had_ended = row["number"] in logs and row["number"] not in longer
        trained = EPOCHS if had_ended else MORE_EPOCHS
        assert [e["epoch"] for e in epochs_of(here, row)] == list(range(1, trained + 1))
        log = cell_folder(here) / row["folder"] / "result.json"
        assert log.read_bytes().startswith(logs.get(row["number"], b""))
    events = (cell_folder(here) / JOURNAL_FILES[0]).read_text().splitlines()
    kinds = [json.loads(line)["event"]["kind"] for line in events]
    assert kinds.count("asked") == TRIALS
    assert kinds.count("ended") == TRIALS + len(longer)
    check_store(server, here)
    assert not list((here / "temporary").glob("mss-*"))
    for file in cell_folder(here).rglob("*"):
        if file.is_file():
            assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() not in file.read_bytes()


def check_store(server: Server, here: Path) -> None:
    """Check that the store holds the results folder, without files that only a search needs."""
    only_here = {JOURNAL_FILES[1], "lock", "status.json", "experiment_results.csv"}
    names = set(server.names())
    assert f"{CELL}/{LEASE_FILE}" not in names
    held = {
        name
        for name in names
        if not name.endswith("experiment_results.csv")
        # The state with which an ended trial may go on is brought to the machine where it does.
        and ("/checkpoints/state_" not in name or (here / "ray_results" / name).exists())
    }
    files = {
        f"{CELL}/{path.relative_to(cell_folder(here))}"
        for path in cell_folder(here).rglob("*")
        if path.is_file() and path.name not in only_here
    }
    assert held == files
    for name in held:
        assert server.content(name) == (here / "ray_results" / name).read_bytes(), name
    table = server.content(f"{CELL}/experiment_results.csv").decode().splitlines()
    assert table == (here / "ray_results/experiment_results.csv").read_text().splitlines()
    for row in trials(here):
        weights = CheckpointFolder(cell_folder(here) / row["folder"] / "checkpoints")
        assert weights.has_best() == (row["reason"] == "completed")


def test_a_store_that_cannot_be_reached_is_one_line_before_anything_starts(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    # No server listens on this port.
    uri = "s3://bucket/prefix?endpoint_override=http://127.0.0.1:1"
    output, errors = run(here, "--storage", uri, expect=2)
    # Retries of the library would take minutes.
    assert time.monotonic() - began < 45
    assert output == ""
    assert len(errors.splitlines()) == 1
    assert "--storage: must be a bucket that can be reached" in errors
    assert not (here / "ray_results").exists()
