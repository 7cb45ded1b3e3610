"""The sweep command in a folder of its own, as a user runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from study.results.plans.plan_file import PlannedCell
from tests.preloaded import Command
from tests.tuner.command import ESTIMATE, POWER, left_over

ROOT = Path(__file__).parent.parent.parent

SWEEP = "tiny_sweep"


def cell_name(horizon: int, budget: str = "50k") -> str:
    return f"tiny_{budget}_h{horizon}_threshold_1pct"


def plan_row(name: str, **changes: Any) -> dict[str, Any]:
    """Return what study.plan --json writes of a cell, without what nobody reads."""
    return {
        "cell": name, "budget": "2M", "horizon": 3, "trials": 4, "capacity": 2, "concurrency": 2,
        "exclusive": False, "problem": None, "feasible": True, "folder_state": "new",
        "running_checkpoint_bytes": 2**20, "kept_checkpoint_bytes": 2**20,
        "trial_resources": {"CPU": 1}, "folder_problem": None, "estimate": ESTIMATE,
        "power": POWER, **changes,
    }  # fmt: skip


def planned(name: str, **changes: Any) -> PlannedCell:
    return PlannedCell.from_json(plan_row(name, **changes))


def write_plan(here: Path, *, trials: int, capacity: int, horizons: Sequence[int] = (1, 3, 5),
               **changes: Any) -> None:  # fmt: skip
    """Write ``plan.json``, as study.plan would, without its measurements."""
    sizes = {"trials": trials, "capacity": capacity, "concurrency": capacity}
    cells = [
        plan_row(cell_name(horizon), budget="50k", horizon=horizon, **{**sizes, **changes})
        for horizon in horizons
    ]
    (here / "plan.json").write_text(json.dumps({"cells": cells, "total": {}}))


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-for-these-tests-alone"}


@dataclass
class Machines:
    """The cluster of ``tests.sweeping.machines``."""

    process: subprocess.Popen[str]
    address: str

    def end_one(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def several_machines(home: Path, *, n_machines: int, n_cpus: int) -> Iterator[Machines]:
    # As in a Ray that the study starts: workers that are started in advance would not be used.
    lean = {"RAY_prestart_worker_first_driver": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sweeping.machines", str(n_machines), str(n_cpus)],
        env={**os.environ, **TOKEN, **lean, "HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "the cluster did not start"
        yield Machines(process, address)
    finally:
        process.communicate(timeout=240)
    assert not left_over(process.pid, patience_seconds=60)


def start(here: Path, *flags: str, module: str = "study.sweep", **environment: str) -> Command:
    env = {**os.environ, "HOME": str(here / "home"), "COLUMNS": "160", **environment}
    if module.startswith("tests."):
        # The tests are not installed, and neither this process nor its cells start beside them.
        paths = [str(ROOT), env.get("PYTHONPATH", "")]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return Command(module, ["--search", "tiny.yaml", *flags], cwd=here, env=env)


def processes_in(here: Path) -> list[psutil.Process]:
    """Return every process that works in the folder of this test, Ray's included."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            is_here = process.cwd() == str(here) and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if is_here:
            found.append(process)
    return found


def run(here: Path, *flags: str, expect: int = 0, **environment: str) -> str:
    process = start(here, *flags, **environment)
    try:
        output, errors = process.communicate(timeout=400)
    finally:
        assert not left_over(process.pid)
    assert process.returncode == expect, output + errors
    assert not list((here / "home").iterdir()), "something was written to the home folder"
    return output + errors
