"""Ends a search before its time: signals, the key q, and faults that concern all trials."""

import atexit
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

_KEY_POLL_SECONDS = 0.25

_SIGNALS = {
    signal.SIGINT: "Ctrl+C",
    signal.SIGTERM: "SIGTERM",
    signal.SIGUSR1: "SIGUSR1",
    signal.SIGHUP: "the terminal was closed",
}

_ENDING = b"\nending: running trials save themselves at their next step; again ends at once\n"


@dataclass(slots=True)
class Stop:
    """A request to end a search before its last trial, and its reason."""

    file: Path
    """File that informs the workers, wherever they run."""
    reason: str | None = None
    is_fault: bool = False
    """Did something break, or did the user wish it?"""

    @property
    def is_requested(self) -> bool:
        """Has an end been requested?"""
        return self.reason is not None

    def request(self, reason: str, *, is_fault: bool) -> None:
        """Request a graceful end; only the first reason counts."""
        if self.is_requested:
            return
        self.reason, self.is_fault = reason, is_fault
        # On a full disk trials pause after their epoch instead of after their step.
        with suppress(OSError):
            self.file.touch()


class Interruptions:
    """Turns the first signal into a graceful end and the second into an immediate one.

    As long as there is no search that could end gracefully, the first one is immediate.
    """

    def __init__(self) -> None:
        self._stop: Stop | None = None
        self._was_asked = False
        self._name: str | None = None

    def name_next(self, name: str) -> None:
        """Print what the next signal does."""
        self._name = name

    def attach(self, stop: Stop) -> None:
        """Let a signal request ``stop`` from now on.

        Ray installs a handler of its own for SIGUSR1 when a run begins, so this comes after that.
        """
        self._stop = stop
        self.install()

    def detach(self) -> None:
        """Let a signal end the process at once again: nothing is left that could end gracefully."""
        self._stop = None

    def install(self) -> None:
        """Handle the signals that are not ignored: nohup ignores one, a shell's ``&`` another."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._stop is None or self._was_asked:
            raise KeyboardInterrupt
        self._was_asked = True
        self._stop.request(self._name or _SIGNALS[signal.Signals(signum)], is_fault=False)
        # A terminal that was closed takes no more output.
        with suppress(OSError):
            # Not print: the handler may run inside one, and its buffer is not reentrant.
            os.write(2, _ENDING)


@contextmanager
def interruptible() -> Iterator[Interruptions]:
    """Handle signals, and the key q on a terminal, until the end of the block."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    interruptions = Interruptions()
    interruptions.install()
    try:
        with _quit_key(interruptions):
            yield interruptions
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _quit_key(interruptions: Interruptions) -> Iterator[None]:
    """Send SIGUSR1 to this process when q is pressed, if it has the terminal to itself."""
    if not all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout)):
        yield
        return
    descriptor = sys.stdin.fileno()
    settings = termios.tcgetattr(descriptor)
    ended = threading.Event()

    def restore() -> None:
        # In the background the terminal is another's; closed, it is nobody's.
        with suppress(OSError, termios.error):
            if _is_foreground():
                termios.tcsetattr(descriptor, termios.TCSANOW, settings)

    def listen() -> None:
        # Without a terminal there are no keys.
        with suppress(OSError):
            while not ended.wait(0.0 if _is_foreground() else _KEY_POLL_SECONDS):
                if not _is_foreground():
                    continue
                ready, _, _ = select.select([descriptor], [], [], _KEY_POLL_SECONDS)
                # A process in the background that reads its terminal is suspended.
                if ready and _is_foreground() and os.read(descriptor, 1) in (b"q", b"Q"):
                    interruptions.name_next("the key q")
                    os.kill(os.getpid(), signal.SIGUSR1)

    def take_keys(*_: object) -> None:
        # Keys come one by one and unseen; Ctrl+C stays a signal.
        with suppress(OSError, termios.error):
            if _is_foreground():
                tty.setcbreak(descriptor, termios.TCSANOW)

    take_keys()
    # A process that was suspended and resumed finds the terminal as its shell had set it.
    continued = signal.signal(signal.SIGCONT, take_keys)
    atexit.register(restore)
    thread = threading.Thread(target=listen, name="quit-key", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGCONT, continued)
        restore()
        atexit.unregister(restore)


def _is_foreground() -> bool:
    return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
