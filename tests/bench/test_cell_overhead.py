"""What a search costs besides training: slot time, the start of a trial, the wait of a new user.

Run by hand with ``make bench``. Times come from the records that the search itself leaves.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.data.features import build_features
from study.data.sources import load_prices

ROOT = Path(__file__).parent.parent.parent
CELL = "phase6a_2M_h3_threshold_1pct"
TRIALS = 12
PHASES = ("data_seconds", "step_seconds", "validation_seconds", "checkpoint_seconds")

MOST_OUTSIDE_TRAINING = 0.08
MOST_START_SECONDS = 0.5
MOST_FIRST_TRIAL_SECONDS = 3 * 60
MOST_SIX_TRIALS_SECONDS = 15 * 60
MOST_FEATURE_SECONDS = 2.0

pytestmark = pytest.mark.bench


@dataclass
class SlotUse:
    """Where the time of a search's slots went."""

    outside_training: float
    """Share of slot time, from each slot's first trial to its last, that no phase accounts for."""
    starts: list[float]
    """Seconds from the end of a slot's trial to the first step of its next."""


def slot_use(trials: list[list[dict[str, Any]]]) -> SlotUse:
    """Rebuild the slots from the trials' epochs: a trial takes the slot that was free longest."""
    slots: list[list[list[dict[str, Any]]]] = []
    for epochs in sorted(trials, key=lambda epochs: epochs[0]["began"]):
        free = [slot for slot in slots if slot[-1][-1]["reported"] <= epochs[0]["began"]]
        if free:
            min(free, key=lambda slot: slot[-1][-1]["reported"]).append(epochs)
        else:
            slots.append([epochs])
    whole = sum(slot[-1][-1]["reported"] - slot[0][0]["began"] for slot in slots)
    inside = sum(
        epoch[phase] for slot in slots for epochs in slot for epoch in epochs for phase in PHASES
    )
    starts = [
        after[0]["reported"] - sum(after[0][phase] for phase in PHASES) - before[-1]["reported"]
        for slot in slots
        for before, after in itertools.pairwise(slot)
    ]
    return SlotUse(outside_training=1 - inside / whole, starts=starts)


def epochs_of(cell: Path) -> list[list[dict[str, Any]]]:
    return [epochs_in(file) for file in sorted(cell.glob("trial_*/result.json"))]


def epochs_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_cell_of_twelve_trials(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "study.tune", "--budget", "2M", "--horizon", "3"]
    command += ["--trials", str(TRIALS), "--search", str(ROOT / "search_spaces/phase6a.yaml")]
    command += ["--no-beyond-edges"]
    began = time.time()
    subprocess.run(command, cwd=tmp_path, env=os.environ, check=True, capture_output=True)
    trials = epochs_of(tmp_path / "ray_results" / CELL)
    assert len(trials) == TRIALS
    use = slot_use(trials)
    ends = sorted(epochs[-1]["reported"] - began for epochs in trials)
    print(f"\noutside training   {use.outside_training:.1%} of slot time")
    print(f"start of a trial   {max(use.starts):.2f} s at most, of {len(use.starts)}")
    print(f"first trial ended  {ends[0]:.0f} s after the command")
    print(f"sixth trial ended  {ends[5]:.0f} s")
    print(f"last trial ended   {ends[-1]:.0f} s")
    assert use.outside_training <= MOST_OUTSIDE_TRAINING
    assert max(use.starts) <= MOST_START_SECONDS
    assert ends[0] <= MOST_FIRST_TRIAL_SECONDS
    assert ends[5] <= MOST_SIX_TRIALS_SECONDS


def test_features_of_twenty_years() -> None:
    prices = load_prices("sp500")
    began = time.perf_counter()
    features = build_features(prices)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    data = build_dataset(DataConfig(horizon=3), prices)
    print(f"\nfeatures {features.shape} in {seconds:.3f} s, ", end="")
    print(f"data set {data.features.shape} in {time.perf_counter() - began:.3f} s")
    assert seconds <= MOST_FEATURE_SECONDS
