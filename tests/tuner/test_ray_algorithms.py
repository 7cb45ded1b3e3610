"""Ray's OptunaSearch and ASHAScheduler lack guarantees that a search of this study needs.

Each test calls Ray's class as Tune does, and shows a behaviour that this study must not have. If
one of them fails, Ray has changed, and a reason for not using its class is gone.
"""

import inspect
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.execution.tune_controller import TuneController
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from study.search.sampler import Sampler
from tests.search.simulated_search import SPACE

RATE = {"learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)}


@pytest.fixture
def searcher() -> OptunaSearch:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return OptunaSearch(RATE, metric="loss", mode="min", seed=1)


def epoch(searcher: OptunaSearch, trial: str, number: int, loss: float) -> dict[str, Any]:
    result = {"loss": loss, "training_iteration": number}
    searcher.on_trial_result(trial, result)
    return result


def states(searcher: OptunaSearch) -> list[TrialState]:
    return [trial.state for trial in searcher._ot_study.trials]


def test_a_trial_that_asha_cut_would_teach_the_sampler_like_one_that_ran_to_its_end(
    searcher: OptunaSearch,
) -> None:
    searcher.suggest("cut")
    # Tune does not pass on the report at which its scheduler stops a trial.
    searcher.on_trial_complete("cut", {"loss": 0.5, "training_iteration": 1})
    (known,) = searcher._ot_study.trials
    assert (known.state, known.value, known.intermediate_values) == (TrialState.COMPLETE, 0.5, {})

    ours = Sampler(SPACE, seed=1, startup_trials=3)
    ours.place(0, SPACE.forced(SPACE.shapes[0]))
    ours.report(0, 25, 0.5)
    ours.tell(0, "PRUNED", 0.5)
    ((state, _, _, course),) = ours.history()
    assert (state, course) == ("PRUNED", {25: 0.5})


def test_a_trial_that_diverged_would_stay_at_work_for_the_sampler(searcher: OptunaSearch) -> None:
    searcher.suggest("diverged")
    searcher.on_trial_complete("diverged", {"loss": math.nan, "training_iteration": 1})
    assert states(searcher) == [TrialState.RUNNING]


def test_a_collapsed_trial_would_be_the_best_that_the_sampler_knows(
    searcher: OptunaSearch,
) -> None:
    # A constant predictor has a log-loss of 0.363 at a base rate of 11.8 %.
    for trial, loss in (("good", 0.5), ("collapsed", 0.363)):
        searcher.suggest(trial)
        searcher.on_trial_complete(trial, epoch(searcher, trial, 1, loss))
    assert searcher._ot_study.best_value == 0.363


def test_after_a_kill_the_sampler_would_be_older_than_the_records(
    searcher: OptunaSearch, tmp_path: Path
) -> None:
    searcher.suggest("first")
    # Tune saves it at most every ten seconds.
    searcher.save(str(tmp_path / "snapshot"))
    asked = searcher.suggest("second")
    searcher.on_trial_complete("first", epoch(searcher, "first", 1, 0.4))
    # The process dies here; the records hold the end of the first trial and the second one.
    restored = OptunaSearch(RATE, metric="loss", mode="min", seed=1)
    restored.restore(str(tmp_path / "snapshot"))
    assert states(restored) == [TrialState.RUNNING]
    with pytest.raises(KeyError, match="second"):
        epoch(restored, "second", 1, 0.3)
    # The configuration is suggested again, as if it had not been trained.
    assert restored.suggest("third") == asked


def test_the_rungs_of_asha_are_in_no_snapshot_of_a_run() -> None:
    excluded = inspect.getsource(TuneController.__getstate__)
    assert '"_scheduler_alg"' in excluded


def test_after_a_kill_a_half_grown_trial_would_stop_every_new_one() -> None:
    def filled(*, from_percent: int) -> ASHAScheduler:
        asha = ASHAScheduler(
            time_attr="percent", metric="loss", mode="min", max_t=100, grace_period=25,
            reduction_factor=3,
        )  # fmt: skip
        for percent in range(from_percent, 86, 5):
            assert decided(asha, "grown", percent, 0.8 - percent / 256) == TrialScheduler.CONTINUE
        return asha

    def decided(asha: ASHAScheduler, name: str, percent: int, loss: float) -> str:
        trial = SimpleNamespace(trial_id=name)
        if name not in asha._trial_info:
            asha.on_trial_add(None, trial)
        return str(asha.on_trial_result(None, trial, {"percent": percent, "loss": loss}))

    never_stopped, restored = filled(from_percent=5), filled(from_percent=80)
    assert decided(never_stopped, "new", 25, 0.5) == TrialScheduler.CONTINUE
    assert decided(restored, "new", 25, 0.5) == TrialScheduler.STOP
