"""The sampler: Optuna's TPE, which learns how every trial really ended.

Ray's own ``OptunaSearch`` tells Optuna that a trial stopped by ASHA is complete with its last
value, cannot take NaN, and puts the conditional parameter names of a define-by-run space into the
trial's configuration. This one asks and tells the study itself:

- a trial that ran to its end is COMPLETE with its best value;
- a trial that ASHA ended is PRUNED: TPE ranks it behind, by how far it came;
- a trial without a usable value (collapsed, diverged, out of memory, error) is FAIL: a missing
  value never becomes a score.
"""

import sys

import numpy as np
import optuna
from optuna.trial import TrialState

from study.results.records import TrialState as StateName
from study.search.space import SearchSpace, TrialConfig

_DRAWS = 200
"""Draws without a new configuration after which a space counts as used up, as only a finite one
can be."""

_GUIDED = 10
"""Draws for a trial that are TPE's; the later ones are random."""


class Sampler:
    """Ask-and-tell over one in-memory Optuna study, rebuilt from the journal at every start.

    What is drawn for a trial depends on the seed, the trial's number and what the study knows at
    that moment, and on no generator that would have to be saved.
    """

    def __init__(self, space: SearchSpace, *, seed: int, startup_trials: int) -> None:
        self._space = space
        self._seed = seed
        self._startup_trials = startup_trials
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study()
        self._open: dict[int, optuna.Trial] = {}
        """Optuna's trial of every number that is at work."""
        self._seen: set[TrialConfig] = set()

    def draw(self, number: int) -> TrialConfig | None:
        """Return a configuration that no trial has had, or None if the space is exhausted."""
        for attempt in range(_DRAWS):
            seed = np.random.SeedSequence([self._seed, number, attempt]).generate_state(1)[0]
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int(seed),
                # Where TPE sees nothing new to try, chance may: a finite space is used up.
                n_startup_trials=self._startup_trials if attempt < _GUIDED else sys.maxsize,
                multivariate=True,
                constant_liar=True,
            )
            asked = self._study.ask()
            config = self._space.sample(asked)
            # The draw itself is dropped, taken or not: ``place`` enters what is really trained, in
            # the same way whether it was drawn just now or is read back from the journal.
            self._study.tell(asked, state=TrialState.FAIL)
            if config not in self._seen:
                return config
        return None

    def place(self, number: int, config: TrialConfig) -> None:
        """Enter a trial that is going to run."""
        self._open[number] = self._enter(config)

    def report(self, number: int, percent: int, value: float) -> None:
        """Record the best value of a trial after ``percent`` of its schedule."""
        asked = self._open[number]
        # Past a hundred epochs several have one percent, of which Optuna takes the first.
        if percent not in self._study.get_trials(deepcopy=False)[asked.number].intermediate_values:
            asked.report(value, percent)

    def tell(self, number: int, state: StateName, value: float | None) -> None:
        """Record how a trial ended."""
        self._tell(self._open.pop(number), state, value)

    def learn(
        self, config: TrialConfig, state: StateName, value: float | None, percent: int
    ) -> None:
        """Enter an ended trial of an earlier search, which must lie in this space."""
        known = self._enter(config)
        if value is not None:
            known.report(value, percent)
        self._tell(known, state, value)

    def history(self) -> list[tuple[str, dict[str, object], float | None, dict[int, float]]]:
        """Return what TPE learns from: state, parameters, value and course of each trial."""
        trials = self._study.get_trials(deepcopy=False)
        return [
            (trial.state.name, dict(trial.params), trial.value, dict(trial.intermediate_values))
            for trial in trials
            if trial.state != TrialState.FAIL
        ]

    def _enter(self, config: TrialConfig) -> optuna.Trial:
        self._seen.add(config)
        self._study.sampler = optuna.samplers.RandomSampler(seed=0)
        self._study.enqueue_trial(self._space.optuna_params(config))
        asked = self._study.ask()
        entered = self._space.sample(asked)
        assert entered == config, f"the space reads {config} back as {entered}"
        return asked

    def _tell(self, asked: optuna.Trial, state: StateName, value: float | None) -> None:
        if state == "COMPLETE":
            self._study.tell(asked, value)
        else:
            self._study.tell(asked, state=TrialState[state])
