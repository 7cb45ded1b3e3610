"""A sweep over several machines, of which one dies: real raylets, each with a GPU of its own.

The GPUs are logical, and the trials train on the CPU.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.sweeping.command import TOKEN, Machines, cell_name, several_machines, start
from tests.sweeping.held_cell import allow
from tests.tuner.command import wait_until, write_space

TRIALS = 1
HORIZONS = (1, 3)

pytestmark = pytest.mark.ray


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with several_machines(tmp_path, n_machines=2, n_cpus=1) as found:
        yield found


def all_have_begun(here: Path) -> bool:
    begun = list(here.glob("ray_results/tiny_50k_*/trial_*/result.json"))
    return len(begun) == TRIALS * len(HORIZONS)


def has_fault(here: Path) -> bool:
    """Has a search noticed that a worker of it is gone?"""
    journals = here.glob("ray_results/tiny_50k_*/journal.jsonl")
    return any(b'"fault": "worker"' in journal.read_bytes() for journal in journals)


def test_a_sweep_goes_on_when_a_machine_dies(machines: Machines, tmp_path: Path) -> None:
    write_space(tmp_path, trials=TRIALS, epochs=2, scheduler="fifo", forced="none")
    allow(tmp_path, 1)
    flags = ["--budgets", "50k", "--horizons", *map(str, HORIZONS), "--device", "cpu"]
    flags += ["--address", machines.address]
    process = start(tmp_path, *flags, module="tests.sweeping.held_sweep", **TOKEN)
    # Two cells of one trial, on two machines with room for one each.
    wait_until(partial(all_have_begun, tmp_path), process, seconds=400)
    machines.end_one()
    wait_until(partial(has_fault, tmp_path), process, seconds=240)
    allow(tmp_path, None)
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, output + errors
    assert "Traceback" not in output + errors
    faults = []
    for horizon in HORIZONS:
        folder = tmp_path / "ray_results" / cell_name(horizon)
        rows = json.loads((folder / "all_trials.json").read_text())
        assert [row["number"] for row in rows] == list(range(TRIALS))
        for row in rows:
            assert row["reason"] in ("completed", "collapsed"), row["message"]
            assert row["assigned_gpus"] == 1
            log = (folder / row["folder"] / "result.json").read_text().splitlines()
            epochs = [json.loads(line)["epoch"] for line in log]
            assert epochs == list(range(1, row["epochs_trained"] + 1))
            faults += row["faults"]
    # What was at work there was resumed elsewhere, from its checkpoint.
    assert faults
    assert all(fault.startswith("worker: ") for fault in faults)
