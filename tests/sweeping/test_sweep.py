"""A sweep through the command line: side by side, killed, interrupted, and resumed."""

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

import study.status
from tests.preloaded import Command
from tests.sweeping.command import SWEEP, cell_name, processes_in, run, start, write_plan
from tests.sweeping.held_cell import allow
from tests.tuner.command import left_over, wait_until, write_space

TRIALS = 2
EPOCHS = 5
HORIZONS = (1, 3)

pytestmark = pytest.mark.ray


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write_space(tmp_path, trials=TRIALS, epochs=EPOCHS, scheduler="fifo", forced="none")
    write_plan(tmp_path, trials=TRIALS, capacity=2, horizons=HORIZONS)
    return tmp_path


def held(here: Path) -> Command:
    """Start a sweep whose trials wait until ``allow`` lets them train."""
    return start(here, "--plan", "plan.json", module="tests.sweeping.held_sweep")


def cell_folder(here: Path, horizon: int) -> Path:
    return here / "ray_results" / cell_name(horizon)


def epochs_in(folder: Path) -> list[list[dict[str, Any]]]:
    files = sorted(folder.glob("trial_*/result.json"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def epochs_of(here: Path, horizon: int) -> list[list[dict[str, Any]]]:
    return epochs_in(cell_folder(here, horizon))


def n_epochs(here: Path) -> list[int]:
    """Return the number of epochs of each cell."""
    return [sum(map(len, epochs_of(here, horizon))) for horizon in HORIZONS]


def has_epochs(here: Path, count: int) -> bool:
    """Has each cell trained so many epochs?"""
    return n_epochs(here) == [count] * len(HORIZONS)


def check_whole(here: Path) -> None:
    """Check what must hold of every cell at the end, whatever happened on the way."""
    for horizon in HORIZONS:
        rows = json.loads((cell_folder(here, horizon) / "all_trials.json").read_text())
        assert [row["number"] for row in rows] == list(range(TRIALS))
        assert {row["reason"] for row in rows} <= {"completed", "collapsed"}
        for row, epochs in zip(rows, epochs_of(here, horizon), strict=True):
            expected = list(range(1, row["epochs_trained"] + 1))
            assert [epoch["epoch"] for epoch in epochs] == expected
    table = (here / "ray_results" / "experiment_results.csv").read_text().splitlines()
    assert len(table) == 1 + TRIALS * len(HORIZONS)


def driver_of(here: Path, horizon: int) -> int:
    """Return the number of the process that has claimed a cell last."""
    status = json.loads((cell_folder(here, horizon) / "status.json").read_text())
    return int(status["process"])


def states(here: Path, capsys: pytest.CaptureFixture[str], expect: int) -> dict[str, str]:
    """Return the states of study.status: of each cell begun, and of the sweep."""
    capsys.readouterr()
    assert study.status.main(["--storage", str(here / "ray_results"), "--json"]) == expect
    found = json.loads(capsys.readouterr().out)
    return {cell["cell"]: cell["state"] for cell in found["cells"]} | dict(found["sweeps"])


def is_logged(here: Path, words: str) -> bool:
    return words in (here / "ray_results" / SWEEP / "log.txt").read_text()


def has_none_left(here: Path) -> bool:
    return not processes_in(here)


def test_a_sweep_survives_the_death_of_a_driver_of_ray_and_of_itself_and_is_interrupted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    allow(here, 1)
    process = held(here)
    # Two cells at a time, one trial each: both have an epoch, and neither may go on.
    wait_until(partial(has_epochs, here, 1), process, seconds=240)
    assert set(states(here, capsys, 0).values()) == {"running"}
    output = run(here, "--plan", "plan.json", expect=2)
    assert f"process {process.pid} on" in output

    killed = driver_of(here, 3)
    psutil.Process(killed).kill()
    wait_until(lambda: driver_of(here, 3) != killed, process, seconds=240)
    allow(here, 2)
    wait_until(partial(has_epochs, here, 2), process, seconds=240)
    (raylet,) = (p for p in processes_in(here) if p.name() == "raylet")
    raylet.kill()
    wait_until(partial(is_logged, here, "Ray has died"), process, seconds=240)
    allow(here, 3)
    wait_until(partial(has_epochs, here, 3), process, seconds=240)
    # As a terminal does it: to the whole group in its foreground.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 130, output + errors
    assert f"{cell_name(3)}: broke off (its process ended with SIGKILL)" in output
    assert "Ray has died; the cells go on with another one" in output
    assert "Go on with the same command" in output
    assert "Traceback" not in output + errors
    assert has_none_left(here)
    assert set(states(here, capsys, 0).values()) == {"interrupted"}
    assert has_epochs(here, 3)

    allow(here, 4)
    process = held(here)
    wait_until(partial(has_epochs, here, 4), process, seconds=240)
    process.kill()
    process.communicate()
    wait_until(partial(has_none_left, here), None)
    assert set(states(here, capsys, 1).values()) == {"dead"}

    run(here, "--plan", "plan.json")
    check_whole(here)
    assert set(states(here, capsys, 0).values()) == {"complete"}
    assert has_none_left(here)

    # All is there: nothing is run again.
    before = n_epochs(here)
    write_plan(here, trials=TRIALS, capacity=2, horizons=HORIZONS, folder_state="complete")
    output = run(here, "--plan", "plan.json")
    assert output.count("skip") == len(HORIZONS)
    assert n_epochs(here) == before


def test_no_cell_stops_another_not_one_that_is_alone_nor_one_that_fails_or_does_not_fit(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plan(here, trials=1, capacity=2, horizons=(1, 3, 5))
    plan = json.loads((here / "plan.json").read_text())
    plan["cells"][1] |= {"exclusive": True}
    # The last one is another search of that cell.
    again = f"{cell_name(3)}_search2"
    plan["cells"][2] |= {"horizon": 3, "cell": again, "search_number": 2}
    large = cell_name(1, "750k")
    nothing = dict.fromkeys(
        ["capacity", "concurrency", "exclusive", "estimate", "running_checkpoint_bytes",
         "kept_checkpoint_bytes", "trial_resources", "power"]
    )  # fmt: skip
    problem = {"feasible": False, "problem": f"{large}: 60 GiB of 20"}
    plan["cells"].insert(
        0, plan["cells"][0] | {"cell": large, "budget": "750k"} | nothing | problem
    )
    (here / "plan.json").write_text(json.dumps(plan))
    # A folder that no search left.
    cell_folder(here, 1).mkdir(parents=True)
    output = run(here, "--plan", "plan.json", "--trials", "1", expect=1)
    assert f"left out: {large}: 60 GiB of 20" in output
    ends = [line for line in output.splitlines() if line.strip().startswith("tiny_")][-4:]
    assert ["left out" in end for end in ends] == [True, False, False, False]
    assert [end.split()[1] for end in ends[1:]] == ["fail", "pass", "pass"]
    assert "must hold the journal of a search" in output
    folders = [here / "ray_results" / name for name in (cell_name(3), again)]
    third, last = ([e for es in epochs_in(folder) for e in es] for folder in folders)
    assert max(e["reported"] for e in third) < min(e["began"] for e in last)
    # Another search of a cell draws other configurations, and trains them from other weights.
    one, other = (json.loads((folder / "all_trials.json").read_text())[0] for folder in folders)
    assert other["seed"] - one["seed"] == 10_000_000
    assert other["params"] != one["params"]
    assert not (here / "ray_results" / large).exists()
    found = states(here, capsys, 1)
    assert found[large] == "left out"
    assert [found[folder.name] for folder in folders] == ["complete"] * 2


def test_a_problem_is_said_before_the_first_trial(here: Path) -> None:
    write_plan(
        here,
        trials=TRIALS,
        capacity=2,
        horizons=HORIZONS,
        problem="one step must fit, but got 40 GiB",
    )
    process = start(here, "--plan", "plan.json")
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 2, output + errors
    assert errors.count("one step must fit, but got 40 GiB") == len(HORIZONS)
    assert not cell_folder(here, 1).exists()
    status = json.loads((here / "ray_results" / SWEEP / "status.json").read_text())
    assert status["state"] == "failed"
    assert not left_over(process.pid)


def test_a_sweep_that_is_ended_while_its_ray_starts_leaves_nothing(here: Path) -> None:
    process = start(here, "--plan", "plan.json")
    wait_until((here / "ray_results" / SWEEP / "log.txt").exists, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=240)
    assert not left_over(process.pid)
    wait_until(partial(has_none_left, here), None)
