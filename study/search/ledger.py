"""What a search knows: its journal, read from the start.

Every change is first written to the journal and then applied, by the same code that applies it
when the journal is read back. A search that was killed at any moment is therefore continued with
the same trials, the same history of the sampler and the same rungs: there is no other state that
could be lost, be older than the records, or disagree with them.
"""

import dataclasses
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from study.errors import require
from study.model.sizing import count_parameters
from study.results.convergence import SE_SHARE, ConvergenceRule, completed_trials
from study.results.journal import Event, Journal, JournalError
from study.results.records import PHASES, Metric, StopReason, TrialRecord, best_trial, end_reason
from study.search.forced import Forced
from study.search.rungs import Rungs
from study.search.sampler import Sampler
from study.search.space import SearchSpace, TrialConfig
from study.search.trial_config import FORCED, Assignment
from study.spec.specification import SearchConfig

FaultKind = Literal["worker", "stall", "memory", "oom", "error"]
"""The process died; no step for too long; the machine's memory ran out; the trainer's did, although
it had halved the micro-batch as often as it could; an exception, which would come again."""

_REASON_OF_FAULT: Mapping[FaultKind, StopReason] = {
    "worker": "error",
    "stall": "stalled",
    "memory": "oom",
    "oom": "oom",
    "error": "error",
}

_MAY_PASS: frozenset[FaultKind] = frozenset({"worker", "stall"})

_RETRIES = 2
"""Times a trial goes on from its checkpoint after faults that may pass, with no epoch between."""

_FEWEST_FOR_A_SHARE = 4
"""Ends before the share of failures means anything."""


@dataclass(slots=True)
class _Trial:
    """A trial that was asked for."""

    assignment: Assignment
    asked: float
    """Unix time."""
    epochs: list[dict[str, Any]] = field(default_factory=list)
    """Reports, until ``Ledger.forget_epochs``."""
    faults: list[str] = field(default_factory=list)
    """What broke it off and was tried again."""
    retries: int = 0
    """Of faults that may pass, since its last epoch."""
    end: StopReason | None = None
    """Why it ends, once its last epoch has been applied."""
    record: TrialRecord | None = None


class Ledger:
    """Decides what runs, what stops and what is tried again, and remembers all of it.

    Knows nothing of Ray: the hooks of a Tune run ask and tell it, and so do the tests.

    Args:
        journal: of this search; its events are replayed.
        space: what configurations are drawn from.
        forced: tried first, in order; a slot without a configuration is passed over.
        search: number of trials, sampler, ASHA; as the search was begun.
        granted_bytes: of its device's memory, to each trial of a budget; goes into the records.
        phase: of a search of two phases; goes into the records.
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
        self._may_repeat = may_repeat
        self._search = search
        self.trials = search.trials
        """Asked for in all, which ``extend`` raises; whether ASHA is used was decided before."""
        self._granted_bytes = granted_bytes
        self._phase = phase
        self._sampler = Sampler(space, seed=search.seed, startup_trials=search.startup_trials)
        self._rungs: dict[str, Rungs] = {}
        """Of each budget: losses of models of different sizes never compete."""
        self._enqueued = deque(
            (f"{FORCED}{s.name}", s.group, s.config) for s in forced if s.config is not None
        )
        self._trials: dict[int, _Trial] = {}
        self._waiting: deque[int] = deque()
        """Asked for and not at work: interrupted, or to be tried again after a fault."""
        self._is_exhausted = False
        self.converged: str | None = None
        """Why no more trials are asked for though some are left; None if that is not so."""
        for event in journal.replay():
            self._apply(event)
        self._waiting = deque(n for n, trial in self._trials.items() if trial.record is None)
        self._ended_here: list[TrialRecord] = []
        """Since this start."""

    @property
    def records(self) -> list[TrialRecord]:
        """Every trial that ended, by number."""
        return [t.record for _, t in sorted(self._trials.items()) if t.record is not None]

    @property
    def best(self) -> TrialRecord | None:
        """The best rankable trial so far."""
        return best_trial(self.records)

    @property
    def is_complete(self) -> bool:
        """Has every trial that will be asked for ended?"""
        all_asked = self._is_exhausted or len(self._trials) >= self.trials
        return all_asked and all(trial.record is not None for trial in self._trials.values())

    @property
    def numbers(self) -> list[int]:
        """Every trial that was asked for, in order."""
        return sorted(self._trials)

    def assignment(self, number: int) -> Assignment:
        """Return what a trial was told, its latest micro-batch limit included."""
        return self._trials[number].assignment

    def epochs(self, number: int) -> list[dict[str, Any]]:
        """Return the reports of a trial so far, in order; they must not be forgotten."""
        trial = self._trials[number]
        assert trial.record is None or len(trial.epochs) == trial.record.epochs_trained
        return trial.epochs

    def forget_epochs(self, number: int) -> None:
        """Release the reports of an ended trial: 5 KB per epoch, and the journal has them."""
        assert self._trials[number].record is not None
        self._trials[number].epochs.clear()

    def record(self, number: int) -> TrialRecord | None:
        """Return the record of a trial; None while it has not ended."""
        return self._trials[number].record

    def rungs(self) -> dict[str, list[tuple[float, dict[int, float]]]]:
        """Return ASHA's milestones of each budget with what is recorded there, by trial."""
        return {budget: rungs.recorded() for budget, rungs in self._rungs.items()}

    def history(self) -> list[tuple[str, dict[str, object], float | None, dict[int, float]]]:
        """Return what the sampler learns from."""
        return self._sampler.history()

    def interrupt(self) -> None:
        """Take back all trials that are at work: they will be asked for again."""
        self._waiting = deque(n for n in self.numbers if self._trials[n].record is None)

    def finish_due(self) -> None:
        """End the trials that were killed between their last epoch and its consequence.

        Raises:
            OSError: it could not be written down.
        """
        for number in list(self._waiting):
            if self._finish_if_due(number):
                self._waiting.remove(number)

    def learn(self, known: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> None:
        """Take in the trials of an earlier search; only before the first trial.

        Args:
            known: trials for the sampler's history: flat ``params``, ``state``, ``value`` and
                ``percent`` of the schedule.
            again: configurations to train here after the forced ones: ``source`` and ``params``.

        Raises:
            OSError: it could not be written down.
        """
        require(
            not self._trials,
            "--import-trials",
            "old trials must be known before the first new one",
            got=f"{len(self._trials)} trials",
            remedy="Import them into a new cell.",
        )
        self._commit("learnt", known=list(known), again=list(again))

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
            return self._trials[self._waiting.popleft()].assignment
        number = len(self._trials)
        if self._is_exhausted or number >= self.trials:
            return None
        self._drop_repeats()
        converged = None if self._enqueued else self._convergence()
        if converged is not None:
            self._commit("converged", message=converged)
            return None
        source, group, config = (
            self._enqueued[0] if self._enqueued else ("sampled", None, self._sampler.draw(number))
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
        return self._trials[number].assignment

    def epoch(self, number: int, report: Mapping[str, Any]) -> bool:
        """Take in an epoch and say whether the trial ends with it.

        A report that is known already, which a trial repeats after a restart, changes nothing.

        Raises:
            OSError: it could not be written down.
            JournalError: an epoch between is missing.
        """
        trial = self._trials[number]
        if trial.record is not None:
            return True
        if report["epoch"] > len(trial.epochs):
            self._commit("epoch", number=number, report=dict(report))
        elif trial.end is None and report.get("stop_reason") is not None:
            # Run again from an older checkpoint, an accelerator came to its end sooner than before.
            trial.end = end_reason({**trial.epochs[-1], "stop_reason": report["stop_reason"]})
        return self._finish_if_due(number)

    def fault(self, number: int, kind: FaultKind, message: str, *, micro_batch: int) -> bool:
        """Take in that a trial broke off, and say whether it will be tried again.

        A machine that ran out of memory is tried again with half the micro-batch as long as there
        is a half; what may pass is tried again from the last checkpoint a few times; anything else
        would come again.

        Args:
            number: of the trial.
            kind: what happened.
            message: in the words of the error.
            micro_batch: with which it ran.

        Raises:
            OSError: it could not be written down.
        """
        trial = self._trials[number]
        if trial.record is not None:
            return False
        can_pass = kind in _MAY_PASS and trial.retries < _RETRIES
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
        """Return what to tell the user if too large a share failed since this start, else None."""
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

    def _convergence(self) -> str | None:
        """Return why more trials would find little, in words; None as long as they might."""
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
        trial = self._trials[number]
        if trial.end is None:
            return False
        message = None
        if trial.end == "collapsed":
            last = trial.epochs[-1]
            message = (
                f"predicts next to a constant or no better than the base rate: skill "
                f"{last['best_skill']:+.3f} at its best epoch, logits that vary by "
                f"{last['logit_sd']:.3f} in its last"
            )
        elif trial.end == "diverged":
            message = f"a loss or gradient of epoch {len(trial.epochs)} was not finite"
        self._finish(number, trial.end, message)
        return True

    def _finish(self, number: int, reason: StopReason, message: str | None) -> None:
        record = _record(
            self._trials[number],
            reason,
            message,
            search=self._journal.search,
            metric=self._search.metric,
            phase=self._phase,
            granted_bytes=self._granted_bytes.get(self._trials[number].assignment.config.budget),
        )
        self._commit("ended", record=dataclasses.asdict(record))
        self._ended_here.append(record)

    def _commit(self, kind: str, **fields: Any) -> None:
        event = {"kind": kind, "time": time.time(), **fields}
        self._journal.append(event)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        match event["kind"]:
            case "asked":
                self._apply_asked(event)
            case "epoch":
                self._apply_epoch(event["number"], event["report"])
            case "fault":
                trial = self._trials[event["number"]]
                limit = event["micro_batch_limit"]
                again = f"; then with at most {limit} samples in a pass" if limit else ""
                trial.faults.append(f"{event['fault']}: {event['message']}{again}")
                trial.retries += event["fault"] in _MAY_PASS
                trial.assignment = dataclasses.replace(trial.assignment, micro_batch_limit=limit)
            case "ended":
                self._apply_ended(TrialRecord(**event["record"]))
            case "learnt":
                for row in event["known"]:
                    config = TrialConfig.from_flat(row["params"])
                    self._sampler.learn(config, row["state"], row["value"], row["percent"])
                self._enqueued += [
                    (row["source"], None, TrialConfig.from_flat(row["params"]))
                    for row in event["again"]
                ]
            case "extended":
                self.trials = event["trials"]
            case "exhausted":
                self._is_exhausted = True
            case "converged":
                self._is_exhausted = True
                self.converged = event["message"]

    def _apply_asked(self, event: Event) -> None:
        number, config = event["number"], TrialConfig.from_flat(event["params"])
        self._drop_repeats()
        if event["source"] != "sampled":
            self._take(event["source"], event["group"], config)
        self._trials[number] = _Trial(
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
        self._sampler.place(number, config)
        self._rungs.setdefault(config.budget, Rungs(self._search))

    def _take(self, source: str, group: str | None, config: TrialConfig) -> None:
        """Take a configuration out of those to be tried first.

        Of more trials more are forced, which then come before what was asked for in the meantime.
        """
        try:
            self._enqueued.remove((source, group, config))
        except ValueError:
            raise JournalError(
                f"trial {len(self._trials)}: must be one of those to be tried first, but got "
                f"{source} of another configuration. Start anew with --fresh --import-trials on "
                "this folder."
            ) from None

    def _drop_repeats(self) -> None:
        """Pass over a configuration that was asked for already."""
        if self._may_repeat:
            return
        asked = {trial.assignment.config for trial in self._trials.values()}
        while self._enqueued and self._enqueued[0][2] in asked:
            self._enqueued.popleft()

    def _apply_epoch(self, number: int, report: dict[str, Any]) -> None:
        trial = self._trials[number]
        if report["epoch"] != len(trial.epochs) + 1:
            raise JournalError(
                f"trial {number}: epochs must follow each other, but got {report['epoch']} after "
                f"{len(trial.epochs)}. Start anew with --fresh --import-trials on this folder."
            )
        trial.epochs.append(report)
        trial.retries = 0
        has_ended = report.get("stop_reason") is not None
        percent, score = report["schedule_percent"], objective(report, self._search.metric)
        is_cut = False
        if score is not None:
            self._sampler.report(number, percent, score)
            rungs = self._rungs[trial.assignment.config.budget]
            is_cut = rungs.is_cut(number, percent, score, has_ended=has_ended)
        if has_ended or is_cut:
            trial.end = end_reason(report)

    def _apply_ended(self, record: TrialRecord) -> None:
        self._trials[record.number].record = record
        # Without a score there is nothing to learn, even of a trial that ran to its end.
        state = record.state if record.objective is not None else "FAIL"
        self._sampler.tell(record.number, state, record.objective)


def objective(report: Mapping[str, Any], metric: Metric) -> float | None:
    """Return what a search minimises, from a report: of the best epoch so far; None if undefined.

    The best epoch is the one of least log-loss for both metrics: AUC on a few hundred days jumps
    from epoch to epoch, and its highest value of many is mostly luck.
    """
    if metric == "auc":
        auc = report.get("best_auc")
        return None if auc is None else 1 - float(auc)
    return report.get("best_validation_loss")


def _record(
    trial: _Trial,
    reason: StopReason,
    message: str | None,
    *,
    search: str,
    metric: Metric,
    phase: int | None,
    granted_bytes: int | None,
) -> TrialRecord:
    assignment, epochs = trial.assignment, trial.epochs
    last = epochs[-1] if epochs else {}
    config = assignment.config
    return TrialRecord(
        number=assignment.number,
        trial_id=f"{search}-{assignment.number:04d}",
        source=assignment.source,
        phase=phase,
        group=assignment.group,
        name=assignment.forced_name,
        folder=assignment.folder,
        seed=assignment.seed,
        params=config.flat(),
        d_ff=config.model.d_ff,
        param_count=count_parameters(config.model),
        reason=reason,
        message=message,
        faults=list(trial.faults),
        objective=objective(last, metric),
        objective_se=last.get("best_auc_se" if metric == "auc" else "best_validation_loss_se"),
        value=last.get("best_validation_loss"),
        value_se=last.get("best_validation_loss_se"),
        half_values=last.get("best_half_losses"),
        difference=last.get("best_difference"),
        difference_se=last.get("best_difference_se"),
        best_epoch=last.get("best_epoch"),
        epochs_trained=len(epochs),
        skill=last.get("best_skill"),
        skill_own_base_rate=last.get("best_skill_own_base_rate"),
        auc=last.get("best_auc"),
        brier=last.get("best_brier"),
        micro_batch=last.get("micro_batch"),
        accumulation_steps=last.get("accumulation_steps"),
        out_of_memory_count=last.get("out_of_memory_count"),
        device=last.get("device"),
        assigned_cpus=last.get("assigned_cpus"),
        assigned_gpus=last.get("assigned_gpus"),
        peak_memory_bytes=last.get("peak_memory_bytes"),
        granted_memory_bytes=granted_bytes if epochs else None,
        thermal_max_temp=max(
            (epoch["temperature_max"] for epoch in epochs if "temperature_max" in epoch),
            default=None,
        ),
        seconds={
            phase: sum(epoch.get(f"{phase}_seconds", 0.0) for epoch in epochs) for phase in PHASES
        },
        started=trial.asked,
        ended=time.time(),
    )
