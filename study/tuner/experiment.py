"""Runs the Tune experiment of one cell, from its start or from where it was interrupted."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune import Callback, TuneError

from study.cluster.thermal import ThermalGuard
from study.interruptions import Interruptions, Stop
from study.results.records import TrialRecord
from study.search.cell_folder import begun_epochs, epochs_of
from study.search.rungs import milestones
from study.storage.layout import RAY_LOG_FILE
from study.storage.lock import LockError, scratch_folder
from study.tuner.faults import storage_problem
from study.tuner.opened_search import OpenedSearch
from study.tuner.ray_results import write_ray_results
from study.tuner.recorder import Recorder
from study.tuner.scheduler import LedgerScheduler
from study.tuner.searcher import LedgerSearcher
from study.tuner.thermal_watch import ThermalWatch
from study.tuner.trainable import CellTrainable, TrialSettings
from study.tuner.watchdog import RayDiedError, Watchdog


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchOutcome:
    """The end of a search, and the records of all its trials that have ended."""

    records: list[TrialRecord]
    is_complete: bool
    converged: str | None
    """Why the search has converged before its last trial; None if it has not."""
    n_beyond: int
    """Number of trials beyond edges of the file, which no one has asked for."""
    stopped: str | None
    """Why the search was stopped; None if it ran to its end."""
    is_fault: bool
    """Was it stopped by a fault, and not by the user?"""
    is_failing: bool
    """Have so many trials failed that resuming the search would be a waste?"""


def search_cell(
    opened: OpenedSearch,
    interruptions: Interruptions,
    *,
    trainable: type[CellTrainable] = CellTrainable,
) -> SearchOutcome:
    """Run the trials of a cell that have not ended; Ray must be running.

    Args:
        opened: the search, new or resumed.
        interruptions: how the user ends it.
        trainable: what a worker runs.
    """
    ledger, stop = opened.ledger, opened.stop
    watchdog = Watchdog(opened.folder, opened.plan.cell.search.stall_minutes * 60)
    recorder = Recorder(opened, watchdog.stalled)
    try:
        if opened.imported is not None:
            ledger.learn(opened.imported.known, opened.imported.again)
        asked = opened.plan.cell.search.trials
        if asked > ledger.trials:
            recorder.line(f"asked for {asked} trials, before {ledger.trials}")
            ledger.extend(asked)
        ledger.finish_due()
        _lengthen(opened, recorder)
        # Longer schedules move the best trial, which decides where an edge is passed.
        ledger.look_beyond()
        recorder.repair()
        if not ledger.is_complete:
            with _ray_log_in(opened.folder.path):
                _run(opened, trainable, watchdog, recorder, interruptions)
        if not stop.is_fault:
            write_ray_results(opened.folder.path, ledger.records, trainable)
            # Skipped after a fault, as a broken store would be waited for again; --resume does it.
            recorder.push()
    except KeyboardInterrupt:
        stop.request("ended at once", is_fault=False)
    except RayDiedError as error:
        stop.request(str(error), is_fault=True)
    except OSError as error:
        stop.request(storage_problem(error), is_fault=True)
    except LockError as error:
        stop.request(str(error), is_fault=True)
    finally:
        interruptions.detach()
    return SearchOutcome(
        records=ledger.records,
        is_complete=ledger.is_complete,
        converged=ledger.converged,
        n_beyond=ledger.n_beyond,
        stopped=stop.reason,
        is_fault=stop.is_fault,
        is_failing=ledger.too_many_failures() is not None,
    )


def _lengthen(opened: OpenedSearch, recorder: Recorder) -> None:
    """Give longer schedules to the trials that can go on, if they are asked for.

    Raises:
        StudyError: the state of a trial that would go on is gone.
        OSError: the journal cannot be written.
    """
    ledger, asked = opened.ledger, epochs_of(opened.plan.cell)
    begun, before = begun_epochs(opened.folder.journal.first["cell"]), ledger.epochs_asked
    # Final runs have schedules of their own, whatever those of their cell are.
    if asked is None or begun is None or before is None or asked <= max(begun, before):
        return
    recorder.require_states()
    recorder.line(f"asked for schedules of {asked} epochs, before {before}")
    ledger.lengthen(asked)


def _run(
    opened: OpenedSearch,
    trainable: type[CellTrainable],
    watchdog: Watchdog,
    recorder: Recorder,
    interruptions: Interruptions,
) -> None:
    """Run Tune until every trial has ended or the search is to end."""
    ledger, stop = opened.ledger, opened.stop
    worker = _worker(opened, trainable)
    # Ray insists on writing files, which nothing reads; they go to a temporary folder.
    with scratch_folder() as scratch, ThermalGuard() as guard:
        heat = ThermalWatch(guard, stop, recorder.line)
        callbacks = [watchdog, recorder, heat, _Ready(interruptions, stop)]

        def may_start() -> bool:
            # While no trial runs, Ray calls the searcher alone and no callback, for minutes.
            watchdog.look()
            return heat.may_start()

        while not (ledger.is_complete or stop.is_requested):
            try:
                _run_once(opened, worker, callbacks, may_start, scratch)
            except (TuneError, RayError, RuntimeError) as error:
                # Tune 2.60 survives the death of a worker, but not its end by Ray's memory monitor,
                # which ends the whole run. The trials are then resumed in a new run.
                if "low on memory" in str(error) and recorder.lose_to_memory(str(error)):
                    continue
                # An error of Ray, or one of this code inside a hook, of which Ray keeps the text.
                logging.getLogger("ray.tune").error("the run broke", exc_info=True)
                last = str(error).strip().splitlines()[-1]
                stop.request(f"Ray could not go on: {last} (see ray.log)", is_fault=True)
            else:
                return


def _worker(opened: OpenedSearch, trainable: type[CellTrainable]) -> Any:
    """Return the trainable bound to the cell's data and to the resources of each budget."""
    plan, folder = opened.plan, opened.folder
    settings = TrialSettings(
        cell_folder=folder.path,
        device=plan.device,
        capture=plan.capture,
        share_bytes=plan.share_bytes,
        store=folder.place.for_workers,
        checkpoint_seconds=plan.cell.search.checkpoint_seconds,
        milestones=milestones(plan.cell.search),
    )
    worker = tune.with_parameters(trainable, data=plan.training_data, settings=settings)
    requests = {budget: each.request() for budget, each in plan.resources.by_budget.items()}
    return tune.with_resources(worker, lambda config: requests[config["budget"]])


def _run_once(
    opened: OpenedSearch,
    worker: Any,
    callbacks: list[Callback],
    may_start: Callable[[], bool],
    scratch: Path,
) -> None:
    """Let Tune ask the ledger for trials until it hands out no more."""
    ledger, stop, resources = opened.ledger, opened.stop, opened.plan.resources
    searcher = LedgerSearcher(ledger, stop, opened.slots, resources, may_start)
    tune.run(
        worker,
        name="ray",
        storage_path=str(scratch),
        # Tune would count a retry as a new sample; the ledger decides when the search is over.
        num_samples=-1,
        search_alg=searcher,
        scheduler=LedgerScheduler(ledger, stop, searcher, resources),
        max_concurrent_trials=opened.plan.concurrency,
        reuse_actors=True,
        callbacks=callbacks,
        # The trainable writes its own checkpoints.
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        # The ledger decides what is retried.
        max_failures=0,
        raise_on_failed_trial=False,
        verbose=0,
    )


class _Ready(Callback):  # type: ignore[misc]
    """Installs the study's signal handlers after Ray has installed its own."""

    def __init__(self, interruptions: Interruptions, stop: Stop) -> None:
        self._interruptions = interruptions
        self._stop = stop

    def setup(self, *args: Any, **info: Any) -> None:
        """Replace Ray's signal handlers."""
        self._interruptions.attach(self._stop)


@contextmanager
def _ray_log_in(folder: Path) -> Iterator[None]:
    """Write Ray's log messages to a file in the cell's folder and not to the terminal."""
    handler = logging.FileHandler(folder / RAY_LOG_FILE, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("ray", "ray.tune", "ray.train", "ray.air")]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()
