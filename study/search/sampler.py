"""The sampler: Optuna's TPE, which receives the true end of every trial.

Ray's ``OptunaSearch`` reports a trial stopped by ASHA as complete with its last value, cannot take
NaN, and puts the conditional parameter names of a define-by-run space into the trial's
configuration. This sampler uses Optuna's ask-and-tell interface itself:

- a trial that ran to its end is COMPLETE with its best value;
- a trial that ASHA stopped is PRUNED: TPE ranks it behind complete ones, by how far it came;
- a trial without a usable value (collapsed, diverged, out of memory, error) is FAIL: a missing
  value never becomes a score.
"""

import sys
from collections.abc import Collection, Mapping
from typing import cast

import numpy as np
import optuna
from optuna.trial import TrialState

from study.results.records import TrialState as StateName
from study.search.costs import Cost
from study.search.space import SearchSpace, TrialConfig

_DRAWS = 200
"""Number of draws in a row without a new configuration after which a space counts as exhausted; an
own choice. Only a space of discrete choices can be exhausted."""

_GUIDED = 10
"""Number of those draws that TPE makes; the later ones are random. An own choice."""


class Sampler:
    """An ask-and-tell loop over an in-memory Optuna study, rebuilt from the journal at each start.

    A draw depends on the seed, the trial's number and the trials that the study holds at that
    moment. No random generator has to be saved.
    """

    def __init__(self, space: SearchSpace, *, seed: int, startup_trials: int) -> None:
        self._space = space
        self._seed = seed
        self._startup_trials = startup_trials
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study()
        self._open: dict[int, optuna.Trial] = {}
        """The Optuna trial of every running trial, by number."""
        self._entered: dict[int, int] = {}
        """Optuna's number of every trial of this search in the study; those that failed may lack
        one, for a new study goes without them."""
        self._seen: set[TrialConfig] = set()
        self._cost: Cost = lambda config: 0.0
        self._n_draws = 1
        """Number of TPE's draws of which the cheapest is taken."""

    @property
    def space(self) -> SearchSpace:
        """The space from which configurations are drawn."""
        return self._space

    def prefer(self, cost: Cost, n_draws: int) -> None:
        """Take the cheapest of several draws of TPE from now on."""
        self._cost, self._n_draws = cost, n_draws

    def draw(self, number: int, taken: Collection[TrialConfig] = ()) -> TrialConfig | None:
        """Return a configuration that no trial has had, or None if the space is exhausted.

        Args:
            number: number of the trial.
            taken: configurations that trials will have.
        """
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        # Random draws stay as they are: the cheapest of several would be no random one.
        is_chosen = self._n_draws > 1 and self._startup_trials <= len(
            self._study.get_trials(deepcopy=False, states=ended)
        )
        n_draws = self._n_draws if is_chosen else 1
        found: list[TrialConfig] = []
        for attempt in range(_DRAWS):
            seed = np.random.SeedSequence([self._seed, number, attempt]).generate_state(1)[0]
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int(seed),
                # If TPE only repeats itself, random draws find what is left of a finite space.
                n_startup_trials=self._startup_trials if attempt < _GUIDED else sys.maxsize,
                multivariate=True,
                constant_liar=True,
            )
            asked = self._study.ask()
            config = self._space.sample(asked)
            # Every draw is discarded as a failure, which TPE ignores. ``place`` then enters the
            # chosen one, in the same way for a new trial as for one from the journal.
            self._study.tell(asked, state=TrialState.FAIL)
            if config not in self._seen and config not in taken:
                found.append(config)
            if len(found) == n_draws or (found and attempt >= _GUIDED - 1):
                break
        return min(found, key=self._cost, default=None)

    def place(self, number: int, config: TrialConfig) -> None:
        """Enter a trial that starts."""
        self._open[number] = asked = self._enter(config)
        self._entered[number] = asked.number

    def report(self, number: int, percent: int, value: float) -> None:
        """Record the best value of a trial after ``percent`` of its schedule."""
        asked = self._open[number]
        # With more than a hundred epochs several have the same percent; Optuna keeps the first.
        if percent not in self._study.get_trials(deepcopy=False)[asked.number].intermediate_values:
            asked.report(value, percent)

    def tell(self, number: int, state: StateName, value: float | None) -> None:
        """Record how a trial ended."""
        self._tell(self._open.pop(number), state, value)

    def lengthen(self, epochs: int, going_on: Mapping[int, TrialConfig]) -> None:
        """Draw schedules of this length from now on, and enter the trials that go on anew.

        A trial that Optuna has seen end cannot be opened again, so all others move to a new study.

        Args:
            epochs: length of the schedules to come.
            going_on: new configurations, by number, of the trials that get it too.
        """
        numbers = self._numbers()
        others = [
            trial
            for trial in self._study.get_trials()
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            and numbers.get(trial.number) not in going_on
        ]
        self._space = self._space.with_epochs(epochs)
        self._seen = {config.with_epochs(epochs) for config in self._seen}
        self._study = optuna.create_study()
        self._study.add_trials(others)
        self._entered = {
            numbers[trial.number]: entered
            for entered, trial in enumerate(others)
            if trial.number in numbers
        }
        for number, config in going_on.items():
            self.place(number, config)

    def widen(self, space: SearchSpace) -> None:
        """Draw from a wider space from now on; no trial may be running.

        Optuna requires one fixed set of choices per name, so all trials move to a new study.
        """
        assert not self._open
        before, known, self._space = self._space, self._study.get_trials(), space
        numbers = self._numbers()
        self._study, self._entered = optuna.create_study(), {}
        for trial in known:
            if trial.state == TrialState.FAIL:
                continue
            config = before.sample(cast(optuna.Trial, optuna.trial.FixedTrial(trial.params)))
            again = self._enter(config)
            for percent, value in trial.intermediate_values.items():
                again.report(value, percent)
            self._tell(again, cast(StateName, trial.state.name), trial.value)
            if trial.number in numbers:
                self._entered[numbers[trial.number]] = again.number

    def learn(
        self, config: TrialConfig, state: StateName, value: float | None, percent: int
    ) -> None:
        """Enter an ended trial of an earlier search; its configuration must lie in this space."""
        known = self._enter(config)
        if value is not None:
            known.report(value, percent)
        self._tell(known, state, value)

    def history(self) -> list[tuple[str, dict[str, object], float | None, dict[int, float]]]:
        """Return state, parameters, value and intermediate values of each trial that TPE uses."""
        trials = self._study.get_trials(deepcopy=False)
        return [
            (trial.state.name, dict(trial.params), trial.value, dict(trial.intermediate_values))
            for trial in trials
            if trial.state != TrialState.FAIL
        ]

    def _numbers(self) -> dict[int, int]:
        """Return the number of every trial of this search, by Optuna's; imported ones have none."""
        numbers = {entered: number for number, entered in self._entered.items()}
        assert len(numbers) == len(self._entered), f"trials share a number: {self._entered}"
        return numbers

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
