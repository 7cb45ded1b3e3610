"""The search algorithm of a Tune run: hands out the trials that the ledger decides on.

The journal holds the whole state of a search; what Ray saves of it is never read. Ray's own
``OptunaSearch`` is not used, because after a crash its saved study would be older than the journal
(``tests/tuner/test_ray_algorithms.py``).
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
    """Hands out the ledger's trials, as many at once as slots and resources allow.

    Trials of different budgets may need different shares of the cluster. Ray would start whichever
    fits, and the largest last. Here the order is kept: while a larger trial waits for its
    resources, the ledger is asked for no further one.
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
        """The budget of each trial that was handed out and has not ended, by Ray's trial id."""
        self._to_start: set[str] = set()
        """Ray's ids of the trials that were handed out and have not begun."""
        self.has_none = False
        """Did the last call return no trial, and will none be handed out soon?"""

    @property
    def budgets_at_work(self) -> list[str]:
        """The budgets of all trials that run or are about to start."""
        return list(self._at_work.values())

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial's flat assignment, None for none at present, or FINISHED.

        The ledger writes its decision to the journal before Ray receives it.
        """
        self.has_none = True
        # Called first, as it may end the search: while no trial runs, Ray calls no other hook.
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
        # None keeps the run alive: a running trial may fail and have to be retried.
        return Searcher.FINISHED if self._ledger.is_complete else None

    def has_begun(self, trial_id: str) -> None:
        """Note that a trial has received its resources."""
        self._to_start.discard(trial_id)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Free the slot; the scheduler has already reported the trial's end to the ledger."""
        self._at_work.pop(trial_id, None)
        self._to_start.discard(trial_id)
        # Ray keeps the worker until it has asked for another trial.
        self.has_none = False

    def _has_room(self) -> bool:
        smallest = Fraction(1, self._resources.capacity)
        waiting = self._resources.shares(self._at_work[each] for each in self._to_start)
        return (
            len(self._at_work) < self._slots.count
            and self._resources.has_room(self._at_work.values())
            # Trials of the smallest share may wait together; a larger one waits alone.
            and waiting <= smallest * len(self._to_start)
        )

    def save(self, checkpoint_path: str) -> None:
        """Write the file that Ray expects, empty: the state is in the journal."""
        Path(checkpoint_path).touch()
