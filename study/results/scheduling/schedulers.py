"""Schedulers: what happens to a trial that reaches a rung, and which paused trial goes on."""

import math
from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import Protocol

from study.results.scheduling.rungs import WHOLE_SCHEDULE, StoppingRungs


class Decision(Enum):
    """What happens to a trial after an epoch."""

    GO_ON = auto()
    STOP = auto()
    PAUSE = auto()


class Scheduler(Protocol):
    """Decides over the trials that compete with each other, known by their numbers."""

    @property
    def positions(self) -> Sequence[float]:
        """Positions on a trial's schedule, in percent, at which it decides."""

    def report(self, number: int, percent: int, loss: float, *, has_ended: bool) -> Decision:
        """Record the best loss of a trial so far, and decide on a trial that has not ended."""

    def next_paused(self, *, is_idle: bool) -> int | None:
        """Return the paused trial that goes on before a new one begins; None if there is none.

        Args:
            is_idle: is no trial at work, and none left to begin?
        """

    def resume(self, number: int) -> None:
        """Note that a paused trial goes on."""


class StoppingScheduler:
    """The stopping variant of ASHA; without rungs it lets every trial run to its end.

    Args:
        positions: positions of the rungs in percent of a schedule.
        reduction_factor: one trial in so many survives a rung.
    """

    def __init__(self, positions: Sequence[float], reduction_factor: float) -> None:
        self.positions = positions
        self._rungs = StoppingRungs(positions, reduction_factor)

    def report(self, number: int, percent: int, loss: float, *, has_ended: bool) -> Decision:
        """Record a loss; a trial that is behind at a rung is stopped."""
        is_cut = self._rungs.is_cut(number, percent, loss, has_ended=has_ended)
        return Decision.STOP if is_cut else Decision.GO_ON

    def next_paused(self, *, is_idle: bool) -> int | None:
        """Return None: nothing is paused."""
        return None

    def resume(self, number: int) -> None:
        """Refuse: nothing is paused."""
        raise AssertionError(f"trial {number} was not paused")


class PromotingScheduler:
    """ASHA as it was published: each rung pauses a trial, and the best of a rung go on.

    A slot that is free takes the best trial that is paused at the latest rung with one among its
    best 1 in ``reduction_factor``, and begins a new trial where there is none. So nothing is lost
    by a trial that came while a rung was empty: it waits until others have reached it.

    Source: Li et al. 2020, https://arxiv.org/abs/1810.05934, algorithm 2.

    Args:
        positions: positions of the rungs in percent of a schedule.
        reduction_factor: one trial in so many is promoted.
        finish: number of trials that go on to their end once all others wait in vain, one after
            the other, the best first: those whose final losses are worth knowing.
    """

    def __init__(
        self, positions: Sequence[float], reduction_factor: float, *, finish: int = 1
    ) -> None:
        self.positions = sorted(positions)
        self._reduction = reduction_factor
        self._left_to_finish = finish
        self._finishing: set[int] = set()
        """Trials that go on past every rung."""
        self._rungs: list[dict[int, float]] = [{} for _ in self.positions]
        """The losses of the trials that reached each rung, by number."""
        self._ranked: list[list[tuple[float, int]]] = [[] for _ in self.positions]
        """The same as pairs of loss and number, the best first."""
        self._reached: dict[int, int] = {}
        """The latest rung that each trial has reached."""
        self._paused: set[int] = set()

    def report(self, number: int, percent: int, loss: float, *, has_ended: bool) -> Decision:
        """Record a loss; a trial that reaches a further rung is paused."""
        rung = bisect_right(self.positions, percent) - 1
        if rung > self._reached.get(number, -1):
            self._reached[number] = rung
            self._rungs[rung][number] = loss
            insort(self._ranked[rung], (loss, number))
            self._note(rung)
            if not has_ended and number not in self._finishing:
                self._paused.add(number)
                return Decision.PAUSE
        return Decision.GO_ON

    def next_paused(self, *, is_idle: bool) -> int | None:
        """Return the trial to promote, the latest rung first."""
        promoted = next(self._promotable(), None) if self._paused else None
        if promoted is not None or not is_idle:
            return promoted
        return min(self._paused, key=self._latest, default=None) if self._left_to_finish else None

    def resume(self, number: int) -> None:
        """Note that a paused trial goes on: to the next rung or, if none is left, to its end."""
        if number not in self._promotable():
            self._left_to_finish -= 1
            self._finishing.add(number)
        self._paused.remove(number)

    def _promotable(self) -> Iterator[int]:
        for rung in reversed(range(self._n_open())):
            ranked = self._ranked[rung]
            for _, number in ranked[: math.floor(len(ranked) / self._reduction)]:
                if number in self._paused and self._reached[number] == rung:
                    yield number

    def _latest(self, number: int) -> tuple[float, int]:
        """Return a key by which the best paused trial is the least."""
        return self._rungs[self._reached[number]][number], number

    def _n_open(self) -> int:
        """Return the number of rungs from which trials are promoted."""
        return len(self._rungs)

    def _note(self, rung: int) -> None:
        """Note that a trial has reached a rung."""


class ProgressiveScheduler(PromotingScheduler):
    """PASHA: trials are promoted to further rungs only while these change their ranks.

    At first two rungs are used. Whenever a trial reaches the latest used one, the trials there are
    ranked by their losses there and by those at the rung before it. If the ranks differ, the next
    rung is used too.

    Two trials whose losses at the earlier rung differ by no more than ``tolerance`` may change
    places.

    Source: Bohdal et al. 2023, https://arxiv.org/abs/2207.06940. They estimate the tolerance from
    the losses; here it is given.

    Args:
        positions: positions of the rungs in percent of a schedule; its end is one more, the last.
        reduction_factor: one trial in so many is promoted.
        tolerance: in units of the loss.
        finish: as of the scheduler that this one extends.
    """

    def __init__(
        self,
        positions: Sequence[float],
        reduction_factor: float,
        *,
        tolerance: float,
        finish: int = 1,
    ) -> None:
        super().__init__(
            sorted({*positions, float(WHOLE_SCHEDULE)}), reduction_factor, finish=finish
        )
        self._tolerance = tolerance
        self._n_used = min(2, len(self.positions))

    def _n_open(self) -> int:
        # Of the latest used rung nothing is promoted, for that would use the one after it.
        return self._n_used - 1

    def _note(self, rung: int) -> None:
        if rung == self._n_used - 1 and self._n_used < len(self.positions):
            self._n_used += not self._ranks_agree(self._rungs[rung - 1], self._rungs[rung])

    def _ranks_agree(self, before: dict[int, float], after: dict[int, float]) -> bool:
        # Epochs that pass two rungs are recorded at the later one alone.
        both = [number for number in after if number in before]
        earlier = sorted(both, key=lambda n: before[n])
        later = sorted(both, key=lambda n: after[n])
        return all(
            abs(before[a] - before[b]) <= self._tolerance
            for a, b in zip(earlier, later, strict=True)
        )
