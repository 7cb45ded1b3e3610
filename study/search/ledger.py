"""Makes the decisions of a search, and writes each to its journal first.

Every change is written to the journal and then applied, by the same code that applies it when the
journal is read back. A search that was killed at any moment is therefore resumed with the same
trials, the same sampler history and the same rungs: there is no second state that could be lost or
could disagree with the journal.
"""

import dataclasses
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from study.errors import require
from study.results.convergence import SE_SHARE, ConvergenceRule, completed_trials, is_placed
from study.results.epoch_report import EpochRecord
from study.results.journal import Journal
from study.results.records import BEYOND, StopReason, TrialRecord, best_trial
from study.search.asked_trial import collapse_message, trial_record
from study.search.assignment import SAMPLED, Assignment
from study.search.beyond import MOST_WIDENINGS, Beyond, Widening
from study.search.forced import Forced
from study.search.known.earlier_trials import KnownTrial, TrialToRepeat
from study.search.search_state import MAY_PASS, FaultKind, SearchState
from study.search.space import SearchSpace, TrialConfig
from study.search.trial_memory import lean_obstacle, what_would_fit
from study.spec.search_config import SearchConfig

_REASON_OF_FAULT: Mapping[FaultKind, StopReason] = {
    "worker": "error",
    "stall": "stalled",
    "memory": "oom",
    "oom": "oom",
    "error": "error",
}
"""Reason of a trial that is not retried after a fault, by kind of the fault."""

_RETRIES = 2
"""Number of times that a trial is retried after transient faults without finishing an epoch."""

_FEWEST_FOR_A_SHARE = 4
"""Least number of trials, ended since the start of the process, at which their share of failures is
judged; an own choice."""


class Ledger:
    """Decides which trials run, stop and are retried.

    It knows nothing of Ray: the hooks of a Tune run call it, and so do the tests.

    Args:
        journal: the search's; its events are replayed.
        space: the search space from which configurations are drawn.
        forced: configurations to try first; a slot without a configuration is skipped.
        search: number of trials, sampler and ASHA, as the search was begun.
        granted_bytes: bytes of its device's memory that a trial is granted, by budget; written to
            the records.
        phase: 1 or 2 in a search of two phases; written to the records.
        may_repeat: may forced configurations be equal? They differ by their seeds.
        beyond: how the search goes beyond the edges of its file; None if it does not.
        networks: number of networks that a trial trains by turns, one for each fold.

    Raises:
        JournalError: the journal's events do not follow from each other.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        space: SearchSpace,
        forced: Sequence[Forced],
        search: SearchConfig,
        granted_bytes: Mapping[str, int],
        phase: int | None = None,
        may_repeat: bool = False,
        beyond: Beyond | None = None,
        networks: int = 1,
    ) -> None:
        self._journal = journal
        self._search = search
        self._granted_bytes = granted_bytes
        self._phase = phase
        self._beyond = beyond
        self._networks = networks
        self._state = SearchState(space=space, forced=forced, search=search, may_repeat=may_repeat)
        for event in journal.replay():
            self._state.apply(event)
        self._waiting = self._not_ended()
        """Numbers of the trials that have been handed out and do not run: they were interrupted, or
        are retried after a fault."""
        self._ended_here: list[TrialRecord] = []
        """Trials that have ended since this process started."""

    @property
    def records(self) -> list[TrialRecord]:
        """The records of all trials that have ended, by number."""
        return [t.record for _, t in sorted(self._state.trials.items()) if t.record is not None]

    @property
    def best(self) -> TrialRecord | None:
        """The best rankable trial so far."""
        return best_trial(self.records)

    @property
    def is_complete(self) -> bool:
        """Has every trial ended that this search will run?"""
        return self._state.has_run and (self._beyond is None or self._state.is_settled)

    @property
    def widenings(self) -> Sequence[Widening]:
        """The edges of the file that were passed, in order."""
        return self._state.widenings

    @property
    def n_beyond(self) -> int:
        """The number of trials beyond edges, which are no part of ``trials``."""
        return self._state.n_beyond

    @property
    def is_beyond_due(self) -> bool:
        """Is a trial beyond an edge the next new one?"""
        return self._state.is_beyond_due

    @property
    def trials(self) -> int:
        """The number of trials that the search was asked for, which ``extend`` raises."""
        return self._state.n_trials

    @property
    def epochs_asked(self) -> int | None:
        """The length of schedules to come, which ``lengthen`` raises; None if it is searched."""
        return self._state.epochs

    @property
    def converged(self) -> str | None:
        """Why the search ends before its last trial; None if it has not converged."""
        return self._state.converged

    @property
    def numbers(self) -> list[int]:
        """The numbers of all trials that have been handed out, in order."""
        return sorted(self._state.trials)

    def assignment(self, number: int) -> Assignment:
        """Return what a trial was assigned, its latest micro-batch limit included."""
        return self._state.trials[number].assignment

    def epochs(self, number: int) -> list[EpochRecord]:
        """Return the reports of a trial so far, in order; invalid after ``forget_epochs``."""
        trial = self._state.trials[number]
        assert trial.record is None or len(trial.epochs) == trial.record.epochs_trained
        return trial.epochs

    def forget_epochs(self, number: int) -> None:
        """Free the reports of an ended trial, about 5 KB each; the journal keeps them."""
        assert self._state.trials[number].record is not None
        self._state.trials[number].epochs.clear()

    def record(self, number: int) -> TrialRecord | None:
        """Return the record of a trial; None while it has not ended."""
        return self._state.trials[number].record

    def rungs(self) -> dict[str, list[tuple[float, dict[int, float]]]]:
        """Return ASHA's rungs of each budget: milestone in percent, and the loss of each trial."""
        return {budget: rungs.recorded() for budget, rungs in self._state.rungs.items()}

    def history(self) -> list[tuple[str, dict[str, object], float | None, dict[int, float]]]:
        """Return the sampler's history: state, parameters, value and course of each trial."""
        return self._state.sampler.history()

    def interrupt(self) -> None:
        """Mark all running trials as interrupted: ``next`` hands them out again."""
        self._waiting = self._not_ended()

    def finish_due(self) -> None:
        """End the trials whose last epoch is in the journal while their end is not.

        Raises:
            OSError: the journal cannot be written.
        """
        for number in list(self._waiting):
            if self._finish_if_due(number):
                self._waiting.remove(number)

    def look_beyond(self) -> None:
        """Decide, once all trials have ended, whether the search goes on beyond an edge.

        Raises:
            OSError: the journal cannot be written.
        """
        state = self._state
        if self._beyond is None or state.is_settled or not state.has_run:
            return
        found = None
        if len(state.widenings) < MOST_WIDENINGS:
            widened = {each.name: each.dimension for each in state.widenings}
            found = self._beyond.widening(
                state.sampler.space, widened, self.records, self._search, len(state.trials)
            )
        if found is None:
            self._commit("settled")
        else:
            self._commit("widened", **found.to_event())

    def learn(self, known: Sequence[KnownTrial], again: Sequence[TrialToRepeat]) -> None:
        """Import the trials of an earlier search, before the first trial of this one.

        Args:
            known: trials for the sampler's history.
            again: configurations to train after the forced ones.

        Raises:
            OSError: the journal cannot be written.
        """
        require(
            not self._state.trials,
            "--import-trials",
            "old trials must be known before the first new one",
            got=f"{len(self._state.trials)} trials",
            remedy="Import them into a new cell.",
        )
        self._commit(
            "learnt",
            known=[dataclasses.asdict(trial) for trial in known],
            again=[dataclasses.asdict(trial) for trial in again],
        )

    def extend(self, trials: int) -> None:
        """Raise the number of trials that the search is to run.

        Sampler and rungs keep what they hold, and every other setting stays. A search that has
        converged or has used up its space remains complete.

        Raises:
            OSError: the journal cannot be written.
        """
        assert trials > self.trials
        self._commit("extended", trials=trials)

    def beyond_ahead(self) -> list[TrialConfig]:
        """Return the configurations beyond edges that have not ended.

        Those that may be drawn later are among them: one of each architecture that the space has
        gained.
        """
        state, space = self._state, self._state.sampler.space
        return [
            *(config for source, _, config in state.enqueued if source == BEYOND),
            *(
                trial.assignment.config
                for trial in state.trials.values()
                if trial.record is None and trial.assignment.source == BEYOND
            ),
            *(space.forced(shape) for each in state.widenings for shape in each.shapes),
        ]

    def lengthen(self, epochs: int) -> None:
        """Give schedules of this length to the trials to come, and to those that can go on.

        A trial that ran to its last epoch goes on from its state, at the rate that a schedule of
        this length has there. Trials that were stopped earlier stay ended, and rungs keep what they
        hold.

        Raises:
            OSError: the journal cannot be written.
        """
        assert self.epochs_asked is not None
        assert epochs > self.epochs_asked
        self._commit("lengthened", epochs=epochs)
        self._waiting = self._not_ended()

    def reopened(self) -> list[int]:
        """Return the numbers of the trials that had ended and go on, in order."""
        trials = sorted(self._state.trials.items())
        return [number for number, t in trials if t.was_reopened and t.record is None]

    def next(self) -> Assignment | None:
        """Return a trial to run now, interrupted ones first; None if there is none at the moment.

        Raises:
            OSError: the journal cannot be written; nothing has changed.
        """
        if self._waiting:
            return self._state.trials[self._waiting.popleft()].assignment
        number = len(self._state.trials)
        chosen = self._chosen(number)
        if chosen is None:
            return None
        source, group, config = chosen
        self._commit(
            "asked",
            number=number,
            source=source,
            group=group,
            seed=self._search.seed + number,
            params=config.flat(),
        )
        return self._state.trials[number].assignment

    def epoch(self, number: int, report: EpochRecord) -> bool:
        """Record an epoch and return whether the trial ends with it.

        After a restart a trial repeats the report of the state that it resumes from, which changes
        nothing if the journal has it already. If the state is older than the journal, the trial
        then trains again the epochs that the journal has. Their first results stay, because the
        sampler and the rungs have decided by them; that they were replayed is recorded.

        Raises:
            OSError: the journal cannot be written.
            JournalError: an earlier epoch is missing.
        """
        trial = self._state.trials[number]
        if trial.record is not None:
            return True
        if report.epoch > len(trial.epochs):
            self._commit("epoch", number=number, report=report.to_json())
        elif trial.end is None and (report.stop_reason is not None or not report.is_repeated):
            self._commit("replayed", number=number, report=report.to_json())
        if not self._finish_if_due(number):
            return False
        self.look_beyond()
        return True

    def fault(self, number: int, kind: FaultKind, message: str, *, micro_batch: int) -> bool:
        """Record a fault that interrupted a trial, and return whether it will be retried.

        If the machine ran out of memory, the trial is retried with half the micro-batch, down to
        one sample. After a transient fault it is retried from its last checkpoint, at most twice
        in a row. Any other fault would recur, so the trial fails.

        Args:
            number: number of the trial.
            kind: kind of the fault.
            message: message of the error.
            micro_batch: samples per pass with which the trial ran.

        Raises:
            OSError: the journal cannot be written.
        """
        trial = self._state.trials[number]
        if trial.record is not None:
            return False
        can_pass = kind in MAY_PASS and trial.retries < _RETRIES
        limit = trial.assignment.micro_batch_limit
        if kind == "memory" and micro_batch > 1:
            limit, can_pass = (micro_batch + 1) // 2, True
        if can_pass:
            self._commit(
                "fault", number=number, fault=kind, message=message, micro_batch_limit=limit
            )
            self._waiting.append(number)
            return True
        if trial.retries:
            message += f" (tried again {trial.retries} times without one more epoch)"
        if _REASON_OF_FAULT[kind] == "oom":
            obstacle = lean_obstacle(self._state.sampler.space, self._networks)
            message += f". {what_would_fit(trial.assignment.config, obstacle)}"
        self._finish(number, _REASON_OF_FAULT[kind], message)
        self.look_beyond()
        return False

    def too_many_failures(self) -> str | None:
        """Return a message if too many trials have failed since this start; None otherwise."""
        # Those beyond an edge try what no one has: that they fail says nothing of the others.
        ended = [record for record in self._ended_here if record.source != BEYOND]
        failed = [r for r in ended if r.reason in ("error", "oom", "stalled", "diverged")]
        share = self._search.max_failure_share
        if len(ended) < _FEWEST_FOR_A_SHARE or len(failed) <= share * len(ended):
            return None
        reasons = ", ".join(sorted({record.reason for record in failed}))
        return (
            f"{len(failed)} of the last {len(ended)} trials failed ({reasons}), more than "
            f"search.max_failure_share={share}; the last one said: {failed[-1].message}"
        )

    def _not_ended(self) -> deque[int]:
        trials = self._state.trials
        return deque(number for number in sorted(trials) if trials[number].record is None)

    def _chosen(self, number: int) -> tuple[str, str | None, TrialConfig] | None:
        """Return source, group and configuration of a new trial; None if there is none now."""
        state = self._state
        if state.is_beyond_due:
            return state.enqueued[0]
        if state.is_exhausted or state.n_ordinary >= self.trials:
            return None
        state.drop_repeats()
        if state.enqueued:
            return state.enqueued[0]
        converged = self._convergence()
        if converged is not None:
            self._commit("converged", message=converged)
        else:
            config = state.sampler.draw(number)
            if config is not None:
                return SAMPLED, None, config
            self._commit("exhausted")
        self.look_beyond()
        return state.enqueued[0] if state.is_beyond_due else None

    def _convergence(self) -> str | None:
        """Return why the search has converged, as a phrase; None if it has not."""
        search = self._search
        if search.early_stop_patience is None:
            return None
        threshold = search.early_stop_threshold
        rule = ConvergenceRule(
            least_trials=search.early_stop_patience,
            threshold=threshold,
            se_share=SE_SHARE if threshold is None else None,
        )
        # Trials that were put near a best one would hardly differ from it.
        own = [record for record in self.records if not is_placed(record.source)]
        if not rule.has_converged(completed_trials(own)):
            return None
        within = f"{SE_SHARE:g} standard errors" if threshold is None else f"{threshold:g}"
        return f"the five best lie within {within}"

    def _finish_if_due(self, number: int) -> bool:
        trial = self._state.trials[number]
        if trial.end is None:
            return False
        message = None
        if trial.end == "collapsed":
            message = collapse_message(trial.epochs[-1])
        elif trial.end == "diverged":
            message = f"a loss or gradient of epoch {len(trial.epochs)} was not finite"
        self._finish(number, trial.end, message)
        return True

    def _finish(self, number: int, reason: StopReason, message: str | None) -> None:
        trial = self._state.trials[number]
        record = trial_record(
            trial,
            reason,
            message,
            search=self._journal.search,
            metric=self._search.metric,
            phase=self._phase,
            granted_bytes=self._granted_bytes.get(trial.assignment.config.budget),
        )
        self._commit("ended", record=record.to_json())
        self._ended_here.append(record)

    def _commit(self, kind: str, **fields: Any) -> None:
        event = {"kind": kind, "time": time.time(), **fields}
        self._journal.append(event)
        self._state.apply(event)
