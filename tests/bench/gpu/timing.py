"""The lines of the table, the time that a part of it may take, and the time of work on a device."""

import signal
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from study.training.device import synchronise
from study.training.step.graphs import WARM_UP_RUNS, Graphs

WORKS_PER_REPLAY = 20
"""Times that a small piece of work is in one graph, so that the host's time for a replay is small
beside it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    what: str
    measured: str
    reference: str = ""
    bar: str = ""


Rows = Generator[Row, None, None]
"""The lines of a part of the table, each measured when it is asked for."""


class OutOfTime(Exception):
    """The seconds of a part are used up."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise OutOfTime inside of the block when it has taken so many seconds."""

    def end(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def median_seconds(step: Callable[[], object], device: torch.device, times: int) -> float:
    """Return the seconds of a step, after two that are not timed."""
    seconds = []
    for number in range(times + 2):
        synchronise(device)
        began = time.perf_counter()
        step()
        synchronise(device)
        if number >= 2:
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def replayed_seconds(
    work: Callable[[], object], device: torch.device, graphs: Graphs | None
) -> float:
    """Return the seconds of a small piece of work as part of a graph; eagerly without ``graphs``.

    Launched one by one, small kernels would all take the host's time.
    """

    def many() -> None:
        for _ in range(WORKS_PER_REPLAY):
            work()

    if graphs is None:
        return median_seconds(many, device, 5) / WORKS_PER_REPLAY
    with graphs.active():
        for _ in range(WARM_UP_RUNS):
            many()
        replay = graphs.capture(many)
        seconds = median_seconds(replay, device, 5)
        del replay
    graphs.forget()
    return seconds / WORKS_PER_REPLAY
