"""The thermal guard holds back or stops a search: without Ray, and from the command line."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from study.cluster.sensors import Reading
from study.cluster.thermal import ThermalGuard
from study.interruptions import Stop
from study.spec.search_config import SearchConfig
from study.tune import main
from study.tuner.searcher import LedgerSearcher
from study.tuner.slot_limit import Slots
from study.tuner.thermal_watch import ThermalWatch
from study.tuner.trainable import StepResult
from tests.results.reports import epoch_record
from tests.search.simulated_search import MANY, new_ledger
from tests.tuner.command import cell_folder, epochs_of, run, start, trials, wait_until, write_space

READ = 0.005


class Bench:
    """A watch over a made-up sensor."""

    def __init__(self, folder: Path) -> None:
        self.readings = [Reading(source="chip", degrees=60.0)]
        self.said: list[str] = []
        self.stop = Stop(folder / "stop")
        self.guard = ThermalGuard([lambda: self.readings], read_seconds=READ, hold_seconds=0.0)

    def begin(self) -> None:
        self.watch = ThermalWatch(self.guard, self.stop, self.said.append)

    def becomes(self, **reading: Any) -> bool:
        """Set the reading of the sensor, and return whether a trial may start."""
        self.readings = [Reading(source="chip", **reading)]
        time.sleep(10 * READ)
        return self.watch.may_start()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    with made.guard:
        made.begin()
        yield made


def test_each_change_that_matters_is_a_line(bench: Bench) -> None:
    assert bench.becomes(degrees=75.0)
    assert bench.becomes(degrees=60.0)
    assert bench.said == []
    assert not bench.becomes(degrees=86.0)
    assert not bench.becomes(degrees=87.0)
    assert bench.becomes(degrees=84.0)
    assert bench.becomes(problem="broken")
    assert bench.becomes(degrees=61.0)
    # This message was printed before.
    assert bench.becomes(problem="broken")
    assert not bench.becomes(pressure="Heavy")
    assert bench.becomes(problem="broken")
    assert bench.said == [
        "86 C (chip): no new trial starts until it is below 85 C",
        "84 C (chip): new trials start again",
        "temperature unknown (chip: broken): heat stops nothing",
        "61 C (chip): the temperature is known",
        "thermal pressure Heavy (chip): no new trial starts until that is over",
        "temperature unknown (chip: broken): heat stops nothing",
    ]
    assert not bench.stop.is_requested


def test_a_critical_temperature_stops_the_search_as_a_fault(bench: Bench) -> None:
    assert not bench.becomes(degrees=96.0)
    assert bench.stop.is_fault
    assert str(bench.stop.reason).startswith("the machine is at 96 C (chip), which is critical")
    assert bench.stop.file.exists()
    assert bench.said == ["96 C (chip): running trials save themselves, and the search stops"]


def test_what_the_header_has_said_is_not_said_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.readings = [Reading(source="chip", problem="broken")]
    with bench.guard:
        bench.begin()
        assert bench.watch.may_start()
        assert bench.said == []
        assert bench.becomes(degrees=60.0)
        assert bench.said == ["60 C (chip): the temperature is known"]


def test_the_machine_of_a_worker_counts(bench: Bench) -> None:
    facts = {"temperature": 88.0, "temperature_source": "GPU 1", "machine": "node7"}
    report = epoch_record(1, worker=facts)
    trial = Trial("worker", stub=True, config={"number": 3})
    step = StepResult(report=report, is_paused=False, problem=None)
    bench.watch.on_trial_result(0, [], trial, step.write())
    assert not bench.watch.may_start()
    assert bench.said == ["88 C (node7 GPU 1): no new trial starts until it is below 85 C"]
    # A worker without a reading changes nothing, and one that has paused has no report.
    unknown = StepResult(
        report=epoch_record(1, worker={"machine": "node7"}), is_paused=False, problem=None
    )
    paused = StepResult(report=None, is_paused=True, problem=None)
    for step in (unknown, paused):
        bench.watch.on_trial_result(0, [], trial, step.write())
    assert not bench.watch.may_start()


def test_a_searcher_that_may_not_start_keeps_the_run_alive(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell", SearchConfig(trials=2, seed=3, forced="none"))
    stop = Stop(tmp_path / "stop")
    allowed = [False]
    searcher = LedgerSearcher(ledger, stop, Slots(None, most=9), MANY, lambda: allowed[0])
    assert searcher.suggest("ray's own") is None
    assert ledger.numbers == []
    allowed[0] = True
    assert isinstance(searcher.suggest("ray's own"), dict)
    allowed[0] = False
    assert searcher.suggest("ray's own") is None
    assert ledger.numbers == [0]


def test_a_searcher_ends_if_the_heat_does_end_the_search(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    stop = Stop(tmp_path / "stop")

    def too_hot() -> bool:
        stop.request("too hot", is_fault=True)
        return False

    assert (
        LedgerSearcher(ledger, stop, Slots(None, most=9), MANY, too_hot).suggest("ray's own")
        == Searcher.FINISHED
    )


def test_a_search_on_a_hot_machine_is_refused_before_anything_is_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_space(tmp_path, trials=1)
    file = tmp_path / "temperature"
    file.write_text("96")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUDY_TEMPERATURE_FILE", str(file))
    assert main(["--search", "tiny.yaml", "--budget", "50k", "--horizon", "3"]) == 2
    assert not ray.is_initialized()
    assert capsys.readouterr().err == (
        f"error: temperature: a search starts below 95 C, but got 96 C ({file}). "
        "Let the machine cool down and start again.\n"
    )
    assert not (tmp_path / "ray_results").exists()


TRIALS, EPOCHS = 2, 50
"""A trial lasts longer than the seconds between two readings of the sensor."""


def said(here: Path) -> list[str]:
    """Return the lines of the log without their times."""
    path = cell_folder(here) / "log.txt"
    return [line[20:] for line in path.read_text().splitlines()] if path.exists() else []


def count(here: Path, text: str) -> int:
    return sum(text in line for line in said(here))


def n_epochs(here: Path) -> int:
    return sum(p.read_bytes().count(b"\n") for p in cell_folder(here).glob("trial_*/result.json"))


@pytest.mark.ray
def test_heat_holds_new_trials_back_then_stops_the_search_which_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    here, file = tmp_path, tmp_path / "temperature"
    write_space(here, trials=TRIALS, epochs=EPOCHS, scheduler="fifo", forced="none")
    file.write_text("60")
    process = start(here, "--concurrency", "1", STUDY_TEMPERATURE_FILE=str(file))
    wait_until(lambda: count(here, " starts: ") >= 1, process)
    file.write_text("86.5")
    held = f"86.5 C ({file}): no new trial starts until it is below 85 C"
    wait_until(lambda: held in said(here), process)
    started = count(here, " starts: ")
    # The running trial continues to its end, and its slot stays empty.
    wait_until(lambda: count(here, " ends: ") == started, process)
    assert n_epochs(here) == EPOCHS * started
    time.sleep(1.5)
    assert count(here, " starts: ") == started < TRIALS
    assert process.poll() is None
    file.write_text("60")
    again = f"60 C ({file}): new trials start again"
    wait_until(lambda: again in said(here) and count(here, " starts: ") > started, process)
    came_to = n_epochs(here)
    wait_until(lambda: n_epochs(here) > came_to + 2, process)
    file.write_text("96")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 1, output + errors
    lines = [line for line in said(here) if not line.startswith("trial")]
    assert lines[:2] == [held, again]
    # Unless a worker, which has the same sensor, has stopped the search before the driver looked.
    stops = f"96 C ({file}): running trials save themselves, and the search stops"
    assert lines[2:] in ([stops], [])
    lines = output.splitlines()
    assert f"  heat    60 C ({file}), normal" in lines
    (stopped,) = [line for line in lines if line.startswith("stopped: ")]
    assert f"is at 96 C ({file}), which is critical" in stopped
    assert lines[-2].endswith("trials ended and are kept. Go on with:")
    assert lines[-1].endswith("--resume")
    before = trials(here)
    assert len(before) < TRIALS
    assert 86.5 in [row["thermal_max_temp"] for row in before]

    # The original study wrote -1 if it could not read a sensor, and took it for normal.
    file.write_text("-1")
    output, _ = run(here, "--concurrency", "1", "--resume", STUDY_TEMPERATURE_FILE=str(file))
    assert f"  heat    unknown, so heat stops nothing ({file}: -1 C cannot be)" in output
    assert ", normal" not in output
    assert " resumes after epoch " in output
    rows = trials(here)
    assert len(rows) == TRIALS
    assert {row["number"]: row for row in rows}.items() >= {r["number"]: r for r in before}.items()
    for row in rows:
        epochs = epochs_of(here, row)
        assert [epoch["epoch"] for epoch in epochs] == list(range(1, EPOCHS + 1))
        assert row["faults"] == []
        known = [epoch["temperature_max"] for epoch in epochs if "temperature_max" in epoch]
        assert row["thermal_max_temp"] == max(known, default=None)
    # The epochs of the stopped trial have a temperature before the stop and none after it.
    resumed = rows[len(before)]
    assert "temperature" in epochs_of(here, resumed)[0]
    assert "temperature" not in epochs_of(here, resumed)[-1]
    table = (here / "ray_results" / "experiment_results.csv").read_text()
    assert ",86.5," in table
