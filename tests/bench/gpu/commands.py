"""Commands of the project as processes of their own, which end in time."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent.parent.parent

PAUSE_SECONDS = 6.0
"""Seconds that a command has to save its work after Ctrl-C, before it is killed."""

READ_SECONDS = 2.0
"""Seconds that are left to read what a command has written."""


class Done(NamedTuple):
    """What became of a command."""

    code: int | None
    """Its exit code; None if its time was up."""
    output: str
    errors: str


def environment(**more: str) -> dict[str, str]:
    """Return this process's variables with the project's own modules in front."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **more}


def run_module(module: str, *flags: str, seconds: float, **variables: str) -> Done:
    """Run a module for at most so many seconds, with its pause and the reading of its results."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *flags], cwd=ROOT, env=environment(**variables),
            stdout=output, stderr=errors, start_new_session=True,
        )  # fmt: skip
        code: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(max(0.0, seconds - PAUSE_SECONDS - READ_SECONDS))
            if code is None:
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(PAUSE_SECONDS)
        finally:
            # Its own children are in its session, and end with it or are killed.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        errors.seek(0)
        return Done(code, output.read(), errors.read())
