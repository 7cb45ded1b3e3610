import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from study.results import status_files
from study.results.journal import Journal
from study.results.status_snapshot import read_status
from study.storage.driver_status import Driver, DriverStatus
from study.storage.files import write_json
from study.storage.layout import JOURNAL_FILES, STATUS_FILE, TRIALS_FILE
from study.terminal.status_tables import view
from tests.results.cells import ASKED, write_cell
from tests.results.conftest import record
from tests.results.damage import damaged
from tests.results.reports import panel_best


def of_process(folder: Path, process: int, **changes: Any) -> None:
    mine = DriverStatus.of_this_process()
    began = psutil.Process(process).create_time()
    status = replace(mine, process=process, process_began=began)
    write_json(folder / STATUS_FILE, asdict(replace(status, **changes)))


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def state(folder: Path) -> str:
    (cell,) = read_status(folder.parent).cells
    return cell.state


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def test_a_killed_driver_is_dead(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    folder = write_cell(tmp_path, "demo_2M_h1", ended=1)
    of_process(folder, sleeper.pid)
    assert state(folder) == "running"
    sleeper.kill()
    sleeper.wait()
    assert state(folder) == "dead"


def test_a_suspended_driver_is_stalled(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    folder = write_cell(tmp_path, "demo_2M_h1", ended=1)
    of_process(folder, sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)
    assert state(folder) == "running"
    age(folder / "lock", 300)
    assert state(folder) == "stalled"


def test_a_silent_trial_stalls_its_cell(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, "demo_2M_h1", ended=1, running=1)
    Driver(folder)
    assert state(folder) == "running"
    age(folder / "trial_0001_d64_L2_h4" / "lock", 300)
    assert state(folder) == "stalled"


def test_another_machine_is_stale_only_when_it_is_silent(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, "demo_2M_h1", ended=1)
    of_process(folder, os.getpid(), host="elsewhere")
    assert state(folder) == "running"
    age(folder / "lock", 300)
    assert state(folder) == "stale"


@pytest.mark.parametrize("word", ["complete", "interrupted", "stopped", "failed"])
def test_the_last_word_of_a_driver_counts(tmp_path: Path, word: Any) -> None:
    folder = write_cell(tmp_path, "demo_2M_h1", ended=1)
    Driver(folder).end(word, "because")
    (cell,) = read_status(tmp_path).cells
    assert (cell.state, cell.reason) == (word, "because")


@pytest.mark.parametrize(("ended", "word"), [(ASKED, "complete"), (3, "interrupted")])
def test_a_cell_without_a_status_is_judged_by_its_trials(
    tmp_path: Path, ended: int, word: str
) -> None:
    assert state(write_cell(tmp_path, "demo_2M_h1", ended=ended, epochs=1)) == word


def test_no_journal_is_searched_for_trials_where_none_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cell(tmp_path, "demo_2M_h1", ended=2, running=1, epochs=1)
    asked_for: list[set[int]] = []

    def configurations(folder: Path, numbers: set[int]) -> dict[int, Any]:
        asked_for.append(numbers)
        return {}

    monkeypatch.setattr(status_files, "_configurations", configurations)
    ended = status_files.read_ended(folder)
    assert ended is not None
    assert [trial.number for trial in status_files.read_open(folder, ended, 0.0)] == [2]
    assert asked_for == [{2}]
    shutil.rmtree(folder / "trial_0002_d64_L2_h4")
    assert status_files.read_open(folder, ended, 0.0) == []
    assert asked_for == [{2}]


def test_a_planned_cell_waits_and_running_trials_are_told(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, "demo_2M_h1", ended=2, running=1)
    Driver(folder)
    sweep = tmp_path / "demo_sweep"
    sweep.mkdir()
    estimate = {"search_seconds_expected": 100.0, "epoch_seconds": {"d64 L2": 0.5}}
    cells = [
        {"cell": "demo_2M_h1", "budget": "2M", "trials": ASKED, "estimate": estimate},
        {"cell": "demo_20M_h1_search2", "budget": "20M", "trials": ASKED, "estimate": estimate,
         "search_number": 2},
    ]  # fmt: skip
    write_json(sweep / "plan.json", {"cells": cells})
    status = read_status(tmp_path)
    at_work, waiting = status.cells
    assert (at_work.state, waiting.state) == ("running", "waiting")
    assert (at_work.search_number, waiting.search_number) == (1, 2)
    (trial,) = at_work.running
    assert (trial.number, trial.epoch, trial.epochs) == (2, 15, 20)
    assert trial.epoch_seconds == pytest.approx(1.1)
    # 47 more at the mean of 10 s; the running one is past it: 5 epochs of 1.1 s.
    assert at_work.eta_seconds == pytest.approx(475.5)
    assert [budget for budget, _ in status.milestones] == ["2M", "20M"]
    assert "2.2 x that of the plan" in at_work.warnings[0]


def test_a_study_of_two_phases_is_asked_for_by_its_name(tmp_path: Path) -> None:
    for name in ("demo-1_2M-20M_h1", "demo-2_2M_h1", "demo-20_2M_h1", "demo_2M_h1", "other_2M_h1"):
        write_cell(tmp_path, name, ended=1)

    def shown(name: str) -> list[str]:
        return [cell.cell for cell in read_status(tmp_path, [name]).cells]

    assert shown("demo") == ["demo-1_2M-20M_h1", "demo-2_2M_h1", "demo_2M_h1"]
    assert shown("demo-2") == ["demo-2_2M_h1"]
    assert shown("other_2M_h1") == ["other_2M_h1"]


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damage_never_raises(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    storage = tmp_path_factory.mktemp("storage")
    folder = write_cell(storage, "demo_2M_h1", ended=2, running=1, epochs=2)
    Driver(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=4, unique=True)):
        content = bytearray(path.read_bytes())
        # As a share: lengths depend on the clock, which would make an example unrepeatable.
        at = data.draw(st.integers(0, 1000)) * len(content) // 1000
        content[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=8))
        path.write_bytes(content)
    json.dumps(asdict(read_status(storage)), allow_nan=False)


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_values_of_another_kind_never_raise(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    storage = tmp_path_factory.mktemp("storage")
    folder = write_cell(storage, "demo_2M_h1", ended=2, running=1, epochs=2)
    Driver(folder)
    (storage / "demo_sweep").mkdir()
    plan = {"cell": "demo_2M_h1", "trials": 5, "estimate": {"epoch_seconds": {"d64 L2": 0.5}}}
    write_json(storage / "demo_sweep" / "plan.json", {"cells": [plan]})
    path = data.draw(st.sampled_from(sorted({*folder.rglob("*.json*"), *storage.glob("*/plan.*")})))
    is_log = path.suffix == ".jsonl" or path.name == "result.json"
    lines = path.read_text().splitlines() if is_log else [path.read_text()]
    place = data.draw(st.integers(0, len(lines) - 1))
    lines[place] = json.dumps(data.draw(damaged(json.loads(lines[place]))))
    for each in [folder / name for name in JOURNAL_FILES] if path.name in JOURNAL_FILES else [path]:
        each.write_text("".join(f"{line}\n" for line in lines))
    status = read_status(storage)
    json.dumps(asdict(status), allow_nan=False)
    Console(file=io.StringIO(), markup=False).print(view(status, "this machine"))


def run_status(storage: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "study.status", "--storage", str(storage), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_600_trials_take_less_than_a_second(tmp_path: Path) -> None:
    for index in range(12):
        write_cell(tmp_path, f"demo_{index}M_h1", ended=ASKED)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        done = run_status(tmp_path)
        times.append(time.perf_counter() - began)
        assert done.returncode == 0, done.stderr
        assert "600/600 trials" in done.stdout
    assert min(times) < 1.0


@pytest.mark.slow
def test_exit_codes(tmp_path: Path) -> None:
    assert run_status(tmp_path / "none").returncode == 2
    empty = run_status(tmp_path)
    assert (empty.returncode, "nothing has been run" in empty.stdout) == (0, True)
    folder = write_cell(tmp_path, "demo_2M_h1", ended=1)
    Driver(folder).end("stopped", "the disk is full")
    assert run_status(tmp_path).returncode == 1
    assert json.loads(run_status(tmp_path, "--json").stdout)["cells"][0]["state"] == "stopped"


def test_a_journal_of_rubbish_is_an_unknown_cell(tmp_path: Path) -> None:
    folder = tmp_path / "rubbish_2M_h1"
    folder.mkdir()
    for name in JOURNAL_FILES:
        (folder / name).write_bytes(b"{torn\n")
    (cell,) = read_status(tmp_path).cells
    assert (cell.state, cell.asked, cell.best_loss) == ("unknown", None, None)


@pytest.mark.parametrize(
    ("metric", "shown"),
    [
        ("rank_ic", "RankIC +0.0500 +- 0.020"),
        ("ic", "IC +0.0300 +- 0.010"),
        ("sharpe", "Sharpe +0.6000 +- 0.400"),
        ("loss", "0.9000 +- 0.010"),
    ],
)
def test_a_panel_is_shown_by_the_score_that_ranks_and_has_no_base_rate(
    tmp_path: Path, metric: str, shown: str
) -> None:
    folder = tmp_path / "demo_2M_h1"
    folder.mkdir()
    cell = {"cell": folder.name, "budget": "2M", "trials": 2, "metric": metric}
    Journal.create(folder, "abcd1234", {"kind": "created", "time": 1.0, "cell": cell})
    loss = {"rank_ic": 0.95, "ic": 0.97, "sharpe": 0.4, "loss": 0.9}[metric]
    best = panel_best(0.05, loss=loss, loss_se=0.4 if metric == "sharpe" else 0.01)
    ended = [replace(record(0), best=best), replace(record(1), best=best, reason="collapsed")]
    rows = [{**trial.to_json(), "state": trial.state} for trial in ended]
    write_json(folder / TRIALS_FILE, rows)
    status = read_status(tmp_path)
    console = Console(width=200, record=True)
    console.print(view(status, "here"))
    assert f" {shown} " in console.export_text()
    (warning,) = status.cells[0].warnings
    assert warning.startswith("1 of 2 trials collapsed to one score for all assets of a day: ")
