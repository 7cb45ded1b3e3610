"""A sweep through the command line: side by side, killed, interrupted, and resumed."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.sweeping.command import SWEEP, cell_name, processes_in, run, start, write_plan
from tests.tuner.command import left_over, processes, wait_until, write_space

TRIALS = 3
EPOCHS = 3
HORIZONS = (1, 3)

pytestmark = pytest.mark.ray


@pytest.fixture
def here(tmp_path: Path) -> Path:
    write_space(tmp_path, trials=TRIALS, epochs=EPOCHS, scheduler="fifo", forced="none")
    write_plan(tmp_path, trials=TRIALS, capacity=2, horizons=HORIZONS)
    return tmp_path


def cell_folder(here: Path, horizon: int) -> Path:
    return here / "ray_results" / cell_name(horizon)


def epochs_of(here: Path, horizon: int) -> list[list[dict[str, Any]]]:
    files = sorted(cell_folder(here, horizon).glob("trial_*/result.json"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def n_epochs(here: Path) -> int:
    return sum(len(epochs) for horizon in HORIZONS for epochs in epochs_of(here, horizon))


def has_epochs(here: Path, count: int) -> bool:
    return n_epochs(here) >= count


def check_whole(here: Path) -> None:
    """What must hold of every cell at the end, whatever happened on the way."""
    for horizon in HORIZONS:
        rows = json.loads((cell_folder(here, horizon) / "all_trials.json").read_text())
        assert [row["number"] for row in rows] == list(range(TRIALS))
        assert {row["reason"] for row in rows} <= {"completed", "collapsed"}
        for row, epochs in zip(rows, epochs_of(here, horizon), strict=True):
            expected = list(range(1, row["epochs_trained"] + 1))
            assert [epoch["epoch"] for epoch in epochs] == expected
    table = (here / "ray_results" / "experiment_results.csv").read_text().splitlines()
    assert len(table) == 1 + TRIALS * len(HORIZONS)


def driver_of(here: Path, horizon: int) -> psutil.Process:
    status = json.loads((cell_folder(here, horizon) / "status.json").read_text())
    return psutil.Process(status["process"])


def states(here: Path, expect: int) -> dict[str, str]:
    """Return the states of study.status: of each cell begun, and of the sweep."""
    command = [sys.executable, "-m", "study.status", "--json"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stdout + done.stderr
    found = json.loads(done.stdout)
    return {cell["cell"]: cell["state"] for cell in found["cells"]} | dict(found["sweeps"])


def has_none_left(here: Path) -> bool:
    return not processes_in(here)


def test_cells_run_side_by_side_and_survive_the_death_of_a_driver_and_of_ray(here: Path) -> None:
    process = start(here, "--plan", "plan.json")
    wait_until(partial(has_epochs, here, 3), process)
    driver_of(here, 3).kill()
    wait_until(partial(has_epochs, here, 5), process)
    (raylet,) = (p for p in processes_in(here) if p.name() == "raylet")
    raylet.kill()
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, output + errors
    assert has_none_left(here)
    check_whole(here)
    assert f"{cell_name(3)}: broke off (its process ended with SIGKILL)" in output
    assert "Ray has died; the cells go on with another one" in output
    assert "Traceback" not in output + errors
    # Two cells at a time, one trial each.
    (first, second) = (sorted(e["reported"] for es in epochs_of(here, h) for e in es)
                       for h in (1, 3))  # fmt: skip
    assert first[0] < second[-1]
    assert second[0] < first[-1]

    # All is there: nothing is run again.
    before = n_epochs(here)
    write_plan(here, trials=TRIALS, capacity=2, horizons=HORIZONS, folder_state="complete")
    output = run(here, "--plan", "plan.json")
    assert output.count("skip") == len(HORIZONS)
    assert n_epochs(here) == before


def test_one_ctrl_c_and_a_kill_lose_nothing_and_leave_nothing(here: Path) -> None:
    process = start(here, "--plan", "plan.json")
    wait_until(partial(has_epochs, here, 2), process)
    assert set(states(here, 0).values()) == {"running"}
    # As a terminal does it: to the whole group in its foreground.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert "Go on with the same command" in output
    assert has_none_left(here)
    assert set(states(here, 0).values()) == {"interrupted"}
    saved = n_epochs(here)

    process = start(here, "--plan", "plan.json")
    wait_until(partial(has_epochs, here, saved + 2), process)
    process.kill()
    process.communicate()
    wait_until(partial(has_none_left, here), None, seconds=10)
    killed = states(here, 1)
    assert killed[SWEEP] == "dead"
    assert "dead" in [killed[cell_name(horizon)] for horizon in HORIZONS]

    run(here, "--plan", "plan.json")
    check_whole(here)
    assert set(states(here, 0).values()) == {"complete"}
    assert has_none_left(here)


def test_an_exclusive_cell_overlaps_with_nothing_and_a_failed_one_stops_no_other(
    here: Path,
) -> None:
    write_plan(here, trials=2, capacity=2, horizons=(1, 3, 5))
    plan = json.loads((here / "plan.json").read_text())
    plan["cells"][1] |= {"exclusive": True, "capacity": 1}
    # A folder that no search left.
    cell_folder(here, 1).mkdir(parents=True)
    (here / "plan.json").write_text(json.dumps(plan))
    output = run(here, "--plan", "plan.json", "--trials", "2", expect=1)
    lines = [line for line in output.splitlines() if line.strip().startswith("tiny_50k_h")]
    assert [line.split()[1] for line in lines] == ["fail", "pass", "pass"]
    assert "must hold the journal of a search" in output
    third, fifth = ([e for es in epochs_of(here, h) for e in es] for h in (3, 5))
    assert max(e["reported"] for e in third) < min(e["began"] for e in fifth)


def test_a_cell_that_does_not_fit_is_left_out_by_name_and_the_others_run(here: Path) -> None:
    write_plan(here, trials=2, capacity=2, horizons=(1, 3))
    plan = json.loads((here / "plan.json").read_text())
    nothing = dict.fromkeys(
        ["capacity", "concurrency", "exclusive", "estimate", "running_checkpoint_bytes",
         "kept_checkpoint_bytes", "trial_resources", "power"]
    )  # fmt: skip
    plan["cells"][0] |= {**nothing, "feasible": False, "problem": f"{cell_name(1)}: 60 GiB of 20"}
    (here / "plan.json").write_text(json.dumps(plan))
    output = run(here, "--plan", "plan.json", "--trials", "2", expect=1)
    assert f"left out: {cell_name(1)}: 60 GiB of 20" in output
    ends = [line for line in output.splitlines() if line.strip().startswith("tiny_50k_h")][-2:]
    assert ["left out" in end for end in ends] == [True, False]
    assert ends[1].split()[1] == "pass"
    assert not cell_folder(here, 1).exists()
    found = states(here, 0)
    assert (found[cell_name(1)], found[cell_name(3)]) == ("left out", "complete")


def test_a_problem_is_said_before_the_first_trial(here: Path) -> None:
    write_plan(
        here,
        trials=TRIALS,
        capacity=2,
        horizons=HORIZONS,
        problem="one step must fit, but got 40 GiB",
    )
    process = start(here, "--plan", "plan.json")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 2, output + errors
    assert errors.count("one step must fit, but got 40 GiB") == len(HORIZONS)
    assert not cell_folder(here, 1).exists()
    status = json.loads((here / "ray_results" / SWEEP / "status.json").read_text())
    assert status["state"] == "failed"
    assert not left_over(process.pid)


def test_a_second_sweep_is_refused(here: Path) -> None:
    process = start(here, "--plan", "plan.json")
    wait_until((here / "ray_results" / SWEEP / "log.txt").exists, process)
    output = run(here, "--plan", "plan.json", expect=2)
    assert f"process {process.pid} on" in output
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert not processes(process.pid)
