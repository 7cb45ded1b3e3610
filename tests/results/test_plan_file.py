"""What later commands read of a plan that another process has made."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.errors import SpecError
from study.results.plans.plan_file import PlannedCell, StoredPlan
from tests.sweeping.command import plan_row

HOLES = (
    "estimate", "capacity", "concurrency", "exclusive", "running_checkpoint_bytes",
    "kept_checkpoint_bytes",
)  # fmt: skip


def plan(*cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": list(cells), "total": {}}


def test_a_plan_is_written_as_it_was_read(tmp_path: Path) -> None:
    raw = plan(plan_row("a"), plan_row("b", problem="no", **dict.fromkeys(HOLES)))
    (tmp_path / "plan.json").write_text(json.dumps(raw))
    found = StoredPlan.read(tmp_path / "plan.json")
    assert [cell.cell for cell in found.cells] == ["a", "b"]
    assert [cell.demand is None for cell in found.cells] == [False, True]
    assert found.to_json(found.cells) == raw
    assert found.to_json(found.cells[1:])["cells"] == raw["cells"][1:]


def test_a_cell_has_what_its_plan_says() -> None:
    row = plan_row("a", capacity=3, concurrency=2, exclusive=True, phase=1)
    cell = PlannedCell.from_json(row)
    assert (cell.cell, cell.budget, cell.horizon, cell.phase) == ("a", "2M", 3, 1)
    assert cell.demand is not None
    assert (cell.demand.capacity, cell.demand.concurrency, cell.demand.exclusive) == (3, 2, True)
    assert cell.demand.search_seconds_expected == row["estimate"]["search_seconds_expected"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (plan_row("a", capacity=None), "must have a value where the cell has no problem"),
        (plan_row("../a"), "each cell must have the name of a folder"),
        (plan_row("a", trials="4"), r"must be what study\.plan --json writes"),
        (plan_row("a", estimate={}), r"must be what study\.plan --json writes"),
    ],
)
def test_a_plan_with_a_hole_is_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        StoredPlan.from_json(plan(row), "here")
