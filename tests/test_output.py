"""A standard output that may be gone, of real processes."""

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from study.output import LastingOutput, lasting_output, open_console
from study.results.journal import Journal
from study.results.status_snapshot import read_status
from study.storage.driver_status import Driver, DriverStatus, at_work

HEAD = """
import os, sys
from pathlib import Path
from study.storage.driver_status import at_work
from study.output import lasting_output, open_console
folder = Path(sys.argv[1])
with lasting_output() as output:
    console = open_console()
"""


def program(
    text: str,
    folder: Path,
    stdout: int,
    *,
    closed: bool = False,
    stderr: int = subprocess.PIPE,
) -> int:
    """Run a program with this standard output, or with none, and return its exit code."""
    command = [sys.executable, "-c", HEAD + text, str(folder)]
    if closed:
        command = ["sh", "-c", 'exec "$@" >&- <&-', "sh", *command]
    done = subprocess.run(command, stdout=stdout, stderr=stderr, text=True, timeout=60)
    # Not a word of Python's about what it could not flush at its end.
    assert not done.stderr
    return done.returncode


LINES = """
    with at_work(folder) as driver:
        for number in range(3):
            console.print("a line" * 2000)
            print("more", flush=True)
            print("", end="", file=sys.stderr, flush=True)
            (folder / "log.txt").write_text(str(number))
        # A library, or a process of its own, knows nothing of Python's streams.
        os.write(1, b"more")
        driver.end("complete", None)
        assert not output.isatty()
"""


@pytest.fixture
def full_disk() -> int:
    if not Path("/dev/full").exists():
        pytest.skip("only Linux has a device that is always full")
    return os.open("/dev/full", os.O_WRONLY)


def broken_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def status_of(folder: Path) -> DriverStatus:
    status = DriverStatus.read(folder)
    assert status is not None
    return status


def check(folder: Path, reason: str) -> None:
    assert (folder / "log.txt").read_text() == "2"
    assert status_of(folder).state == "complete"
    assert status_of(folder).lost_output == reason


def test_a_reader_that_is_gone_ends_nothing(tmp_path: Path) -> None:
    stdout = broken_pipe()
    assert program(LINES, tmp_path, stdout) == 0
    os.close(stdout)
    check(tmp_path, "Broken pipe")


def test_neither_does_one_of_its_errors_that_is_gone(tmp_path: Path) -> None:
    # As `2>&1 | head -1`.
    stdout = broken_pipe()
    text = """
    print("error: one of many", file=sys.stderr, flush=True)
"""
    assert program(text + LINES, tmp_path, stdout, stderr=subprocess.STDOUT) == 0
    os.close(stdout)
    check(tmp_path, "Broken pipe")


def test_a_full_disk_behind_the_output_ends_nothing(tmp_path: Path, full_disk: int) -> None:
    assert program(LINES, tmp_path, full_disk) == 0
    os.close(full_disk)
    check(tmp_path, "No space left on device")


def test_without_an_output_no_file_is_taken_for_it(tmp_path: Path) -> None:
    text = """
    with (folder / "journal").open("w") as file:
        assert file.fileno() > 2
        os.write(1, b"of some library")
"""
    assert program(text + LINES, tmp_path, subprocess.DEVNULL, closed=True) == 0
    assert (tmp_path / "journal").read_text() == ""
    check(tmp_path, "it was closed when the command began")


def test_an_output_that_is_read_says_everything(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with lasting_output(), at_work(tmp_path):
        open_console().print("one")
        print("two")
    assert capfd.readouterr().out == "one\ntwo\n"
    assert status_of(tmp_path).lost_output is None


def test_a_lost_output_is_told_by_the_status(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "tiny_50k_h1_threshold_1pct")
    folder = tmp_path / "tiny_50k_h1_threshold_1pct"
    folder.mkdir()
    Journal.create(folder, "abcd1234", {"kind": "created", "time": 1.0, "cell": {"trials": 2}})
    sweep = tmp_path / "tiny_sweep"
    sweep.mkdir()
    for each in (driver, Driver(sweep)):
        each.lose_output("Broken pipe")
    status = read_status(tmp_path)
    text = "nobody reads its output (Broken pipe); log.txt has it"
    assert list(status.cells[0].warnings) == [text]
    assert list(status.warnings) == [f"tiny_sweep: {text}"]
    driver.end("complete", None)
    assert list(read_status(tmp_path).cells[0].warnings) == []


def test_the_end_is_written_down_where_there_is_no_room_for_another_file(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    # What a full disk refuses: the new file, beside which the old one stays.
    (tmp_path / ".status.json.tmp").mkdir()
    driver.end("stopped", "no room")
    assert (status_of(tmp_path).state, status_of(tmp_path).reason) == ("stopped", "no room")


def test_no_error_leaves_a_driver_at_work(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), at_work(tmp_path):
        print(1 / 0)
    assert status_of(tmp_path).state == "stopped"
    assert status_of(tmp_path).reason == "ZeroDivisionError: division by zero"


def test_watching_into_a_pipe_prints_a_block_after_the_other(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "study.status", "--watch", "0.1", "--storage", str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"},
    )
    assert process.stdout is not None
    patience = threading.Timer(30.0, process.kill)
    patience.start()
    try:
        blocks = b"".join(process.stdout.readline() for _ in range(6)).decode()
    finally:
        patience.cancel()
        process.terminate()
        process.stdout.close()
        process.wait()
    line = f"{tmp_path}: nothing has been run here yet."
    assert blocks.replace("\n", "").count(line.replace("\n", "")) >= 2
    assert "\x1b" not in blocks


def test_nobody_looks_at_a_stream_that_has_been_closed() -> None:
    stream = io.StringIO()
    output = LastingOutput(stream)
    stream.close()
    assert not output.isatty()
