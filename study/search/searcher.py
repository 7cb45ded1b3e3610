"""The searcher: forced configurations first, then Optuna's TPE, told the truth about every end.

Ray's own ``OptunaSearch`` tells Optuna that a trial stopped by ASHA is complete with its last
value, cannot take NaN, and puts the conditional parameter names of a define-by-run space into the
trial's configuration. This searcher asks and tells the study itself:

- a trial that ran to its end is COMPLETE with its best value;
- a trial that ASHA ended is PRUNED: TPE ranks it behind, by how far it came;
- a trial without a usable value (collapsed, diverged, out of memory, error) is FAIL. Nothing
  becomes a score.
"""

import pickle
from collections import deque
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher

from study.results.records import STATE_OF_REASON, end_reason
from study.search.forced import Forced
from study.search.space import SearchSpace, TrialConfig

METRIC = "best_validation_loss"
"""What a search minimises: the smallest validation log-loss of the trial so far."""

PROGRESS = "schedule_percent"
"""Whole percent of the trial's own schedule, at which trials are compared."""

_REDRAWS = 50
"""Draws before a space counts as exhausted; a repeat is then possible only in a finite space."""


class CellSearcher(Searcher):  # type: ignore[misc]
    """Ask-and-tell over one in-memory Optuna study.

    The study is part of Ray's snapshot of the experiment, so that both always are of one moment;
    a persistent Optuna store would run ahead of the snapshot and break every restore.
    """

    def __init__(
        self,
        space: SearchSpace,
        forced: tuple[Forced, ...],
        *,
        seed: int,
        startup_trials: int,
    ) -> None:
        super().__init__(metric=METRIC, mode="min")
        self._space = space
        self._seed = seed
        self._forced = deque(slot for slot in forced if slot.config is not None)
        self._study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=startup_trials, multivariate=True, constant_liar=True
            )
        )
        self._asked: dict[str, optuna.Trial] = {}
        """Optuna's trial of every Ray trial that has not ended."""
        self._seen: set[TrialConfig] = set()
        self._n_suggested = 0

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Tell Ray that the searcher has its own metric and space."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Return the next trial's flat configuration, or FINISHED if the space is exhausted."""
        for _ in range(_REDRAWS):
            slot = self._forced.popleft() if self._forced else None
            if slot is not None and slot.config is not None:
                self._study.enqueue_trial(self._space.optuna_params(slot.config))
            asked = self._study.ask()
            config = self._space.sample(asked)
            if config not in self._seen:
                break
            # A repeat teaches nothing: this draw is dropped and another one is made.
            self._study.tell(asked, state=TrialState.FAIL)
        else:
            return Searcher.FINISHED  # type: ignore[no-any-return]
        self._seen.add(config)
        self._asked[trial_id] = asked
        number = self._n_suggested
        self._n_suggested += 1
        return {
            **config.flat(),
            "number": number,
            "source": f"forced:{slot.name}" if slot is not None else "sampled",
            "seed": self._seed + number,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note an intermediate value; a replayed or unknown one is ignored."""
        asked = self._asked.get(trial_id)
        value = result.get(METRIC)
        if asked is not None and value is not None:
            self._report(asked, value, result[PROGRESS])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the study how the trial ended; a second telling is ignored."""
        asked = self._asked.pop(trial_id, None)
        if asked is None:
            return
        value = None if error or result is None else result.get(METRIC)
        if result is None or value is None:
            self._study.tell(asked, state=TrialState.FAIL)
            return
        state = STATE_OF_REASON[end_reason(result)]
        if state == "COMPLETE":
            self._study.tell(asked, value)
        elif state == "PRUNED":
            # Ray does not forward the report on which a trial is stopped; a pruned trial without
            # a value would rank below one that came less far.
            self._report(asked, value, result[PROGRESS])
            self._study.tell(asked, state=TrialState.PRUNED)
        else:
            self._study.tell(asked, state=TrialState.FAIL)

    def _report(self, asked: optuna.Trial, value: float, step: int) -> None:
        """Note a value once; after a restore a trial repeats its last report."""
        if step not in self._study.trials[asked.number].intermediate_values:
            asked.report(value, step)

    def save(self, checkpoint_path: str) -> None:
        """Write the whole state; Ray calls it for every snapshot of the experiment."""
        with open(checkpoint_path, "wb") as file:
            pickle.dump(self.__dict__, file)

    def restore(self, checkpoint_path: str) -> None:
        """Read the state that ``save`` wrote. Unpickles: only for folders that we wrote."""
        with open(checkpoint_path, "rb") as file:
            self.__dict__.update(pickle.load(file))
