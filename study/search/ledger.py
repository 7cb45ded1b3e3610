"""The decisions of a search, all of them in its journal.

Every change is first written to the journal and then applied, by the same code that applies it
when the journal is read back. A search that was killed at any moment is therefore continued with
the same trials, the same history of the sampler and the same rungs: there is no other state that
could be lost, be older than the records, or disagree with them.
"""

import dataclasses
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from study.errors import require
from study.results.convergence import SE_SHARE, ConvergenceRule, completed_trials
from study.results.epoch_report import EpochRecord
from study.results.journal import Journal
from study.results.records import StopReason, TrialRecord, best_trial
from study.search.asked_trial import trial_record
from study.search.earlier_trials import KnownTrial, TrialToRepeat
from study.search.forced import Forced
from study.search.search_state import MAY_PASS, FaultKind, SearchState
from study.search.space import SearchSpace
from study.search.trial_config import Assignment
from study.spec.specification import SearchConfig

_REASON_OF_FAULT: Mapping[FaultKind, StopReason] = {
    "worker": "error",
    "stall": "stalled",
    "memory": "oom",
    "oom": "oom",
    "error": "error",
}

_RETRIES = 2
"""Number of times that a trial is retried after faults that may pass, with no epoch between."""

_FEWEST_FOR_A_SHARE = 4
"""Number of ended trials from which the share of failures means anything."""


class Ledger:
    """Decides what runs, what stops and what is retried, and remembers all of it.

    It knows nothing of Ray: the hooks of a Tune run ask it and report to it, and so do the tests.

    Args:
        journal: the search's; its events are replayed.
        space: what configurations are drawn from.
        forced: configurations to try first; a slot without a configuration is passed over.
        search: number of trials, sampler, ASHA; as the search was begun.
        granted_bytes: memory that each trial of a budget is granted of its device; goes into the
            records.
        phase: 1 or 2 in a search of two phases; goes into the records.
        may_repeat: may forced configurations be equal? They differ by their seeds.

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
    ) -> None:
        self._journal = journal
        self._search = search
        self._granted_bytes = granted_bytes
        self._phase = phase
        self._state = SearchState(space=space, forced=forced, search=search, may_repeat=may_repeat)
        for event in journal.replay():
            self._state.apply(event)
        self._waiting = self._not_ended()
        """Numbers of trials that were asked for and are not at work: interrupted, or to be retried
        after a fault."""
        self._ended_here: list[TrialRecord] = []
        """Trials that ended since this start."""

    @property
    def records(self) -> list[TrialRecord]:
        """Every trial that ended, by number."""
        return [t.record for _, t in sorted(self._state.trials.items()) if t.record is not None]

    @property
    def best(self) -> TrialRecord | None:
        """The best rankable trial so far."""
        return best_trial(self.records)

    @property
    def is_complete(self) -> bool:
        """Has every trial that will be asked for ended?"""
        all_asked = self._state.is_exhausted or len(self._state.trials) >= self.trials
        return all_asked and all(trial.record is not None for trial in self._state.trials.values())

    @property
    def trials(self) -> int:
        """The number of trials that are asked for in all, which ``extend`` raises."""
        return self._state.n_trials

    @property
    def converged(self) -> str | None:
        """Why no more trials are asked for though some are left; None if that is not so."""
        return self._state.converged

    @property
    def numbers(self) -> list[int]:
        """Every trial that was asked for, in order."""
        return sorted(self._state.trials)

    def assignment(self, number: int) -> Assignment:
        """Return what a trial was assigned, its latest micro-batch limit included."""
        return self._state.trials[number].assignment

    def epochs(self, number: int) -> list[EpochRecord]:
        """Return the reports of a trial so far, in order; they must not be forgotten."""
        trial = self._state.trials[number]
        assert trial.record is None or len(trial.epochs) == trial.record.epochs_trained
        return trial.epochs

    def forget_epochs(self, number: int) -> None:
        """Release the reports of an ended trial: 5 KB per epoch, and the journal has them."""
        assert self._state.trials[number].record is not None
        self._state.trials[number].epochs.clear()

    def record(self, number: int) -> TrialRecord | None:
        """Return the record of a trial; None while it has not ended."""
        return self._state.trials[number].record

    def rungs(self) -> dict[str, list[tuple[float, dict[int, float]]]]:
        """Return ASHA's milestones of each budget with what is recorded there, by trial."""
        return {budget: rungs.recorded() for budget, rungs in self._state.rungs.items()}

    def history(self) -> list[tuple[str, dict[str, object], float | None, dict[int, float]]]:
        """Return what the sampler learns from."""
        return self._state.sampler.history()

    def interrupt(self) -> None:
        """Take back all trials that are at work: they will be asked for again."""
        self._waiting = self._not_ended()

    def finish_due(self) -> None:
        """End the trials that were killed between their last epoch and its consequence.

        Raises:
            OSError: it could not be written down.
        """
        for number in list(self._waiting):
            if self._finish_if_due(number):
                self._waiting.remove(number)

    def learn(self, known: Sequence[KnownTrial], again: Sequence[TrialToRepeat]) -> None:
        """Take in the trials of an earlier search; only before the first trial.

        Args:
            known: trials for the sampler's history.
            again: configurations to train here after the forced ones.

        Raises:
            OSError: it could not be written down.
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
        """Ask for more trials in all than before.

        All else stays as the search was begun: the sampler goes on with what it knows, and the
        rungs with what they hold. A search that has used up its space or has converged remains so.

        Raises:
            OSError: it could not be written down.
        """
        assert trials > self.trials
        self._commit("extended", trials=trials)

    def next(self) -> Assignment | None:
        """Return a trial to run now, interrupted ones first; None if there is none at the moment.

        Raises:
            OSError: it could not be written down; nothing has changed.
        """
        if self._waiting:
            return self._state.trials[self._waiting.popleft()].assignment
        number = len(self._state.trials)
        if self._state.is_exhausted or number >= self.trials:
            return None
        self._state.drop_repeats()
        converged = None if self._state.enqueued else self._convergence()
        if converged is not None:
            self._commit("converged", message=converged)
            return None
        source, group, config = (
            self._state.enqueued[0]
            if self._state.enqueued
            else ("sampled", None, self._state.sampler.draw(number))
        )
        if config is None:
            self._commit("exhausted")
            return None
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
        """Take in an epoch and return whether the trial ends with it.

        A report that is known already, which a trial repeats after a restart, changes nothing.

        Raises:
            OSError: it could not be written down.
            JournalError: an epoch between is missing.
        """
        trial = self._state.trials[number]
        if trial.record is not None:
            return True
        if report.epoch > len(trial.epochs):
            self._commit("epoch", number=number, report=report.to_json())
        elif trial.end is None and report.stop_reason is not None:
            # Run again from an older checkpoint, an accelerator came to its end sooner than before.
            last = dataclasses.replace(trial.epochs[-1], stop_reason=report.stop_reason)
            trial.end = last.end_reason
        return self._finish_if_due(number)

    def fault(self, number: int, kind: FaultKind, message: str, *, micro_batch: int) -> bool:
        """Take in a fault that interrupted a trial, and return whether it will be retried.

        After a machine ran out of memory a trial is retried with half the micro-batch as long as
        there is a half; after a fault that may pass it is retried from its last checkpoint a few
        times; any other fault would come again.

        Args:
            number: number of the trial.
            kind: kind of the fault.
            message: words of the error.
            micro_batch: samples per pass with which the trial ran.

        Raises:
            OSError: it could not be written down.
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
        self._finish(number, _REASON_OF_FAULT[kind], message)
        return False

    def too_many_failures(self) -> str | None:
        """Return a message if too large a share failed since this start, else None."""
        ended = self._ended_here
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

    def _convergence(self) -> str | None:
        """Return why more trials would find little, in words; None while they might find more."""
        search = self._search
        if search.early_stop_patience is None:
            return None
        threshold = search.early_stop_threshold
        rule = ConvergenceRule(
            least_trials=search.early_stop_patience,
            threshold=threshold,
            se_share=SE_SHARE if threshold is None else None,
        )
        if not rule.has_converged(completed_trials(self.records)):
            return None
        within = f"{SE_SHARE:g} standard errors" if threshold is None else f"{threshold:g}"
        return f"the five best lie within {within}"

    def _finish_if_due(self, number: int) -> bool:
        trial = self._state.trials[number]
        if trial.end is None:
            return False
        message = None
        if trial.end == "collapsed":
            best, validation = trial.epochs[-1].best, trial.epochs[-1].validation
            assert best is not None
            assert validation is not None
            message = (
                f"predicts next to a constant or no better than the base rate: skill "
                f"{best.skill:+.3f} at its best epoch, logits that vary by "
                f"{validation.logit_sd:.3f} in its last"
            )
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
