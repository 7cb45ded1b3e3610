"""The state of a search, which follows from the events of its journal alone."""

import dataclasses
from collections import deque
from collections.abc import Sequence
from typing import Literal

from study.results.epoch_report import EpochRecord
from study.results.journal import Event, JournalError
from study.results.records import BEYOND, TrialRecord, objective
from study.search.asked_trial import AskedTrial
from study.search.assignment import FORCED, SAMPLED, Assignment
from study.search.beyond import Widening
from study.search.costs import DRAWS, Cost, foretold
from study.search.forced import Forced
from study.search.known.neighbours import Neighbours
from study.search.rungs import Rungs
from study.search.sampler import Sampler
from study.search.space import SearchSpace, TrialConfig
from study.spec.search_config import SearchConfig

FaultKind = Literal["worker", "stall", "memory", "oom", "error"]
"""Kinds of faults, in order: the worker process died; it made no step for too long; the machine ran
out of memory; the trainer did, although it had halved the micro-batch as often as it could; the
training code raised an exception."""

MAY_PASS: frozenset[FaultKind] = frozenset({"worker", "stall"})
"""Transient faults, which a retry may not meet again."""


class SearchState:
    """Everything that a search knows, changed by its events alone.

    The same code applies an event when it happens and when the journal is read back.

    Args:
        space: the search space from which configurations are drawn.
        forced: configurations to try first; a slot without a configuration is skipped. One that
            waits is known too: the journal may say that it was tried, after the search was extended
            or by a version that let none wait.
        search: number of trials, sampler and ASHA.
        may_repeat: may forced configurations be equal? They differ by their seeds.
    """

    def __init__(
        self,
        *,
        space: SearchSpace,
        forced: Sequence[Forced],
        search: SearchConfig,
        may_repeat: bool,
    ) -> None:
        self._search = search
        self._may_repeat = may_repeat
        self.sampler = Sampler(space, seed=search.seed, startup_trials=search.startup_trials)
        self.rungs: dict[str, Rungs] = {}
        """ASHA's rungs by budget: models of different sizes do not compete."""
        self.enqueued = deque(
            (f"{FORCED}{s.name}", s.group, s.config) for s in forced if s.config is not None
        )
        """Source, group and configuration of the trials to run before any is drawn."""
        self._later = [(f"{FORCED}{s.name}", s.group, s.later) for s in forced if s.later]
        """The same of those that wait for a search of more trials."""
        self.trials: dict[int, AskedTrial] = {}
        self.epochs = space.epochs
        """Length of the schedules to come; None if it is searched."""
        self.n_trials = search.trials
        """Number of trials that the search is asked for; those beyond an edge come on top. ASHA is
        used or not by the number with which the search was begun."""
        self.is_exhausted = False
        """Has the search converged or used up its space, so that the only new trials that it hands
        out are those beyond an edge?"""
        self.converged: str | None = None
        """Why the search ends before its last trial; None if it has not converged."""
        self.widenings: list[Widening] = []
        """The edges of the file that were passed, in order."""
        self.is_settled = False
        """Is it decided that no further edge is passed?"""
        self._cost: Cost | None = None
        """The foretold seconds of a trial; None if they decide nothing."""

    @property
    def n_beyond(self) -> int:
        """The number of trials beyond edges that were decided on, whether or not they have run."""
        return sum(len(widening.configs) for widening in self.widenings)

    @property
    def is_beyond_due(self) -> bool:
        """Is a trial beyond an edge the next one to be handed out?"""
        return bool(self.enqueued) and self.enqueued[0][0] == BEYOND

    @property
    def n_ordinary(self) -> int:
        """The number of trials that were handed out, without those beyond an edge."""
        return sum(trial.assignment.source != BEYOND for trial in self.trials.values())

    @property
    def has_run(self) -> bool:
        """Has every trial ended, with none left to hand out?"""
        all_asked = self.is_exhausted or self.n_ordinary >= self.n_trials
        return (
            all_asked
            and not self.is_beyond_due
            and all(trial.record is not None for trial in self.trials.values())
        )

    def apply(self, event: Event) -> None:
        """Change the state by an event.

        Raises:
            JournalError: an epoch does not follow the one before.
        """
        match event["kind"]:
            case "created":
                self._apply_created(event)
            case "asked":
                self._apply_asked(event)
            case "epoch":
                self._apply_epoch(event["number"], EpochRecord.from_json(event["report"]))
            case "replayed":
                self._apply_replayed(event["number"], EpochRecord.from_json(event["report"]))
            case "fault":
                self._apply_fault(event)
            case "ended":
                self._apply_ended(TrialRecord.from_json(event["record"]))
            case "learnt":
                self._apply_learnt(event)
            case "extended":
                self.n_trials = event["trials"]
                self.is_settled = False
            case "lengthened":
                self._apply_lengthened(event["epochs"])
                self.is_settled = False
            case "widened":
                self._apply_widened(Widening.from_event(event))
            case "settled":
                self.is_settled = True
            case "exhausted":
                self.is_exhausted = True
            case "converged":
                self.is_exhausted = True
                self.converged = event["message"]

    def drop_repeats(self) -> None:
        """Drop enqueued configurations that a trial has had already.

        Before the first trial, put those to be tried first into the order of their seconds, if that
        is asked for.
        """
        if not self.trials:
            self._put_cheap_first()
        if self._may_repeat or not self.enqueued:
            return
        # Those that ASHA cut before the schedules were lengthened have had their configuration.
        asked = {
            trial.assignment.config.with_epochs(self.epochs)
            if self.epochs is not None
            else trial.assignment.config
            for trial in self.trials.values()
        }
        while self.enqueued and self.enqueued[0][2] in asked:
            self.enqueued.popleft()

    def _apply_created(self, event: Event) -> None:
        """Enqueue the best trials of other cells, and read the seconds that trials will take.

        The trials come before the forced ones: ASHA's rungs then hold good losses, by which it cuts
        others early. Journals of tests may begin without a cell.
        """
        described = event.get("cell", {})
        known = Neighbours.of_cell(described)
        if known is not None:
            first = [(one.source, None, TrialConfig.from_flat(one.params)) for one in known.found]
            self.enqueued.extendleft(reversed(first))
        if self._search.cheap_first or self._search.cost != "ignore":
            self._cost = foretold(described)
            self.sampler.prefer(self._cost, DRAWS[self._search.cost])

    def _put_cheap_first(self) -> None:
        """Order the trials before TPE draws by their foretold seconds, the random ones among them.

        A random draw depends on its number in the queue and not on results, so that the
        configurations are the same in any order. Which of them gets which number, and with it which
        seed of its training, changes. What the search has no trials for stays behind in its order:
        else the dearest would give way to it.
        """
        if self._cost is None or not self._search.cheap_first:
            return
        first: list[tuple[str, str | None, TrialConfig]] = []
        behind: list[tuple[str, str | None, TrialConfig]] = []
        taken: set[TrialConfig] = set()
        for entry in self.enqueued:
            # A repeat is dropped when its turn comes, and takes no trial.
            has_turn = self._may_repeat or entry[2] not in taken
            (first if has_turn and len(first) < self.n_trials else behind).append(entry)
            taken.add(entry[2])
        # Trials that the sampler has learnt count too when TPE begins.
        end = min(self._search.startup_trials - len(self.sampler.history()), self.n_trials)
        for number in range(len(first), end):
            config = self.sampler.draw(number, taken)
            if config is None:
                break
            taken.add(config)
            first.append((SAMPLED, None, config))
        cost = self._cost
        self.enqueued = deque([*sorted(first, key=lambda entry: cost(entry[2])), *behind])

    def _apply_asked(self, event: Event) -> None:
        number, config = event["number"], TrialConfig.from_flat(event["params"])
        self.drop_repeats()
        self._take(event["source"], event["group"], config)
        self.trials[number] = AskedTrial(
            Assignment(
                number=number,
                source=event["source"],
                group=event["group"],
                seed=event["seed"],
                config=config,
                micro_batch_limit=None,
            ),
            asked=event["time"],
        )
        self.sampler.place(number, config)
        self.rungs.setdefault(config.budget, Rungs(self._search))

    def _take(self, source: str, group: str | None, config: TrialConfig) -> None:
        """Remove a configuration from those to be tried first; a drawn one need not be there.

        It need not be the first of them: a search that was extended has more forced configurations,
        which then stand before those that its journal asks for.
        """
        for known in (self.enqueued, self._later):
            if (source, group, config) in known:
                known.remove((source, group, config))
                return
        if source != SAMPLED:
            raise JournalError(
                f"trial {len(self.trials)}: must be one of those to be tried first, but got "
                f"{source} of another configuration. Start anew with --fresh --import-trials on "
                "this folder."
            )

    def _apply_epoch(self, number: int, report: EpochRecord) -> None:
        trial = self.trials[number]
        if report.epoch != len(trial.epochs) + 1:
            raise JournalError(
                f"trial {number}: epochs must follow each other, but got {report.epoch} after "
                f"{len(trial.epochs)}. Start anew with --fresh --import-trials on this folder."
            )
        trial.epochs.append(report)
        trial.retries = 0
        has_ended = report.stop_reason is not None
        percent, score = report.schedule_percent, objective(report.best, self._search.metric)
        is_cut = False
        if score is not None:
            self.sampler.report(number, percent, score)
            rungs = self.rungs[trial.assignment.config.budget]
            is_behind = rungs.is_cut(number, percent, score, has_ended=has_ended)
            # A few trials judge what lies beyond an edge, so they run to their end.
            is_cut = is_behind and trial.assignment.source != BEYOND
        if has_ended or is_cut:
            trial.end = report.end_reason

    def _apply_replayed(self, number: int, again: EpochRecord) -> None:
        """Mark an epoch that was trained again; sampler and rungs keep its first result.

        A replay may end the trial before its first training did, because accelerators are not
        deterministic. It is then the trial's last epoch: the best weights are those of the replay,
        and the record must be about them.
        """
        trial, index = self.trials[number], again.epoch - 1
        marked = trial.epochs[index].replayed(again)
        if again.stop_reason is None:
            trial.epochs[index] = marked
            return
        last = dataclasses.replace(
            again, replays=marked.replays, replay_difference=marked.replay_difference
        )
        trial.epochs[index:] = [last]
        trial.end = last.end_reason

    def _apply_fault(self, event: Event) -> None:
        trial = self.trials[event["number"]]
        limit = event["micro_batch_limit"]
        again = f"; then with at most {limit} samples in a pass" if limit else ""
        trial.faults.append(f"{event['fault']}: {event['message']}{again}")
        trial.retries += event["fault"] in MAY_PASS
        trial.assignment = dataclasses.replace(trial.assignment, micro_batch_limit=limit)

    def _apply_ended(self, record: TrialRecord) -> None:
        self.trials[record.number].record = record
        # A trial without a score teaches the sampler nothing, even if it ran to its end.
        state = record.state if record.objective is not None else "FAIL"
        self.sampler.tell(record.number, state, record.objective)

    def _apply_lengthened(self, epochs: int) -> None:
        """Give longer schedules to what has run to its last epoch, still runs, or is to come."""
        self.epochs = epochs
        self.enqueued = deque(
            (source, group, config.with_epochs(epochs)) for source, group, config in self.enqueued
        )
        self._later = [(source, g, c.with_epochs(epochs)) for source, g, c in self._later]
        going_on = {}
        for number, trial in sorted(self.trials.items()):
            if trial.record is None or trial.record.reason == "completed":
                going_on[number] = config = trial.assignment.config.with_epochs(epochs)
                trial.assignment = dataclasses.replace(trial.assignment, config=config)
                trial.was_reopened |= trial.record is not None
                trial.record = trial.end = None
        self.sampler.lengthen(epochs, going_on)

    def _apply_widened(self, found: Widening) -> None:
        """Widen the space, and put the trials beyond the edge before any others."""
        self.widenings.append(found)
        self.sampler.widen(self.sampler.space.wider(found.name, found.dimension, found.shapes))
        self.enqueued.extendleft((BEYOND, None, config) for config in reversed(found.configs))

    def _apply_learnt(self, event: Event) -> None:
        for row in event["known"]:
            config = TrialConfig.from_flat(row["params"])
            self.sampler.learn(config, row["state"], row["value"], row["percent"])
        self.enqueued += [
            (row["source"], None, TrialConfig.from_flat(row["params"])) for row in event["again"]
        ]
