"""A trial that stalls is noticed while Tune asks for further trials, of which there are none."""

import time
from pathlib import Path

import pytest
import ray
from ray.tune.experiment import Trial

from study.tuner import watchdog as watchdog_module
from study.tuner.watchdog import Watchdog
from tests.search.simulated_search import new_ledger
from tests.tuner.ledger_run import TWO, run_of


def test_a_search_that_asks_for_trials_all_the_time_notices_a_stalled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[str] = []
    monkeypatch.setattr(ray, "kill", killed.append)
    monkeypatch.setattr(watchdog_module, "_WATCH_SECONDS", 0.1)
    run = run_of(tmp_path / "cell", new_ledger(tmp_path / "cell", TWO))
    trial = run.trial()
    trial.status = Trial.RUNNING
    trial.temporary_state.ray_actor = "its worker"
    watchdog = Watchdog(run.cell_folder(), 0.2)
    until = time.monotonic() + 5.0
    while not killed and time.monotonic() < until:
        # With a free slot, Tune asks the searcher in every round, and the searcher looks first.
        watchdog.look()
        watchdog.on_step_begin(0, [trial])
        time.sleep(0.02)
    assert killed == ["its worker"]
