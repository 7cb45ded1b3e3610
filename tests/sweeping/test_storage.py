"""A sweep whose results are in an S3-compatible store."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.store import Server, s3_server
from tests.sweeping.command import SWEEP, cell_name, processes_in, run, start, write_plan
from tests.tuner.command import wait_until, write_space

TRIALS = 2
HORIZONS = (3,)

pytestmark = pytest.mark.ray


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with s3_server(tmp_path / "log") as running:
        yield running


def ended(server: Server, horizon: int) -> list[str]:
    """Return the trials of a cell whose last record is in the store."""
    names = server.names(f"studies/{cell_name(horizon)}")
    return [name for name in names if name.endswith("/metrics.json")]


def contents(server: Server, horizon: int) -> dict[str, bytes]:
    prefix = f"studies/{cell_name(horizon)}"
    return {name: server.content(name, prefix) for name in ended(server, horizon)}


def has_ended_trial(server: Server) -> bool:
    return any(ended(server, horizon) for horizon in HORIZONS)


def is_deserted(here: Path) -> bool:
    return not processes_in(here)


def test_a_killed_sweep_goes_on_from_the_store_on_another_machine(
    server: Server, tmp_path: Path
) -> None:
    write_space(tmp_path, trials=TRIALS, scheduler="fifo", forced="none")
    # One after the other, so that one trial has ended and the other is at work.
    write_plan(tmp_path, trials=TRIALS, capacity=1, horizons=HORIZONS)
    flags = ("--plan", "plan.json", "--storage", server.uri())
    process = start(tmp_path, *flags)
    wait_until(partial(has_ended_trial, server), process, seconds=240)
    process.kill()
    process.communicate()
    for other in processes_in(tmp_path):
        with suppress(psutil.NoSuchProcess):
            other.kill()
    wait_until(partial(is_deserted, tmp_path), None)
    before = {horizon: contents(server, horizon) for horizon in HORIZONS}
    # Another machine has no working copy.
    shutil.rmtree(tmp_path / "ray_results")
    output = run(tmp_path, *flags)
    assert "goes on from the store" in output
    for horizon in HORIZONS:
        prefix = f"studies/{cell_name(horizon)}"
        rows = json.loads(server.content("all_trials.json", prefix))
        assert [row["number"] for row in rows] == list(range(TRIALS))
        assert len(ended(server, horizon)) == TRIALS
        # What had ended was not trained again.
        assert before[horizon].items() <= contents(server, horizon).items()
    assert (tmp_path / "ray_results" / SWEEP / "log.txt").exists()
    assert not [name for name in server.names() if name.startswith(SWEEP)]
