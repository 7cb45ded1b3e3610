"""How a search is ended, by real signals to a real process and by a key on a real terminal."""

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from study.interruptions import Stop, interruptible
from tests.results.conftest import full_disk

SEARCH = """
import os, signal, subprocess, sys, time
from pathlib import Path
from study.interruptions import Stop, interruptible

folder, is_search, ignored = Path(sys.argv[1]), sys.argv[2] == "search", sys.argv[3:]
for name in ignored:
    signal.signal(signal.Signals[name], signal.SIG_IGN)
stop = Stop(folder / "stop")

def say(word):
    with (folder / "said").open("a") as file:
        file.write(word + "\\n")

with interruptible() as interruptions:
    if is_search:
        interruptions.attach(stop)
    if (folder / "background").exists():
        # What a shell does for Ctrl+Z and bg.
        front = subprocess.Popen(["sleep", "30"], process_group=0)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        os.tcsetpgrp(0, front.pid)
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    try:
        say("ready")
        while not stop.is_requested:
            time.sleep(0.005)
        say(f"{stop.reason}, fault {stop.is_fault}, file {stop.file.exists()}")
        while not (folder / "end").exists():
            time.sleep(0.005)
    except KeyboardInterrupt:
        say("at once")
say("over")
"""


class Search:
    """A process that can be interrupted."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        terminal: int | None = None,
        errors: BinaryIO | None = None,
    ) -> None:
        self._folder = folder
        streams = subprocess.DEVNULL if terminal is None else terminal
        self.process = subprocess.Popen(
            [sys.executable, "-c", SEARCH, str(folder), *arguments],
            stdin=streams,
            stdout=streams,
            stderr=errors or streams,
            start_new_session=True,
            preexec_fn=None if terminal is None else take_terminal,
        )
        self.until("ready")

    @property
    def said(self) -> list[str]:
        path = self._folder / "said"
        return path.read_text().splitlines() if path.exists() else []

    def until(self, word: str) -> None:
        until = time.monotonic() + 20
        while not any(line.startswith(word) for line in self.said):
            assert time.monotonic() < until, f"{word} was never said, but {self.said}"
            assert self.process.poll() is None or self.said, "it ended without a word"
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        assert any(line.startswith(word) for line in self.said), self.said

    def end(self) -> int:
        (self._folder / "end").touch()
        return self.process.wait(timeout=20)


def take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def searches(tmp_path: Path) -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def started(stack: contextlib.ExitStack, search: Search) -> Search:
    stack.callback(search.process.wait)
    stack.callback(search.process.kill)
    return search


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    with contextlib.ExitStack() as stack:
        for descriptor in (ours, theirs):
            stack.callback(close, descriptor)
        yield ours, theirs


def close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SIGINT", "Ctrl+C"),
        ("SIGTERM", "SIGTERM"),
        ("SIGUSR1", "SIGUSR1"),
        ("SIGHUP", "the terminal was closed"),
    ],
)
def test_the_first_signal_ends_gracefully_and_the_second_at_once(
    tmp_path: Path, searches: contextlib.ExitStack, name: str, reason: str
) -> None:
    search = started(searches, Search(tmp_path, "search"))
    search.process.send_signal(signal.Signals[name])
    search.until(reason)
    search.process.send_signal(signal.SIGINT)
    search.until("at once")
    assert search.process.wait(timeout=20) == 0
    assert search.said == ["ready", f"{reason}, fault False, file True", "at once", "over"]


def test_before_there_is_a_search_the_first_signal_ends_at_once(
    tmp_path: Path, searches: contextlib.ExitStack
) -> None:
    search = started(searches, Search(tmp_path, "no search"))
    search.process.send_signal(signal.SIGTERM)
    search.until("over")
    assert search.said == ["ready", "at once", "over"]
    assert not (tmp_path / "stop").exists()


def test_a_signal_that_is_ignored_stays_ignored(
    tmp_path: Path, searches: contextlib.ExitStack
) -> None:
    search = started(searches, Search(tmp_path, "search", "SIGHUP"))
    search.process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    assert search.said == ["ready"]
    search.process.send_signal(signal.SIGTERM)
    search.until("SIGTERM")
    assert search.end() == 0


def test_the_key_q_is_a_signal(
    tmp_path: Path, searches: contextlib.ExitStack, terminal: tuple[int, int]
) -> None:
    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    search = started(searches, Search(tmp_path, "search", terminal=theirs))
    while_running = termios.tcgetattr(theirs)
    assert not while_running[3] & (termios.ECHO | termios.ICANON)
    assert while_running[3] & termios.ISIG
    os.write(ours, b"xy\n")
    time.sleep(0.1)
    assert search.said == ["ready"]
    os.write(ours, b"q")
    search.until("the key q, fault False, file True")
    os.write(ours, b"Q")
    search.until("at once")
    assert search.process.wait(timeout=20) == 0
    assert termios.tcgetattr(theirs) == before


def test_ctrl_c_on_the_terminal_is_graceful_first(
    tmp_path: Path, searches: contextlib.ExitStack, terminal: tuple[int, int]
) -> None:
    ours, theirs = terminal
    search = started(searches, Search(tmp_path, "search", terminal=theirs))
    os.write(ours, b"\x03")
    search.until("Ctrl+C")
    assert b"ending: running trials save themselves" in os.read(ours, 1000)
    assert search.end() == 0
    assert search.said[-1] == "over"


@pytest.mark.parametrize("has_log", [False, True])
def test_a_terminal_that_is_closed_ends_a_search_gracefully(
    tmp_path: Path, searches: contextlib.ExitStack, terminal: tuple[int, int], has_log: bool
) -> None:
    ours, theirs = terminal
    with (tmp_path / "errors").open("wb") as errors:
        search = started(
            searches,
            Search(tmp_path, "search", terminal=theirs, errors=errors if has_log else None),
        )
    os.close(theirs)
    os.close(ours)
    search.until("the terminal was closed, fault False, file True")
    code = search.end()
    assert "Traceback" not in (tmp_path / "errors").read_text()
    assert (code, search.said[-1]) == (0, "over")


def test_a_search_in_the_background_leaves_the_terminal_alone(
    tmp_path: Path, searches: contextlib.ExitStack, terminal: tuple[int, int]
) -> None:
    ours, theirs = terminal
    (tmp_path / "background").touch()
    search = started(searches, Search(tmp_path, "search", terminal=theirs))
    os.write(ours, b"q")
    time.sleep(0.1)
    assert search.said == ["ready"]
    search.process.send_signal(signal.SIGTERM)
    search.until("SIGTERM")
    assert search.end() == 0
    assert search.said[-1] == "over"


def test_handlers_are_what_they_were(tmp_path: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with interruptible() as interruptions:
        interruptions.attach(Stop(tmp_path / "stop"))
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before


def test_the_first_reason_counts(tmp_path: Path) -> None:
    stop = Stop(tmp_path / "stop")
    assert not stop.is_requested
    stop.request("the disk is full", is_fault=True)
    stop.request("Ctrl+C", is_fault=False)
    assert (stop.is_requested, stop.reason, stop.is_fault) == (True, "the disk is full", True)
    assert stop.file.exists()


def test_a_stop_that_cannot_be_written_is_still_requested(tmp_path: Path) -> None:
    stop = Stop(tmp_path / "absent" / "stop")
    with full_disk(0):
        stop.request("the disk is full", is_fault=True)
    assert stop.is_requested
    assert not stop.file.exists()
