"""What running cells side by side saves: six small cells together and one after the other.

Run by hand with ``make bench``. Both ways are sweeps on one Ray, with the same configurations; one
of them may have only one cell at work.
"""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.results.store import read_trials
from tests.sweeping.command import TOKEN, cell_name, several_machines, start
from tests.tuner.command import ESTIMATE, POWER, write_space

ROOT = Path(__file__).parent.parent.parent

BUDGETS, HORIZONS, TRIALS = ("50k", "750k"), (1, 3, 5), 6

MOST_ON_TWO_CORES = 0.85
MOST_ON_A_SHARED_DEVICE = 0.4

pytestmark = pytest.mark.bench


def write_plan(here: Path, *, capacity: int, concurrency: int) -> None:
    cells = [
        {
            "cell": cell_name(horizon, budget), "budget": budget, "horizon": horizon,
            "trials": TRIALS, "capacity": capacity, "concurrency": concurrency,
            "exclusive": False, "problem": None, "folder_problem": None, "folder_state": "new",
            "feasible": True, "running_checkpoint_bytes": 2**20, "kept_checkpoint_bytes": 2**20,
            "estimate": ESTIMATE, "power": POWER,
        }
        for budget in BUDGETS
        for horizon in HORIZONS
    ]  # fmt: skip
    (here / "plan.json").write_text(json.dumps({"cells": cells, "total": {}}))


def _let_learn_in_few_steps(space: Path) -> None:
    """Give models the linear path: else those that hardly train collapse, and their cells fail."""
    raw = yaml.safe_load(space.read_text())
    raw["model"]["last_day_skip"] = True
    space.write_text(yaml.safe_dump(raw))


def configurations(here: Path) -> list[dict[str, Any]]:
    folders = sorted((here / "ray_results").glob("tiny_*_threshold_1pct"))
    return [dict(r.params) for folder in folders for r in read_trials(folder)]


def timed(here: Path, *flags: str, module: str, **environment: str) -> float:
    began = time.monotonic()
    process = start(here, "--plan", "plan.json", *flags, module=module, **environment)
    output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    return time.monotonic() - began


def compared(
    tmp_path: Path,
    *,
    capacity: int,
    concurrency: int,
    flags: list[str],
    module: str = "study.sweep",
    **environment: str,
) -> float:
    """Return the time of the cells together, as a share of that one after the other."""
    seconds, found = {}, {}
    for name, at_once in (("one", "1"), ("together", "6")):
        here = tmp_path / name
        here.mkdir()
        # The same configurations, whatever ends first: all of them are random, none is cut.
        write_space(
            here, trials=TRIALS, epochs=3, scheduler="fifo", forced="none", startup_trials=TRIALS
        )
        _let_learn_in_few_steps(here / "tiny.yaml")
        write_plan(here, capacity=capacity, concurrency=concurrency)
        seconds[name] = timed(
            here, "--cells-at-once", at_once, *flags, module=module, **environment
        )
        found[name] = configurations(here)
    assert found["one"] == found["together"]
    assert len(found["one"]) == TRIALS * len(BUDGETS) * len(HORIZONS)
    share = seconds["together"] / seconds["one"]
    print(f"\none after the other {seconds['one']:.0f} s, together {seconds['together']:.0f} s: "
          f"{share:.2f}")  # fmt: skip
    return share


def test_on_two_cores(tmp_path: Path) -> None:
    share = compared(tmp_path, capacity=2, concurrency=2, flags=["--device", "cpu"])
    assert share <= MOST_ON_TWO_CORES


def test_on_a_device_that_trials_share_and_wait_for(tmp_path: Path) -> None:
    # A core for each trial: with two, its threads would wait for each other on the cores there are.
    with several_machines(tmp_path, n_machines=1, n_cpus=8) as machines:
        flags = ["--device", "cpu", "--concurrency", "2", "--address", machines.address]
        share = compared(
            tmp_path,
            capacity=8,
            concurrency=2,
            flags=flags,
            module="tests.bench.waiting_sweep",
            PYTHONPATH=str(ROOT),
            **TOKEN,
        )
    assert share <= MOST_ON_A_SHARED_DEVICE
