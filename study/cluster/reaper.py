"""Ends Ray and the MPS daemon with the process that started them, given by its number.

A process that is killed ends nothing, and Ray's agents (2.60) live on for a minute after their
raylet: they look for it, and then wait for its GCS to be told. This process is started before Ray,
notes what Ray starts, and ends it when its standard input does, which it does with the process
``PID`` however that ends.
"""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from study.cluster.accelerator.mps import end_daemon

RAY_PROCESSES = frozenset({"raylet", "gcs_server"})
"""Children of the process that starts Ray, and parents of all others; without them it is dead."""

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 2.0
"""Longest pause between two looks, which take hundredths of a second on a large machine: short
until Ray's agents are there, which stay. A worker that is younger than a look ends itself within
seconds."""

_END_SECONDS = 10.0
"""Seconds to wait for the end of the reaper, which takes a tenth of a second."""


@contextmanager
def reaping(pipes: Path) -> Iterator[None]:
    """Have every process of a Ray that is started inside of the block ended with the block.

    Args:
        pipes: the folder of an MPS daemon's pipes; a daemon that is started there ends too.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "study.cluster.reaper", str(os.getpid()), str(pipes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Signals of the terminal are not for it: it must outlive this process.
        start_new_session=True,
    ) as reaper:
        try:
            yield
        finally:
            assert reaper.stdin is not None
            reaper.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                reaper.wait(_END_SECONDS)
            reaper.kill()


def ray_processes(parent: psutil.Process) -> list[psutil.Process]:
    """Return the processes of a Ray that ``parent`` has started itself; none if it joined one."""
    return [child for child in _children(parent) if name_of(child) in RAY_PROCESSES]


def name_of(process: psutil.Process) -> str | None:
    """Return the name of a process; None if it has ended, as a zombie has."""
    try:
        return process.name() if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _children(process: psutil.Process, *, recursive: bool = False) -> list[psutil.Process]:
    try:
        return process.children(recursive=recursive)
    except psutil.NoSuchProcess:
        return []


def main(argv: list[str]) -> int:
    """Watch until standard input ends, and end what was seen by then; returns the exit code."""
    with suppress(psutil.NoSuchProcess):
        for process in _seen_until_the_end(psutil.Process(int(argv[0]))):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    # Its clients have ended, or it would wait for them. The parent may have been killed before this
    # process was there, and a daemon outlives it.
    end_daemon(Path(argv[1]))
    return 0


def _seen_until_the_end(parent: psutil.Process) -> set[psutil.Process]:
    """Watch until standard input ends, and return the processes of Ray that were there then."""
    seen: set[psutil.Process] = set()
    pause = _FIRST_PAUSE_SECONDS
    while True:
        own = ray_processes(parent)
        seen |= {*own, *(each for root in own for each in _children(root, recursive=True))}
        # Process numbers are used again: psutil compares the time of the start too.
        seen = {process for process in seen if process.is_running()}
        if select.select([sys.stdin], [], [], pause)[0]:
            return seen
        has_begun = len(seen) > len(own)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) if has_begun else _FIRST_PAUSE_SECONDS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
