"""The Ray callback that writes records, TensorBoard events and terminal lines from the journal."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from study.errors import StudyError, require
from study.model.sizing import count_parameters
from study.output import open_console
from study.results.records import TrialRecord
from study.results.store import CellStore
from study.results.tensorboard import TrialEvents, has_events, is_event_file
from study.search.assignment import Assignment, first_micro_batch
from study.search.cell_folder import write_description
from study.storage.files import write_text
from study.storage.layout import ALIVE_FILE, CHECKPOINTS_FOLDER, ERROR_FILE
from study.storage.lock import LockError
from study.terminal.progress import Progress
from study.training.checkpoint import CheckpointFolder, is_checkpoint
from study.tuner.faults import MEMORY_MONITOR, Fault, fault_of, storage_problem
from study.tuner.opened_search import OpenedSearch
from study.tuner.trainable import StepResult


@dataclass(slots=True)
class _View:
    """The open files of a running trial."""

    events: TrialEvents
    n_epochs: int
    """Number of epochs that have been written."""


class Recorder(Callback):  # type: ignore[misc]
    """Writes each epoch and each end once, and repairs the files that a crash left incomplete.

    Everything it writes can be rebuilt from the ledger. A file that cannot be written ends the
    search, and nothing is lost.

    Args:
        opened: the search.
        stalled: why the worker of a trial was ended, by number; the recorder removes a trial when
            Ray reports the death of its worker.
    """

    def __init__(self, opened: OpenedSearch, stalled: dict[int, str]) -> None:
        plan = opened.plan
        self._folder = opened.folder.path
        self._identity = opened.identity
        self._ledger = opened.ledger
        self._stop = opened.stop
        self._stalled = stalled
        self._share_bytes = plan.share_bytes
        self._keep_state_mib = plan.cell.search.keep_state_mib
        self._setting = plan.setting
        self._store = CellStore(self._folder, self._identity, n_folds=plan.n_folds)
        self._place = opened.folder.place
        self._views: dict[int, _View] = {}
        self._actors: dict[int, str] = {}
        """Ray's id of the actor that last ran each trial, by number."""
        self._progress = Progress(
            open_console(),
            self._store.log,
            total=plan.cell.search.trials + self._ledger.n_beyond,
            slots=plan.concurrency,
            baseline=plan.simple.to_beat if plan.n_folds == 1 else None,
            metric=plan.cell.search.metric,
        )
        self._n_folds = plan.n_folds
        self._cell, self._journal = plan.cell, opened.folder.journal
        self._n_announced = 0
        """Number of the edges beyond which the search goes that were printed."""

    def repair(self) -> None:
        """Rewrite every file that a crash has left missing, truncated or older than the journal.

        Trials beyond an edge that have not begun are announced again.

        Raises:
            OSError: something cannot be written.
        """
        for record in self._ledger.records:
            if not self._is_whole(record):
                self._write_end(record)
            if self._has_answers(record) and not self._checkpoints(record).has_best():
                self._progress.line(
                    f"trial {record.number:>3} has lost its best weights; its result stays"
                )
            self._ledger.forget_epochs(record.number)
        self._store.write_trials(self._ledger.records)
        self._n_announced = len(self._ledger.widenings) - self._ledger.is_beyond_due
        self._announce()
        self.push()

    def require_states(self) -> None:
        """Refuse longer schedules unless every trial that ran to its last epoch has kept its state.

        Raises:
            StudyError: one has kept its best weights alone.
            OSError: the place cannot be read.
        """
        completed = [r for r in self._ledger.records if r.reason == "completed"]
        for record in completed:
            # Those that another machine has kept are in the store alone.
            if not self._checkpoints(record).has_state():
                self._place.fetch_from_worker(
                    f"{record.folder}/{CHECKPOINTS_FOLDER}",
                    forget=lambda: None,
                    only=lambda name: True,
                )
        without = [r.number for r in completed if not self._checkpoints(r).has_state()]
        require(
            not without,
            str(self._folder),
            "a trial can only be given a longer schedule from its state, which is kept up to "
            f"search.keep_state_mib={self._keep_state_mib}",
            got=f"no state of trials {', '.join(map(str, without))}",
            remedy="Train the best configurations anew with longer schedules: --fresh "
            f"--import-trials {self._folder} --max-epochs N",
            error=StudyError,
        )

    def push(self) -> None:
        """Copy every changed file to the place of the cell.

        Raises:
            OSError: the place cannot be written.
        """
        self._place.push_views(lambda: self._store.table(self._ledger.records))

    def setup(self, *args: Any, **info: Any) -> None:
        """Open the terminal."""
        self._progress.start(self._ledger.records, self._ledger.best)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Open a trial's event file, write its HParams, and print its settings."""
        with self._storage():
            self._announce()
        assignment = self._ledger.assignment(trial.config["number"])
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            self._actors[assignment.number] = actor._actor_id.hex()
        with self._storage():
            self._views[assignment.number] = view = self._open(assignment.number)
            self._progress.trial_started(
                assignment.number,
                assignment.config.flat(),
                source=assignment.source,
                param_count=count_parameters(assignment.config.model),
                micro_batch=self._first_micro_batch(assignment),
                resumed=view.n_epochs,
            )

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **_: Any,
    ) -> None:
        """Write the epoch that the ledger has just recorded, and the end if it has decided one."""
        number = trial.config["number"]
        with self._storage():
            for note in StepResult.read(result).notes:
                self._progress.line(f"trial {number:>3} found: {note}")
            view = self._views.get(number)
            if view is None:
                # Its files could not be opened, and the search is about to stop.
                return
            for report in self._ledger.epochs(number)[view.n_epochs :]:
                view.events.epoch(report)
                self._store.add_epoch(self._ledger.assignment(number).folder, report)
                view.n_epochs += 1
                self._progress.epoch(number, report)
            self._end(number)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """Report a fault to the ledger, which decides whether the trial is retried."""
        number, fault = trial.config["number"], fault_of(trial)
        if number in self._stalled:
            fault = Fault("stall", self._stalled.pop(number), fault.detail)
        if fault.kind == "storage":
            self._stop.request(f"trial {number}: {fault.message}", is_fault=True)
            return
        with self._storage():
            self._take_fault(number, fault)

    def lose_to_memory(self, error: str) -> bool:
        """Record that Ray's memory monitor ended the workers that ``error`` names.

        Returns: did one of them run a trial? All running trials will be handed out again.
        """
        lost = [
            number
            for number, actor in self._actors.items()
            # An actor runs one trial after the other; those that have ended are not affected.
            if actor in error and self._ledger.record(number) is None
        ]
        self._actors.clear()
        with self._storage():
            for number in lost:
                self._take_fault(number, Fault("memory", MEMORY_MONITOR, error))
        self._ledger.interrupt()
        return bool(lost)

    def line(self, text: str) -> None:
        """Print and log a line about the search as a whole."""
        with self._storage():
            self._progress.line(text)

    def on_experiment_end(self, trials: list[Trial], **_: Any) -> None:
        """Close all files; trials that have not ended are resumed at the next start."""
        for view in self._views.values():
            view.events.close(ended=False)
        self._views.clear()
        self._progress.stop()

    def _take_fault(self, number: int, fault: Fault) -> None:
        assert fault.kind != "storage"
        is_tried_again = self._ledger.fault(
            number, fault.kind, fault.message, micro_batch=self._micro_batch(number)
        )
        log = f"{self._ledger.assignment(number).folder}/{ERROR_FILE}"
        (self._folder / log).parent.mkdir(exist_ok=True)
        write_text(self._folder / log, fault.detail)
        self._progress.trial_broke_off(
            number, fault.message, is_tried_again=is_tried_again, log=log
        )
        self._end(number)

    def _end(self, number: int) -> None:
        record = self._ledger.record(number)
        if record is None:
            return
        self._write_end(record)
        epochs = list(self._ledger.epochs(number))
        self._ledger.forget_epochs(number)
        self._store.write_trials(self._ledger.records)
        self._progress.trial_ended(record, self._ledger.best, epochs)
        problem = self._ledger.too_many_failures()
        if problem is not None:
            self._stop.request(problem, is_fault=True)
        self._announce()
        self.push()

    def _announce(self) -> None:
        """Print and record the edges beyond which the search goes since the last call."""
        found = self._ledger.widenings
        if len(found) == self._n_announced:
            return
        for widening in found[self._n_announced :]:
            self._progress.line(f"beyond    {widening.message}")
        self._n_announced = len(found)
        self._progress.ask_for(self._ledger.trials + self._ledger.n_beyond)
        write_description(self._folder, self._journal, self._cell, found)

    def _open(self, number: int) -> _View:
        """Write the reports of a trial so far into its folder, and keep its files open."""
        assignment, epochs = self._ledger.assignment(number), self._ledger.epochs(number)
        if number in self._views:
            self._views.pop(number).events.close(ended=False)
        folder = self._folder / assignment.folder
        folder.mkdir(exist_ok=True)
        self._store.write_epochs(assignment.folder, epochs)
        params = {
            "horizon": self._identity.horizon,
            "task": self._identity.task,
            **assignment.config.flat(),
            "d_ff": assignment.config.model.d_ff,
            "param_count": count_parameters(assignment.config.model),
            "source": assignment.source,
            "seed": assignment.seed,
        }
        group = self._group(assignment.folder)
        return _View(TrialEvents(folder, params, epochs, group=group), len(epochs))

    def _group(self, trial: str) -> str:
        """Return TensorBoard's name of a trial: ``cell/trial``, or ``cell/runs/trial`` if final.

        The final runs of a search across budgets lie in a folder of each budget, whose name begins
        with that of the cell.
        """
        cell, parts = self._identity.name, self._folder.parts
        own = [at for at, part in enumerate(parts) if part == cell or part.startswith(f"{cell}_")]
        below = parts[own[-1] :] if own else (cell, *parts[-1:])
        return "/".join((*below, trial))

    def _write_end(self, record: TrialRecord) -> None:
        """Write a trial's last files; its record comes last and shows that all others exist."""
        epochs = self._ledger.epochs(record.number)
        view = self._views.get(record.number)
        # A replay may have ended the trial sooner than the files say.
        if view is None or view.n_epochs != len(epochs):
            view = self._open(record.number)
        self._views.pop(record.number, None)
        view.events.close(ended=True)
        # Epochs that were replayed are marked since they were written.
        self._store.write_epochs(record.folder, epochs)
        may_go_on = record.reason == "completed" and self._keep_state_mib > 0
        if self._has_answers(record):
            self._place.fetch_from_worker(
                f"{record.folder}/{CHECKPOINTS_FOLDER}",
                forget=self._checkpoints(record).clear,
                only=lambda name: may_go_on or "best_" in name.rpartition("/")[2],
            )
            checkpoints, limit = self._checkpoints(record), self._keep_state_mib * 2**20
            if not (may_go_on and checkpoints.keep_newest(limit)):
                checkpoints.keep_best()
        else:
            self._checkpoints(record).clear()
        self._store.write_trial(record, epochs)
        self._place.push_trial(record.folder, is_replaceable=_is_of_a_trial)

    def _has_answers(self, record: TrialRecord) -> bool:
        """Return whether a trial's best weights are kept, as those of a fold that collapsed are.

        Without them a seed would have no answers for the days of that fold.
        """
        return record.is_rankable or (self._n_folds > 1 and record.reason == "collapsed")

    def _checkpoints(self, record: TrialRecord) -> CheckpointFolder:
        return CheckpointFolder(self._folder / record.folder / CHECKPOINTS_FOLDER)

    def _is_whole(self, record: TrialRecord) -> bool:
        """Are all files of an ended trial intact but for the weights, which cannot be rebuilt?"""
        epochs, folder = self._ledger.epochs(record.number), self._folder / record.folder
        return self._store.has_trial(record, epochs) and has_events(folder, len(epochs))

    def _micro_batch(self, number: int) -> int:
        """Return the micro-batch that a trial last reported."""
        epochs, assignment = self._ledger.epochs(number), self._ledger.assignment(number)
        first = self._first_micro_batch(assignment)
        return min(first, epochs[-1].micro_batch) if epochs else first

    def _first_micro_batch(self, assignment: Assignment) -> int:
        """Return the micro-batch that a trial starts with."""
        return first_micro_batch(assignment, self._share_bytes, self._setting)

    @contextmanager
    def _storage(self) -> Iterator[None]:
        """End the search if a record cannot be written."""
        try:
            yield
        except OSError as error:
            self._stop.request(storage_problem(error), is_fault=True)
        except LockError as error:
            self._stop.request(str(error), is_fault=True)


def _is_of_a_trial(name: str) -> bool:
    """Is a file of this name written by a trial, so that a later run of it may replace it?"""
    return name == ALIVE_FILE or is_checkpoint(name) or is_event_file(name)
