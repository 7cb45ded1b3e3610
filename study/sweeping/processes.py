"""The processes that a sweep starts: one for Ray, one for each cell at work."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from study.cluster.loopback import keep_to_loopback
from study.errors import StudyError
from study.storage.files import no_link, read_text, write_text

_START_SECONDS = 120.0
"""Seconds to wait for the start of Ray: 4 to 7 s measured, a minute on a machine that is busy."""

_END_SECONDS = 30.0
"""Seconds to wait for the end of Ray: 1 to 2 s measured."""

_POLL_SECONDS = 0.05


class Process:
    """A child in a session of its own, so that a Ctrl+C in the terminal reaches the sweep alone.

    It ends itself when this process is gone (``study.cluster.lifeline``).

    Args:
        command: with its arguments.
        output: receives what it prints, after what is there.
    """

    def __init__(self, command: Sequence[str], output: Path) -> None:
        with open(output, "ab", opener=no_link) as file:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """Exit code; None while the process runs, negative if a signal ended it."""
        return self._child.poll()

    @property
    def number(self) -> int:
        """Number of the process."""
        return self._child.pid

    def end(self) -> None:
        """Send SIGTERM, which asks the process to end."""
        self._child.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the process, and what it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the process, and return whether it came."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)
        return self._child.poll() is not None


class Head:
    """Ray on this machine, in a process of its own (``study.cluster.head``).

    Args:
        folder: for what it prints.
        use_accelerators: False offers CPUs only.

    Raises:
        StudyError: Ray could not be started.
    """

    def __init__(self, folder: Path, *, use_accelerators: bool) -> None:
        # In the environment of these processes alone; what joins needs the same token.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        keep_to_loopback()
        output = folder / "ray.out"
        write_text(output, "")
        flags = [] if use_accelerators else ["--no-accelerators"]
        self._process = Process([sys.executable, "-m", "study.cluster.head", *flags], output)
        until = time.monotonic() + _START_SECONDS
        try:
            while (address := _address(output)) is None:
                if not self.is_alive or time.monotonic() > until:
                    raise StudyError(
                        f"Ray: must start on this machine, but got: {last_line(output)} "
                        f"(see {output})"
                    )
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.end()
            raise
        self.address = address

    @property
    def is_alive(self) -> bool:
        """Is Ray still running?"""
        return self._process.exit_code is None

    def end(self) -> None:
        """Shut Ray down."""
        if self.is_alive:
            self._process.end()
            if not self._process.wait(_END_SECONDS):
                self._process.kill()


def _address(output: Path) -> str | None:
    """Return what the process of Ray has printed; Python and Ray may warn before it."""
    for line in (read_text(output) or "").split("\n"):
        with suppress(ValueError, TypeError, KeyError):
            return str(json.loads(line)["address"])
    return None


def last_line(path: Path) -> str:
    """Return the last line that was printed, where a command says why it failed."""
    lines = (read_text(path) or "").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "no word from it")
