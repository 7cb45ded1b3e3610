"""The search algorithm of a Tune run: hands out the trials that the ledger decides on.

Ray keeps no state of a search: what it would save is in the journal already, and what it saves is
never read. Ray's own ``OptunaSearch`` is no base for it, for its study is a state that would be
older than the journal after a crash (``tests/tuner/test_ray_algorithms.py``).
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from study.cluster.resources import SearchResources
from study.interruptions import Stop
from study.search.ledger import Ledger
from study.tuner.faults import storage_problem
from study.tuner.slot_limit import Slots


class LedgerSearcher(Searcher):  # type: ignore[misc]
    """Hands out the ledger's trials, as many at once as there are slots and room.

    Trials of different budgets may ask for different shares of the cluster. Ray would then start
    whichever fits, and the largest last. Here none overtakes another: as long as one of the larger
    ones waits for its room, the ledger is asked for no further trial.
    """

    def __init__(
        self,
        ledger: Ledger,
        stop: Stop,
        slots: Slots,
        resources: SearchResources,
        may_start: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self._ledger = ledger
        self._stop = stop
        self._slots = slots
        self._resources = resources
        self._may_start = may_start
        self._at_work: dict[str, str] = {}
        """The budget of each trial that was handed out and has not ended, by Ray's identity."""
        self._to_start: set[str] = set()
        """Ray's identities of the trials that were handed out and have not begun."""
        self.has_none = False
        """True if Ray last asked in vain, and no trial is to be handed out soon."""

    @property
    def budgets_at_work(self) -> list[str]:
        """The budget of every trial that is at work or is to start."""
        return list(self._at_work.values())

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's flat assignment, None for not now, or FINISHED.

        The ledger decides, and has written its decision down before Ray knows of it.
        """
        self.has_none = True
        # It comes first, for it may end the search; with nothing at work, Ray calls nothing else.
        may_start = self._may_start()
        if self._stop.is_requested or self._ledger.is_complete:
            return Searcher.FINISHED  # type: ignore[no-any-return]
        if not may_start or not self._has_room():
            self.has_none = self._slots.is_granted
            return None
        try:
            assignment = self._ledger.next()
        except OSError as error:
            self._stop.request(storage_problem(error), is_fault=True)
            return Searcher.FINISHED  # type: ignore[no-any-return]
        if assignment is not None:
            self.has_none = False
            self._at_work[trial_id] = assignment.config.budget
            self._to_start.add(trial_id)
            return assignment.flat()
        # None keeps the run alive: a trial that fails now is handed out again.
        return Searcher.FINISHED if self._ledger.is_complete else None

    def has_begun(self, trial_id: str) -> None:
        """Note that a trial has the room that it asked for."""
        self._to_start.discard(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Free the slot. How the trial ended, the scheduler has written into the ledger already."""
        self._at_work.pop(trial_id, None)
        self._to_start.discard(trial_id)
        # Ray keeps its worker until it has asked for another trial.
        self.has_none = False

    def _has_room(self) -> bool:
        smallest = Fraction(1, self._resources.capacity)
        waiting = self._resources.shares(self._at_work[each] for each in self._to_start)
        return (
            len(self._at_work) < self._slots.count
            and self._resources.has_room(self._at_work.values())
            # Many of the smallest may start at once.
            and waiting <= smallest * len(self._to_start)
        )

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file where Ray expects one: all that is known is in the journal."""
        Path(checkpoint_path).touch()
