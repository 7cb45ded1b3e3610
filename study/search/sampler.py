"""The sampler: Optuna's TPE, which receives the true end of every trial.

Ray's ``OptunaSearch`` reports a trial stopped by ASHA as complete with its last value, cannot take
NaN, and puts the conditional parameter names of a define-by-run space into the trial's
configuration. This sampler uses Optuna's ask-and-tell interface itself:

- a trial that ran to its end is COMPLETE with its best value;
- a trial that ASHA stopped is PRUNED: TPE ranks it behind complete ones, by how far it came;
- a trial without a usable value (collapsed, diverged, out of memory, error) is FAIL: a missing
  value never becomes a score.
"""

import copy
import heapq
import sys
from collections.abc import Collection, Container, Mapping, Sequence
from typing import cast

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from study.results.records import TrialState as StateName
from study.search.costs import Cost
from study.search.space import SearchSpace, TrialConfig

_DRAWS = 200
"""Number of draws in a row without a new configuration after which a space counts as exhausted; an
own choice. Only a space of discrete choices can be exhausted."""

_GUIDED = 10
"""Number of those draws that TPE makes; the later ones are random. An own choice."""

_MOST_SEEN = 1_000
"""Number of ended trials that TPE is shown, an own choice: what it does with a trial takes about
70 us, and a tenth of a second is little beside a trial."""

_BEST_SEEN = 25
"""Number of the best trials that are always among them: as many as TPE counts as good at most
(``optuna.samplers._tpe.sampler.default_gamma``)."""


class _Draft(optuna.storages.InMemoryStorage):
    """The storage of one draw: it shows a history beside its own trial, and is thrown away.

    A draw needs a trial of its own, and no storage of Optuna can delete one: in that of the search,
    the draws that came to nothing would pile up.

    Args:
        history: the trials that are shown, numbered from 1, as the draw's own has number 0.
    """

    def __init__(self, history: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._history = history

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials that are shown and the draw's own, or those in one of the states."""
        own = super().get_all_trials(study_id, deepcopy, states)
        shown = [trial for trial in self._history if states is None or trial.state in states]
        return [*(copy.deepcopy(shown) if deepcopy else shown), *own]


class Sampler:
    """An ask-and-tell loop over an in-memory Optuna study, rebuilt from the journal at each start.

    A draw depends on the seed, the trial's number and the trials that the study holds at that
    moment. No random generator has to be saved.

    TPE is shown at most a thousand ended trials, so that a draw takes the same time whatever the
    study has grown to: the best ones, which are all that it counts as good, and the latest. Of the
    others it weighs an old one least in any case.
    """

    def __init__(self, space: SearchSpace, *, seed: int, startup_trials: int) -> None:
        self._space = space
        self._seed = seed
        self._startup_trials = startup_trials
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = _empty_study()
        self._open: dict[int, optuna.Trial] = {}
        """The Optuna trial of every running trial, by number."""
        self._reported: dict[int, set[int]] = {}
        """The percents of its schedule at which it has reported, by number."""
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
        history = self._shown()
        n_ended = sum(trial.state.is_finished() for trial in history)
        # Random draws stay as they are: the cheapest of several would be no random one.
        n_draws = self._n_draws if n_ended >= self._startup_trials else 1
        found: list[TrialConfig] = []
        for attempt in range(_DRAWS):
            seed = np.random.SeedSequence([self._seed, number, attempt]).generate_state(1)[0]
            # If TPE only repeats itself, random draws find what is left of a finite space.
            is_guided = attempt < _GUIDED
            study = optuna.create_study(
                storage=_Draft(history if is_guided else ()),
                sampler=optuna.samplers.TPESampler(
                    seed=int(seed),
                    n_startup_trials=self._startup_trials if is_guided else sys.maxsize,
                    multivariate=True,
                    constant_liar=True,
                ),
            )
            # ``place`` enters the chosen one, in the same way whether it is new or of the journal.
            config = self._space.sample(study.ask())
            if config not in self._seen and config not in taken:
                found.append(config)
            if len(found) == n_draws or (found and attempt >= _GUIDED - 1):
                break
        return min(found, key=self._cost, default=None)

    def place(self, number: int, config: TrialConfig) -> None:
        """Enter a trial that starts."""
        self._open[number] = asked = self._enter(config)
        self._reported[number] = set()
        self._entered[number] = asked.number

    def report(self, number: int, percent: int, value: float) -> None:
        """Record the best value of a trial after ``percent`` of its schedule."""
        # With more than a hundred epochs several have the same percent; Optuna keeps the first.
        if percent not in self._reported[number]:
            self._reported[number].add(percent)
            self._open[number].report(value, percent)

    def tell(self, number: int, state: StateName, value: float | None) -> None:
        """Record how a trial ended."""
        self._tell(self._open.pop(number), state, value)
        del self._reported[number]

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
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
            and numbers.get(trial.number) not in going_on
        ]
        self._space = self._space.with_epochs(epochs)
        self._seen = {config.with_epochs(epochs) for config in self._seen}
        self._study = _empty_study()
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
        before, known = self._space, self._study.get_trials(deepcopy=False)
        self._space = space
        numbers = self._numbers()
        self._study, self._entered = _empty_study(), {}
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

    def _shown(self) -> list[FrozenTrial]:
        """Return the trials by which TPE draws, in the order of the study, numbered from 1."""
        trials = self._study.get_trials(deepcopy=False)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        if len(ended) > _MOST_SEEN:
            best = heapq.nsmallest(_BEST_SEEN, ended, key=_rank)
            chosen = {trial.number for trial in best}
            others = [trial for trial in ended if trial.number not in chosen]
            ended = [*best, *others[len(chosen) - _MOST_SEEN :]]
        shown = [copy.copy(t) for t in sorted((*ended, *running), key=lambda t: t.number)]
        for position, trial in enumerate(shown, start=1):
            trial.number = position
        return shown

    def _numbers(self) -> dict[int, int]:
        """Return the number of every trial of this search, by Optuna's; imported ones have none."""
        numbers = {entered: number for number, entered in self._entered.items()}
        assert len(numbers) == len(self._entered), f"trials share a number: {self._entered}"
        return numbers

    def _enter(self, config: TrialConfig) -> optuna.Trial:
        self._seen.add(config)
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


def _rank(trial: FrozenTrial) -> tuple[int, float, float]:
    """Return a sort key of an ended trial by which TPE ranks: the best is least.

    Those that ran to their end come first, by value; then those that ASHA stopped, by how far they
    came.
    """
    if trial.state == TrialState.COMPLETE:
        assert trial.value is not None
        return 0, trial.value, 0.0
    if not trial.intermediate_values:
        return 1, 1.0, 0.0
    percent, value = max(trial.intermediate_values.items())
    return 1, -percent, value


def _empty_study() -> optuna.Study:
    """Return a study that trials are entered into; its sampler never has anything to choose."""
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
