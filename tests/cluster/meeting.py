"""The task of a test of device shares: a worker that runs it imports no torch."""

import os
import time
from pathlib import Path

import ray

_MEETING_SECONDS = 120.0
"""Most seconds that a task waits for the others, whose processes take seconds to start."""


def meet(folder: Path, n_tasks: int) -> tuple[float, float, float]:
    """Return the share of the device that this task got, and when it had it.

    It ends a second after ``n_tasks`` tasks have begun, each of which leaves a file in ``folder``.
    """
    began = time.time()
    (folder / str(os.getpid())).touch()
    until = time.monotonic() + _MEETING_SECONDS
    while len(list(folder.iterdir())) < n_tasks and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1.0)
    share = ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)
    return share, began, time.time()
