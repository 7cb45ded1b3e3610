import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from study.cluster.thermal import Temperature, ThermalState
from study.errors import SpecError
from study.results.plans.plan_file import PlannedCell, StoredPlan
from study.sweeping.preflight import inspect, most_cells
from tests.sweeping.command import planned

NOTHING = dict.fromkeys((
    "estimate", "capacity", "concurrency", "exclusive", "running_checkpoint_bytes",
    "kept_checkpoint_bytes",
))  # fmt: skip
COOL = Temperature(state=ThermalState.NORMAL, degrees=40.0, source="chip", said="40 C (chip)")


def infeasible(name: str, **changes: Any) -> PlannedCell:
    # A cell that cannot run has no sizes.
    return planned(name, **{"feasible": False, "problem": "needs 40 GiB", **NOTHING, **changes})


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    unknown = infeasible("30M", feasible=None, problem="the prices end")
    cells = [planned("2M"), unknown, planned("20M", folder_problem="spec.seed was 1 and is 2")]
    found = inspect(cells, tmp_path / "absent", COOL)
    assert found.problems == ("30M: the prices end", "20M: spec.seed was 1 and is 2")


def test_a_cell_of_which_nothing_fits_is_left_out_and_the_others_can_run(tmp_path: Path) -> None:
    done = infeasible("1B", folder_state="complete")
    cells = [planned("2M"), done, infeasible("2B", folder_state="refused", folder_problem="old")]
    found = inspect(cells, tmp_path, COOL)
    assert (found.problems, found.left_out) == ((), {"2B": "needs 40 GiB"})
    found = inspect(cells[2:], tmp_path, COOL)
    assert found.problems == ("2B: needs 40 GiB",)


@pytest.mark.parametrize("raw", [None, [], {}, {"cells": [1]}, {"cells": [{"cell": "2M"}]}])
def test_what_is_no_plan_is_refused(raw: object, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(raw))
    with pytest.raises(SpecError, match=r"must be what study\.plan --json writes"):
        StoredPlan.read(file)


def test_what_is_known_of_the_machine_is_said(tmp_path: Path) -> None:
    found = inspect([planned("2M")], tmp_path, COOL)
    assert found.problems == ()
    (note,) = found.notes
    assert "temperature normal (40 C (chip))" in note
    assert "GiB of memory free" in note


def test_a_disk_that_cannot_hold_the_running_checkpoints_is_a_problem(tmp_path: Path) -> None:
    free = psutil.disk_usage(str(tmp_path)).free
    (problem,) = inspect(
        [planned("2M", running_checkpoint_bytes=2 * free)], tmp_path, COOL
    ).problems
    assert "must have room for the checkpoints" in problem
    # In the end only: worth knowing, but a full disk loses nothing.
    found = inspect([planned(str(n), kept_checkpoint_bytes=free) for n in range(2)], tmp_path, COOL)
    assert found.problems == ()
    assert "the disk may become full" in found.notes[-1]


def test_there_is_memory_for_one_cell_at_least() -> None:
    assert 1 <= most_cells() <= 1 + psutil.virtual_memory().total * 0.1 / 2**29
