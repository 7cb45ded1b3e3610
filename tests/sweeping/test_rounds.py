"""The rounds of a sweep of two phases: which command searches a cell, and how the whole ended."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from study.interruptions import Stop
from study.storage.driver_status import Driver, DriverStatus
from study.sweep import _cell_run, _end, parser
from study.sweeping.cell_process import CellRun
from study.tune import parser as tune_parser
from tests.sweeping.command import planned


@pytest.mark.parametrize(
    ("phase", "budgets", "expected"),
    [
        (None, ["2M", "20M"], {"budget": "2M", "budgets": None, "supplementary": False}),
        (1, ["2M", "20M"], {"budget": None, "budgets": ["2M", "20M"], "supplementary": False}),
        (1, None, {"budget": None, "budgets": None, "supplementary": False}),
        (2, ["2M", "20M"],
         {"budgets": ["2M", "20M"], "supplementary": True, "param_budget": "2M"}),
    ],
)  # fmt: skip
def test_a_cell_is_searched_by_the_command_that_a_user_would_give(
    phase: int | None, budgets: list[str] | None, expected: dict[str, Any]
) -> None:
    arguments = parser().parse_args([] if budgets is None else ["--budgets", *budgets])
    cell = _cell_run(planned("cell"), phase, arguments, {})
    asked = vars(tune_parser().parse_args([*cell.flags]))
    assert {name: asked[name] for name in expected} == expected
    assert asked["horizon"] == 3
    assert cell.end is None


def test_a_further_search_is_asked_for_by_its_number() -> None:
    arguments = parser().parse_args(["--searches", "2"])
    numbers = []
    for changes in ({}, {"search_number": 2}):
        cell = _cell_run(planned("cell", **changes), None, arguments, {})
        numbers.append(tune_parser().parse_args([*cell.flags]).search_number)
    assert numbers == [1, 2]


def test_what_is_complete_or_does_not_fit_is_not_begun() -> None:
    arguments = parser().parse_args([])
    done = _cell_run(planned("a", folder_state="complete"), 1, arguments, {})
    large = _cell_run(planned("b"), 1, arguments, {"b": "needs 40 GiB"})
    assert (done.end, large.end, large.reason) == ("skip", "left out", "needs 40 GiB")


@pytest.mark.parametrize(
    ("ends", "missing", "code", "state", "reason"),
    [
        (["pass", "skip"], [], 0, "complete", None),
        (["pass", "fail"], [], 1, "failed", "1 cells failed: b"),
        # One horizon was continued to its second phase, the other could not be.
        (["pass", "pass"], ["phase 2 of x: phase 1 is NOT complete"], 1, "failed",
         "phase 2 of x: phase 1 is NOT complete"),
        (["pass", "left out"], [], 1, "complete", "but for what does not fit: b"),
    ],
)  # fmt: skip
def test_a_phase_that_could_not_begin_is_a_failure_of_the_sweep(
    tmp_path: Path, ends: list[Any], missing: list[str], code: int, state: str, reason: str | None
) -> None:
    cells = [
        CellRun(name=name, plan=planned(name), flags=(), end=end)
        for name, end in zip("ab", ends, strict=True)
    ]  # fmt: skip
    console = Console(file=io.StringIO())
    assert _end(cells, missing, Stop(tmp_path / "stop"), Driver(tmp_path), console) == code
    status = DriverStatus.read(tmp_path)
    assert status is not None
    assert (status.state, status.reason) == (state, reason)
