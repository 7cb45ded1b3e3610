"""The search command in a folder of its own, as a user runs it."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.preloaded import Command

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
CELL = "tiny_50k_h3_threshold_1pct"


ESTIMATE = {
    "epoch_seconds_min": 0.2, "epoch_seconds_median": 0.3, "epoch_seconds_max": 0.5,
    "search_seconds_expected": 20.0, "search_seconds_most": 20.0, "trained_share": 1.0,
    "start_seconds": 10.0, "epoch_seconds": {"d32 L4": 0.5, "d48 L2": 0.3, "d64 L1": 0.2},
}  # fmt: skip
"""Made-up values in the form that study.plan writes; only printed lines depend on them."""

POWER = {
    "difference_sd": 0.2, "log_loss_se": 0.01, "auc_se": 0.02, "log_loss_validation": 0.03,
    "log_loss_test": 0.03, "auc_validation": 0.05, "auc_test": 0.05, "gain": 0.09,
    "share": 0.4, "share_low": 0.1, "share_high": 0.75,
    "auc_share": 0.24, "auc_share_low": 0.1, "auc_share_high": 0.34,
    "sentences": ["h3: a sentence"],
}  # fmt: skip


FEW_TOKENS = 25
"""Days from a patch to the next, of which 60 days have three: a trial takes half of the time that
eleven take."""


def write_space(
    here: Path, *, trials: int, epochs: int = 3, patch_stride: int = FEW_TOKENS, **search: Any
) -> None:
    """Write ``tiny.yaml``, whose trials take a second each, and make a home folder."""
    raw = yaml.safe_load((SPACES / "smoke.yaml").read_text())
    raw["study"] = "tiny"
    raw["search"] |= {"trials": trials, **search}
    raw["train"]["epochs"] = epochs
    raw["model"]["patch_stride"] = patch_stride
    (here / "tiny.yaml").write_text(yaml.safe_dump(raw))
    plans = [
        {"cell": f"tiny_{budget}_h{horizon}_threshold_1pct", "estimate": ESTIMATE, "power": POWER}
        for budget in raw["budgets"]
        for horizon in raw["horizons"]
    ]
    (here / "estimate.json").write_text(json.dumps({"cells": plans}))
    (here / "home").mkdir()


_CELL_FLAGS = ("--search", "tiny.yaml", "--budget", "50k", "--horizon", "3")
FLAGS = (*_CELL_FLAGS, "--estimate", "estimate.json")
"""Flags of a search whose plan times no steps, which would take longer than its trials."""


def command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "study.tune", *FLAGS, *flags]


_WORKER_TITLES = ("ray::ResourceTrainable", "ray::CellTrainable")
"""First words of a worker's command line within a step and between two, as Ray 2.60 sets them."""


def start(here: Path, *flags: str, **environment: str) -> Command:
    env = {**os.environ, "HOME": str(here / "home"), "COLUMNS": "200", **environment}
    return Command("study.tune", [*FLAGS, *flags], cwd=here, env=env)


def run(here: Path, *flags: str, expect: int = 0, **environment: str) -> tuple[str, str]:
    process = start(here, *flags, **environment)
    try:
        output, errors = process.communicate(timeout=240)
    finally:
        assert not left_over(process.pid), "Ray processes were left"
    assert process.returncode == expect, output + errors
    assert not list((here / "home").iterdir()), "something was written to the home folder"
    return output, errors


def processes(session: int) -> list[psutil.Process]:
    """Return the living processes of a session."""
    found = []
    for process in psutil.process_iter(["name", "status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != "zombie":
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def left_over(session: int, patience_seconds: float = 20.0) -> list[str]:
    """Return the processes of a session that outlive its command by ``patience_seconds``."""
    until = time.monotonic() + patience_seconds
    while processes(session) and time.monotonic() < until:
        time.sleep(0.2)
    return [process.info["name"] for process in processes(session)]


def workers(session: int) -> list[psutil.Process]:
    """Return the processes in which trials run."""
    found = []
    for process in processes(session):
        # A process may end meanwhile.
        with suppress(psutil.NoSuchProcess):
            if " ".join(process.cmdline()).startswith(_WORKER_TITLES):
                found.append(process)
    return found


def cell_folder(here: Path) -> Path:
    return here / "ray_results" / CELL


def trials(here: Path) -> list[dict[str, Any]]:
    path = cell_folder(here) / "all_trials.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return rows


def epochs_of(here: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    lines = (cell_folder(here) / row["folder"] / "result.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def wait_until(holds: Callable[[], bool], process: Command | None, seconds: float = 120.0) -> None:
    """Wait until a condition holds; fail if ``process``, if there is one, ends before it does."""
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.05)
    assert holds(), "it did not come so far"
