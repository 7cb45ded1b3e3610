"""What a plan says of a search of two phases, without a cluster."""

import io
from pathlib import Path

from rich.console import Console

from study.cluster.resources import Node
from study.data.dataset import build_dataset
from study.data.evaluation.power import read_power
from study.plan import parser, phase_two
from study.planning.cell_plan import plan_cell
from study.planning.time_estimate import Estimate
from study.search.space import build_space
from study.spec.spec_file import load_study
from study.sweep import holds_phase
from study.terminal.plan_tables import print_budget, print_phase_two
from tests.tuner.command import ESTIMATE, POWER, SPACES

STUDY = load_study(SPACES / "two_phase.yaml")
FIRST = STUDY.cell_of_all(["20M", "2M"], 1)
NODE = Node(
    name="here", cpus=2, gpus=0, memory_bytes=64 * 2**30, device_bytes=64 * 2**30,
    unified_memory=True,
)  # fmt: skip


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
    described = {**plan.describe(), "folder_state": "new", "folder_problem": None}
    assert [each["label"] for each in described["budgets"]] == ["2M", "20M"]
    shown = Console(file=io.StringIO(), width=120)
    print_budget(shown, [described])
    arguments = parser().parse_args(["--search", str(SPACES / "two_phase.yaml"), "--trials", "7"])
    cells, told = phase_two(arguments, STUDY, [FIRST], tmp_path)
    print_phase_two(shown, told)
    assert isinstance(shown.file, io.StringIO)
    lines = shown.file.getvalue().splitlines()
    assert lines[0] == "two-phase phase 1, 2M-20M"
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
    first, second = {"phase": 1}, {"phase": 2}
    before = {"cells": [first], "phase_2": {"waiting": ["phase 2 of x: phase 1 has not begun"]}}
    after = {"cells": [first, second], "phase_2": {"waiting": []}}
    assert holds_phase({"cells": [{}]}, None)
    assert [holds_phase(before, phase) for phase in (1, 2)] == [True, False]
    assert [holds_phase(after, phase) for phase in (1, 2)] == [True, True]
    assert not holds_phase({"cells": [{}]}, 1)
