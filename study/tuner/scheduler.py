"""The scheduler of a Tune run: writes every epoch into the ledger and stops what it ends.

The ledger applies ASHA. Ray's ``ASHAScheduler`` is not used, because Tune's snapshots lack the
rungs of a scheduler (``tests/tuner/test_ray_algorithms.py``).
"""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from study.cluster.resources import SearchResources
from study.interruptions import Stop
from study.results.journal import JournalError
from study.search.ledger import Ledger
from study.tuner.faults import storage_problem
from study.tuner.searcher import LedgerSearcher
from study.tuner.trainable import StepResult
from study.tuner.worker_cache import Workers


class LedgerScheduler(FIFOScheduler):  # type: ignore[misc]
    """Writes every epoch into the ledger, and stops the trials that the ledger ends."""

    def __init__(
        self, ledger: Ledger, stop: Stop, searcher: LedgerSearcher, resources: SearchResources
    ) -> None:
        super().__init__()
        self._ledger = ledger
        self._stop = stop
        self._searcher = searcher
        self._workers = Workers(resources, lambda: searcher.budgets_at_work)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the next pending trial, and release the workers that no trial will need.

        Tune would keep an idle worker for a possible trial, and with it a share of the cluster for
        which other cells wait.
        """
        # There is no public way to replace the cache, and the wrapper logs a warning.
        controller = tune_controller._tune_controller
        # Replaced from the first call on, before any worker has started.
        controller._actor_cache = self._workers
        trials = tune_controller.get_live_trials()
        for trial in trials:
            if trial.status == Trial.RUNNING:
                self._searcher.has_begun(trial.trial_id)
        if self._searcher.has_none and all(t.status == Trial.RUNNING for t in trials):
            controller._cleanup_cached_actors(force_all=True)
        return super().choose_trial_to_run(tune_controller)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Return STOP for a trial that has ended or is to pause.

        An epoch counts once it is in the journal; the ledger then decides what follows.
        """
        step = StepResult.read(result)
        if step.problem is not None:
            self._stop.request(step.problem, is_fault=True)
        elif step.is_paused:
            # If this process has not requested it, someone else has made the stop file.
            self._stop.request(f"the file {self._stop.file}", is_fault=False)
        has_ended = False
        if step.report is not None:
            try:
                has_ended = self._ledger.epoch(trial.config["number"], step.report)
            except OSError as error:
                # The trial repeats this report after a restart.
                self._stop.request(storage_problem(error), is_fault=True)
            except JournalError as error:
                self._stop.request(str(error), is_fault=True)
        is_over = has_ended or step.is_paused or self._must_end_now(step)
        return str(TrialScheduler.STOP if is_over else TrialScheduler.CONTINUE)

    def _must_end_now(self, step: StepResult) -> bool:
        """Return whether the search is to end, and the trial has nothing to save first.

        A trial whose state is older than its report sees the stop file before its next step, saves
        itself and pauses.
        """
        return self._stop.is_requested and (step.is_saved or not self._stop.file.exists())
