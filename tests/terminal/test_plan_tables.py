"""What a plan says of a search of two phases, without a cluster."""

import dataclasses
import io
from pathlib import Path

from rich.console import Console

from study.cluster.resources import Node
from study.data.dataset import build_dataset
from study.data.evaluation.power import read_power
from study.plan import parser, phase_two
from study.planning.cell_plan import plan_cell
from study.planning.plan_summary import plan_summary
from study.results.plans.plan_file import PlannedCell, StoredPlan
from study.results.plans.plan_record import Estimate, ForcedRecord, PlanRow
from study.search.space import build_space
from study.spec.spec_file import load_study
from study.terminal.overview import print_forced, print_plan
from study.terminal.plan_tables import print_budget, print_phase_two
from study.text.short_forms import MIXED_MODES
from tests.sweeping.command import plan_row
from tests.tuner.command import ESTIMATE, POWER, SPACES

STUDY = load_study(SPACES / "two_phase.yaml")
FIRST = STUDY.cell_of_all(["20M", "2M"], 1)
NODE = Node(
    name="here", cpus=2, gpus=0, memory_bytes=64 * 2**30, device_bytes=64 * 2**30,
    unified_memory=True,
)  # fmt: skip


def of_second_search(row: PlanRow) -> PlanRow:
    question = dataclasses.replace(row.summary.question, search_number=2)
    return dataclasses.replace(row, summary=dataclasses.replace(row.summary, question=question))


def test_budgets_are_side_by_side_with_what_is_listed_and_phase_two_is_counted(
    tmp_path: Path,
) -> None:
    data = build_dataset(FIRST.data)
    epochs = {"d320 L2": 2.5, "d768 L3": 30.0, "d192 L5": 3.5}
    plan = plan_cell(
        FIRST, data, build_space(FIRST, n_features=len(data.feature_names)), [NODE],
        device="cpu", concurrency=None, power=read_power(POWER),
        estimate=Estimate.from_json({**ESTIMATE, "epoch_seconds": epochs}, "estimate"),
    )  # fmt: skip
    row = PlanRow(summary=plan_summary(plan), folder_state="new", folder_problem=None)
    assert row.summary.requirements is not None
    assert [each.label for each in row.summary.requirements.budgets] == ["2M", "20M"]
    stored = PlannedCell.from_json(row.to_json())
    assert (stored.cell, stored.phase, stored.demand is not None) == (FIRST.name, 1, True)
    shown = Console(file=io.StringIO(), width=120)
    print_budget(shown, [row, of_second_search(row)], (0.25, 0.5))
    arguments = parser().parse_args(["--search", str(SPACES / "two_phase.yaml"), "--trials", "7"])
    _, of_two = phase_two(arguments, STUDY, [FIRST, FIRST.of_search(2)], tmp_path)
    assert (of_two.searches_per_horizon, len(of_two.waiting)) == (4, 2)
    cells, told = phase_two(arguments, STUDY, [FIRST], tmp_path)
    print_phase_two(shown, told)
    assert isinstance(shown.file, io.StringIO)
    lines = shown.file.getvalue().splitlines()
    assert lines[0] == "two-phase phase 1, 2M-20M"
    planned = [line.split() for line in lines if line.split()[-1:] == ["GiB"] and "new" in line]
    assert [line[: line.index("new")] for line in planned] == [["h1"], ["h1", "(search", "2)"]]
    (shares,) = (line for line in lines if line.startswith("  shares"))
    assert (
        "0.25, 0.5, 1 of the training days: with each seed the winner is trained 3 times" in shares
    )
    assert "1.75 times as long as on all days alone, in " in shares
    rows = {line.split()[0]: line.split() for line in lines if line.strip()}
    # Of the eighteen nine are of 2M and three of 20M.
    assert rows["2M"][-1] == "9"
    assert rows["20M"][-1] == "3"
    assert rows["2M"][-6:-1] == ["2.5", "s", "to", "3.5", "s"]
    assert {"2M_shallow", "20M_deep", "dropout_0.7", "wd_1e-2"} <= rows.keys()
    assert cells == []
    assert any("2 of 7 trials each for every horizon" in line for line in lines)
    assert lines[-1].strip() == f"phase 2 of {FIRST.name}: phase 1 has not begun"


def test_only_a_plan_that_was_made_after_phase_one_knows_phase_two() -> None:
    first, second = plan_row("first", phase=1), plan_row("second", phase=2)
    waiting = ["phase 2 of x: phase 1 has not begun"]
    before = StoredPlan.from_json({"cells": [first], "phase_2": {"waiting": waiting}}, "plan")
    after = StoredPlan.from_json({"cells": [first, second], "phase_2": {"waiting": []}}, "plan")
    plain = StoredPlan.from_json({"cells": [plan_row("only")]}, "plan")
    assert [before.holds_phase(phase) for phase in (1, 2)] == [True, False]
    assert [after.holds_phase(phase) for phase in (1, 2)] == [True, True]
    assert [plain.holds_phase(phase) for phase in (None, 1, 2)] == [True, False, False]


LARGE = load_study(SPACES / "phase6a.yaml").cell("2B", 1)


def shown_on(gib: float) -> tuple[list[str], list[str]]:
    """Return the lines of a plan, and those of a search's header, of 2B on a machine."""
    data = build_dataset(LARGE.data)
    memory = int(gib * 2**30)
    node = dataclasses.replace(NODE, memory_bytes=memory, device_bytes=memory)
    plan = plan_cell(
        LARGE, data, build_space(LARGE, n_features=len(data.feature_names)), [node],
        device="cpu", concurrency=None, power=read_power(POWER),
        estimate=Estimate.from_json(ESTIMATE, "estimate"),
    )  # fmt: skip
    summary = plan_summary(plan)
    row = PlanRow(summary=summary, folder_state="new", folder_problem=None)
    planned, header = io.StringIO(), io.StringIO()
    print_budget(Console(file=planned, width=120), [row])
    print_plan(Console(file=header, width=120), summary)
    return planned.getvalue().splitlines(), header.getvalue().splitlines()


def test_both_memory_modes_stand_side_by_side_and_a_lean_search_says_that_it_is() -> None:
    planned, header = shown_on(24)
    modes = {line.split()[0]: line for line in planned if line.startswith((" full", " lean"))}
    assert "0 of 75" in modes["full"]
    assert modes["full"].rstrip().endswith("-")
    assert "75 of 75" in modes["lean"]
    assert "GiB" in modes["lean"].split("75 of 75")[1]
    assert "about" in modes["lean"]
    (said,) = (line for line in planned if line.startswith("  lean "))
    assert "all 75 architectures in memory mode lean" in said
    assert said in header
    assert "ranked with full ones" not in said
    forced = [line for line in header if line.startswith("  forced")]
    assert len(forced) == 6
    assert all(" lean, " in line for line in forced)


def test_the_extremes_that_wait_are_named() -> None:
    header = io.StringIO()
    names = ("deepest", "narrowest")
    waiting = [
        ForcedRecord(name=name, group=None, configuration=None, problem=None, waits_for=20)
        for name in names
    ]
    print_forced(Console(file=header, width=120), waiting)
    assert header.getvalue() == (
        "  waiting deepest, narrowest, until the search has 20 trials: with fewer, only the "
        "extremes with the fewest layers, the fastest, come first\n"
    )


def test_a_search_of_both_modes_names_the_lean_ones_and_what_ranking_them_assumes() -> None:
    planned, header = shown_on(70)
    (said,) = (line for line in planned if line.startswith("  lean "))
    assert said in header
    assert "of 75 architectures (2B d1024 L180, " in said
    assert MIXED_MODES in said
    # A machine with room for all in full says nothing of modes but what lean would take.
    planned, header = shown_on(90)
    assert not any(line.startswith("  lean ") for line in planned + header)
    (lean,) = (line for line in planned if line.startswith(" lean "))
    assert "0 of 75" in lean
    assert "about" in lean
