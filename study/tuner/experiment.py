"""Runs the Tune experiment of one cell, from its start or from where it was interrupted."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune import Callback, TuneError

from study.cluster.thermal import ThermalGuard
from study.interruptions import Interruptions, Stop
from study.planning.cell_plan import CellPlan
from study.results.provenance import versions
from study.results.records import TrialRecord
from study.results.store import CellIdentity
from study.search.cell_folder import CellFolder, as_begun, require_nothing_lost
from study.search.earlier_trials import Imported
from study.search.ledger import Ledger
from study.storage.layout import RAY_LOG_FILE
from study.storage.lock import LockError, scratch_folder
from study.tuner.faults import storage_problem
from study.tuner.ray_results import write_ray_results
from study.tuner.recorder import Recorder
from study.tuner.scheduler import LedgerScheduler
from study.tuner.searcher import LedgerSearcher
from study.tuner.slot_limit import Slots
from study.tuner.thermal_watch import ThermalWatch
from study.tuner.trainable import CellTrainable, TrialSettings
from study.tuner.watchdog import RayDiedError, Watchdog


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchOutcome:
    """What a search left."""

    records: list[TrialRecord]
    is_complete: bool
    converged: str | None
    """Why it asked for fewer trials than it might have; None if it did not."""
    stopped: str | None
    """Why it was ended; None if it ended by itself."""
    is_fault: bool
    """Did something break, or did the user wish it?"""
    is_failing: bool
    """Did so many trials fail that to go on would be a waste?"""


def search_cell(
    plan: CellPlan,
    folder: CellFolder,
    interruptions: Interruptions,
    *,
    imported: Imported | None = None,
    slots_file: Path | None = None,
    trainable: type[CellTrainable] = CellTrainable,
) -> SearchOutcome:
    """Run the trials of ``plan.cell`` that have not ended; Ray must be running.

    Args:
        plan: the cell, ready to run.
        folder: its folder, new or reopened, locked.
        interruptions: how the user ends it.
        imported: trials of an earlier search, for a new one.
        slots_file: where a sweep says how many trials may be at work.
        trainable: what a worker runs.

    Raises:
        StudyError: something is lost from the folder.
    """
    stop = Stop(folder.stop_file)
    ledger = Ledger(
        folder.journal,
        space=plan.space,
        forced=plan.forced,
        search=as_begun(plan.cell, folder.journal.first["cell"]).search,
        granted_bytes={b: each.granted_bytes for b, each in plan.resources.by_budget.items()},
        phase=plan.cell.phase,
        may_repeat=plan.may_repeat,
    )
    require_nothing_lost(folder.path, ledger, folder.journal.search)
    mirror = None if folder.lease is None else folder.lease.mirror
    stall_seconds = plan.cell.search.stall_minutes * 60
    watchdog = Watchdog(folder.path, folder.lock, stall_seconds, mirror)
    slots = Slots(slots_file, plan.concurrency)
    recorder = Recorder(
        folder.path,
        _identity(plan),
        ledger,
        stop,
        watchdog,
        baseline=plan.baseline,
        trials=plan.cell.search.trials,
        slots=plan.concurrency,
        share_bytes=plan.share_bytes,
        bf16=plan.bf16,
        mirror=mirror,
    )
    try:
        if imported is not None:
            ledger.learn(imported.known, imported.again)
        if plan.cell.search.trials > ledger.trials:
            recorder.line(f"asked for {plan.cell.search.trials} trials, before {ledger.trials}")
            ledger.extend(plan.cell.search.trials)
        ledger.finish_due()
        recorder.mend()
        if not ledger.is_complete:
            with _ray_log_in(folder.path):
                _run(
                    plan, folder, trainable, ledger, stop, slots, watchdog, recorder, interruptions
                )
        if not stop.is_fault:
            write_ray_results(folder.path, ledger.records, trainable)
            # After a fault of the store it would wait for it again; --resume writes the rest.
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
        stopped=stop.reason,
        is_fault=stop.is_fault,
        is_failing=ledger.too_many_failures() is not None,
    )


def _run(
    plan: CellPlan,
    folder: CellFolder,
    trainable: type[CellTrainable],
    ledger: Ledger,
    stop: Stop,
    slots: Slots,
    watchdog: Watchdog,
    recorder: Recorder,
    interruptions: Interruptions,
) -> None:
    settings = TrialSettings(
        cell_folder=folder.path,
        device=plan.device,
        share_bytes=plan.share_bytes,
        store=None if folder.lease is None else folder.lease.for_workers,
    )
    worker = tune.with_parameters(
        trainable, data=plan.data, baseline_losses=plan.baseline_losses, settings=settings
    )
    requests = {budget: each.request() for budget, each in plan.resources.by_budget.items()}

    # For the files on which Ray insists. Nothing is ever read from them.
    with scratch_folder() as scratch, ThermalGuard() as guard:
        heat = ThermalWatch(guard, stop, recorder.line)

        def may_start() -> bool:
            # With nothing at work Ray asks for a trial, for minutes, and calls no hook.
            watchdog.look()
            return heat.may_start()

        while not (ledger.is_complete or stop.is_requested):
            searcher = LedgerSearcher(ledger, stop, slots, plan.resources, may_start)
            try:
                tune.run(
                    tune.with_resources(worker, lambda config: requests[config["budget"]]),
                    name="ray",
                    storage_path=str(scratch),
                    # Retries count anew; the ledger says when there is nothing left to run.
                    num_samples=-1,
                    search_alg=searcher,
                    scheduler=LedgerScheduler(ledger, stop, searcher, plan.resources),
                    max_concurrent_trials=plan.concurrency,
                    reuse_actors=True,
                    callbacks=[watchdog, recorder, heat, _Ready(interruptions, stop)],
                    # The trainable writes its own checkpoints, before it reports an epoch.
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    # The ledger decides what is tried again.
                    max_failures=0,
                    raise_on_failed_trial=False,
                    verbose=0,
                )
            except (TuneError, RayError, RuntimeError) as error:
                # Tune 2.60 knows a worker that died, but not one that Ray's memory monitor ended:
                # that ends the whole run, and the trials go on in another one.
                if "low on memory" in str(error) and recorder.lose_to_memory(str(error)):
                    continue
                # Ray's own, or a mistake of ours inside a hook, of which Ray keeps the text alone.
                logging.getLogger("ray.tune").error("the run broke", exc_info=True)
                last = str(error).strip().splitlines()[-1]
                stop.request(f"Ray could not go on: {last} (see ray.log)", is_fault=True)
            else:
                return


class _Ready(Callback):  # type: ignore[misc]
    """Lets signals end the run gracefully, once Ray has installed its own handlers."""

    def __init__(self, interruptions: Interruptions, stop: Stop) -> None:
        self._interruptions = interruptions
        self._stop = stop

    def setup(self, *args: Any, **info: Any) -> None:
        """Take the signals back from Ray."""
        self._interruptions.attach(self._stop)


def _identity(plan: CellPlan) -> CellIdentity:
    cell = plan.cell
    return CellIdentity(
        name=cell.name,
        study=cell.study,
        budget=cell.budget_label,
        metric=cell.search.metric,
        phase=cell.phase,
        horizon=cell.data.horizon,
        task=cell.data.task,
        data_sha256=plan.data.fingerprint,
        versions=versions(),
    )


@contextmanager
def _ray_log_in(folder: Path) -> Iterator[None]:
    """Send what Ray logs to the cell's folder: the terminal has one voice."""
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
