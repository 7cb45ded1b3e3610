from pathlib import Path
from typing import Any

import pytest

from study.errors import SpecError
from study.spec.overrides import Overrides
from study.spec.selection import select_cells
from study.spec.spec_file import load_study
from study.spec.specification import Cell

STUDY = load_study(Path(__file__).parents[2] / "search_spaces/phase6a.yaml")


def select(**chosen: Any) -> list[Cell]:
    return select_cells(STUDY, **chosen)


def names(cells: list[Cell]) -> list[str]:
    return [f"{cell.budget.label}_h{cell.data.horizon}" for cell in cells]


def test_smaller_budgets_come_first_then_shorter_horizons() -> None:
    expected = [f"{b}_h{h}" for b in ("750k", "2M", "20M", "200M", "2B") for h in (1, 3, 5)]
    assert names(select()) == expected
    chosen = select(budgets=["200M", "2M", "2M"], horizons=[5, 1])
    assert names(chosen) == ["2M_h1", "2M_h5", "200M_h1", "200M_h5"]


def test_from_leaves_out_what_comes_before() -> None:
    assert names(select(budgets=["2M", "20M"], first="20M_h3")) == ["20M_h3", "20M_h5"]
    assert names(select(first="750k_h1")) == names(select())


def test_overrides_reach_every_cell() -> None:
    overrides = Overrides(search={"trials": 7}, data={"source": "nasdaq"}, max_epochs=2)
    cells = select(horizons=[3], overrides=overrides)
    assert {cell.search.trials for cell in cells} == {7}
    assert {cell.data.source for cell in cells} == {"nasdaq"}


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"budgets": ["3M"]}, "--budget: must be one of"),
        ({"horizons": [0]}, "--horizon: must be at least 1"),
        ({"first": "20M"}, "--from: must be one of the selected cells"),
        ({"first": "20M_h3", "horizons": [1]}, "but got --from '20M_h3'"),
    ],
)
def test_what_is_not_there_is_refused(chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        select(**chosen)


def test_where_the_budget_is_searched_a_horizon_has_one_cell() -> None:
    study = load_study(Path(__file__).parents[2] / "search_spaces/two_phase.yaml")
    cells = select_cells(study, budgets=["20M", "2M"], horizons=[3, 1])
    assert [cell.name for cell in cells] == [
        f"two-phase-1_2M-20M_h{days}_threshold_1pct" for days in (1, 3)
    ]
    (last,) = select_cells(study, horizons=[3, 1], first="h3")
    assert (last.budget_label, last.data.horizon) == ("750k-2M-20M-200M", 3)
    with pytest.raises(SpecError, match="but got --from '2M_h3'"):
        select_cells(study, horizons=[3, 1], first="2M_h3")
