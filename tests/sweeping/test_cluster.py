"""A sweep over several machines, of which one dies: real raylets, each with a GPU of its own.

The GPUs are logical, and the trials train on the CPU.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweeping.command import TOKEN, Machines, cell_name, several_machines, start
from tests.tuner.command import wait_until, write_space

TRIALS = 3
HORIZONS = (1, 3)

pytestmark = pytest.mark.ray


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with several_machines(tmp_path, n_machines=2, n_cpus=2) as found:
        yield found


def trials_begun(here: Path) -> int:
    return len(list(here.glob("ray_results/tiny_50k_*/trial_*/result.json")))


def test_a_sweep_goes_on_when_a_machine_dies(machines: Machines, tmp_path: Path) -> None:
    write_space(tmp_path, trials=TRIALS, epochs=12, scheduler="fifo", forced="none")
    flags = ["--budgets", "50k", "--horizons", *map(str, HORIZONS), "--device", "cpu"]
    process = start(tmp_path, *flags, "--address", machines.address, **TOKEN)
    wait_until(lambda: trials_begun(tmp_path) >= 3, process, seconds=240)
    machines.end_one()
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    assert "Traceback" not in output + errors
    faults = []
    for horizon in HORIZONS:
        folder = tmp_path / "ray_results" / cell_name(horizon)
        rows = json.loads((folder / "all_trials.json").read_text())
        assert [row["number"] for row in rows] == list(range(TRIALS))
        for row in rows:
            assert row["reason"] in ("completed", "collapsed"), row["message"]
            assert row["assigned_gpus"] == 0.5
            log = (folder / row["folder"] / "result.json").read_text().splitlines()
            epochs = [json.loads(line)["epoch"] for line in log]
            assert epochs == list(range(1, row["epochs_trained"] + 1))
            faults += row["faults"]
    # What was at work there was resumed elsewhere, from its checkpoint.
    assert faults
    assert all(fault.startswith("worker: ") for fault in faults)
