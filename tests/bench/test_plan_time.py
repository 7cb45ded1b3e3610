"""Is a plan's time what the search then takes, and is it given soon? Run with ``make bench``.

A search is held against its own plan twice: from its command to its end, and from the first step
of its first trial.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from study.results.store import read_cell
from tests.bench.test_cell_overhead import PHASES, epochs_of, slot_use

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
CELLS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("smoke.yaml", "750k", "1", ()),
    ("smoke.yaml", "2M", "3", ()),
    ("phase6a.yaml", "2M", "3", ("--trials", "8", "--max-epochs", "4", "--no-beyond-edges")),
)
TOLERANCE = 0.3
MOST_SECONDS, MOST_REMEMBERED_SECONDS = 60.0, 30.0
"""Seconds of a plan of the default matrix, on two cores: of a first one, and of a second one."""

pytestmark = pytest.mark.bench


@dataclass
class Compared:
    """One cell."""

    name: str
    expected: float
    """Seconds from the command to its end, by the plan, which is part of them."""
    most: float
    taken: float
    """Seconds from the command to its end."""
    share_planned: float
    share_trained: float
    start_planned: float
    start: float
    """Seconds to the first trial's first step."""
    end: float
    """Seconds from the last report to the command's end."""
    between_trials: float
    per_epoch: float
    """Seconds of an epoch that no phase accounts for."""
    epoch_ratio: float
    """Measured seconds of an epoch, of those planned for its width and depth; mean of trials."""

    @property
    def error(self) -> float:
        """Seconds that the search took beyond its plan, as a share of the plan."""
        return self.taken / self.expected - 1

    @property
    def error_after_start(self) -> float:
        """The same of the time from the first step of the first trial."""
        return (self.taken - self.start) / (self.expected - self.start_planned) - 1


def compare(space: str, budget: str, horizon: str, more: tuple[str, ...], here: Path) -> Compared:
    command = [
        *(sys.executable, "-m", "study.tune", "--search", str(SPACES / space)),
        *("--budget", budget, "--horizon", horizon, *more),
    ]
    began = time.time()
    done = subprocess.run(command, cwd=here, env=os.environ, capture_output=True, text=True)
    ended = time.time()
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = (here / "ray_results").glob("*_h*")
    plan = read_cell(cell, "cell", "estimate")
    trials = epochs_of(cell)
    records = json.loads((cell / "all_trials.json").read_text())
    estimate = plan["estimate"]
    taken_epochs = []
    unaccounted = []
    for epochs, record in zip(trials, records, strict=True):
        shape = f"d{record['params']['d_model']} L{record['params']['n_layers']}"
        inside = [sum(epoch[phase] for phase in PHASES) for epoch in epochs]
        whole = epochs[-1]["reported"] - epochs[0]["reported"]
        if len(epochs) > 1:
            unaccounted.append((whole - sum(inside[1:])) / (len(epochs) - 1))
        taken_epochs.append(sum(inside) / len(inside) / estimate["epoch_seconds"][shape])
    starts = slot_use(trials).starts
    return Compared(
        name=plan["cell"],
        expected=estimate["search_seconds_expected"],
        most=estimate["search_seconds_most"],
        taken=ended - began,
        share_planned=estimate["trained_share"],
        share_trained=sum(map(len, trials)) / sum(r["params"]["epochs"] for r in records),
        start_planned=estimate["start_seconds"],
        start=min(epochs[0]["began"] for epochs in trials) - began,
        end=ended - max(epochs[-1]["reported"] for epochs in trials),
        between_trials=sum(starts) / len(starts),
        per_epoch=sum(unaccounted) / len(unaccounted),
        epoch_ratio=sum(taken_epochs) / len(taken_epochs),
    )


@pytest.mark.parametrize(("space", "budget", "horizon", "more"), CELLS)
def test_a_cell_takes_the_time_that_was_planned(
    space: str, budget: str, horizon: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    one = compare(space, budget, horizon, more, tmp_path)
    print(
        f"\n{one.name}: planned {one.expected:.0f} s (at most {one.most:.0f}), took "
        f"{one.taken:.0f} s: {one.error:+.0%}; after its start {one.error_after_start:+.0%}"
    )
    print(
        f"  trained {one.share_trained:.0%} (planned {one.share_planned:.0%}), start "
        f"{one.start:.1f} s ({one.start_planned:.1f}), end {one.end:.1f} s, between trials "
        f"{one.between_trials:.2f} s, epoch {one.epoch_ratio:.2f} of the planned, "
        f"{one.per_epoch:.3f} s outside its phases"
    )
    assert abs(one.error) <= TOLERANCE
    assert abs(one.error_after_start) <= TOLERANCE


def test_the_default_matrix_is_planned_within_a_minute(tmp_path: Path) -> None:
    taken, plans = [], []
    for _ in range(2):
        began = time.monotonic()
        command = [sys.executable, "-m", "study.plan", "--json"]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True)
        taken.append(time.monotonic() - began)
        # 1: a cell may fit nowhere on this machine.
        assert done.returncode in (0, 1), done.stdout + done.stderr
        cells = json.loads(done.stdout)["cells"]
        plans.append({each["cell"]: each["estimate"] for each in cells if each["estimate"]})
    first, second = plans
    print(f"\n{len(first)} cells: {taken[0]:.0f} s, a second time {taken[1]:.0f} s")
    assert {name: each["epoch_seconds"] for name, each in first.items()} == {
        name: each["epoch_seconds"] for name, each in second.items()
    }
    assert all(each["remembered"] is None for each in first.values())
    assert all(each["remembered"] is not None for each in second.values())
    assert taken[0] <= MOST_SECONDS
    assert taken[1] <= MOST_REMEMBERED_SECONDS
