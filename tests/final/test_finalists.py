"""The finalists of searches across budgets, chosen by their records."""

import dataclasses
from pathlib import Path
from typing import Any

from study.final.finalists import Chosen, finalists_across_budgets, ordinary_finalists
from study.final.seed_runs import cell_of_runs
from study.model.sizing import count_parameters
from study.results.records import TrialRecord
from study.results.store import CellIdentity, CellStore, write_cell
from study.search.forced import first_configurations
from study.search.phase_two import PhaseTwo
from study.search.space import Shape, build_space
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from tests.results.conftest import record

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
STUDY = load_study(SPACES / "two_phase.yaml")
FIRST = STUDY.cell_of_all(["2M", "20M"], 1, Overrides(search={"trials": 6}))
SPACE = build_space(FIRST, n_features=25)
LISTED = {"2M": Shape("2M", 320, 2, 4, 4), "20M": Shape("20M", 768, 3, 4, 8)}


def trial(number: int, budget: str, loss: float, **changes: Any) -> TrialRecord:
    config = SPACE.forced(LISTED[budget], dropout=0.7, learning_rate=1e-4, weight_decay=1e-3)
    return record(number, value=loss, params=config.flat(),
                  param_count=count_parameters(config.model), **changes)  # fmt: skip


USABLE = [*(trial(n, "2M", 0.40 + 0.01 * n) for n in range(3)),
          *(trial(n, "20M", 0.30 + 0.01 * n) for n in range(3, 6))]  # fmt: skip


def write(results: Path, cell: Cell, trials: list[TrialRecord]) -> None:
    folder = results / cell.name
    folder.mkdir(parents=True)
    write_cell(folder, {"metric": cell.search.metric, "trials": cell.search.trials})
    identity = CellIdentity(
        name=cell.name, study=cell.study, budget=cell.budget_label, phase=cell.phase,
        metric="log_loss", horizon=1, task="threshold_1pct", data_sha256="abc", versions={},
    )  # fmt: skip
    CellStore(folder, identity).write_trials(trials)


def second(results: Path) -> dict[str, Cell]:
    found = PhaseTwo.read(STUDY, FIRST, results, trials=None, metric=None)
    return {cell.budget_label: cell for cell in found.cells(found.phase_one.budgets)}


def chosen(results: Path, **asked: Any) -> Chosen:
    usual: dict[str, Any] = {
        "phases": (1, 2), "budgets": None, "trials": None, "metric": None, "may_differ": False,
    }  # fmt: skip
    return finalists_across_budgets(STUDY, [FIRST], results, **{**usual, **asked})


def names(found: Chosen) -> list[str]:
    return [finalist.name for finalist in found.finalists]


def test_every_budget_of_phase_one_has_a_winner_and_a_folder_of_its_own(tmp_path: Path) -> None:
    assert chosen(tmp_path).notes == [f"{FIRST.name}: not searched, left out"]
    write(tmp_path, FIRST, USABLE)
    whole = "two-phase-1_2M-20M_h1_threshold_1pct"
    assert names(chosen(tmp_path)) == [f"{whole}_2M", f"{whole}_20M"]
    assert names(chosen(tmp_path, budgets=["20M"])) == [f"{whole}_20M"]
    # A cell of one budget keeps its name.
    one = STUDY.cell_of_all(["2M"], 1)
    (tmp_path / one.name).mkdir()
    assert names(ordinary_finalists([one], tmp_path)) == ["two-phase-1_2M_h1_threshold_1pct"]


def test_a_budget_without_a_usable_trial_is_named_and_the_others_are_trained(
    tmp_path: Path,
) -> None:
    collapsed = [dataclasses.replace(each, reason="collapsed") for each in USABLE[:3]]
    write(tmp_path, FIRST, [*collapsed, *USABLE[3:]])
    found = chosen(tmp_path, phases=(1,))
    assert [finalist.budget.label for finalist in found.finalists] == ["20M"]
    assert found.notes == [f"{FIRST.name}_2M: none of 3 trials is usable, left out"]
    assert found.problems == []


def test_a_search_that_has_not_ended_is_refused_unless_differences_are_allowed(
    tmp_path: Path,
) -> None:
    write(tmp_path, FIRST, USABLE[:5])
    found = chosen(tmp_path)
    assert found.finalists == []
    (problem,) = found.problems
    assert "must have ended before its winners are trained, but got 5 of 6 trials" in problem
    allowed = chosen(tmp_path, may_differ=True).finalists
    assert [finalist.budget.label for finalist in allowed] == ["2M", "20M"]
    for finalist in allowed:
        (difference,) = finalist.differences
        assert difference == "the search across budgets had not ended: 5 of 6 trials"


def test_the_later_phase_is_taken_where_it_has_been_searched(tmp_path: Path) -> None:
    write(tmp_path, FIRST, USABLE)
    cells = second(tmp_path)
    write(tmp_path, cells["20M"], USABLE[3:])
    found = chosen(tmp_path)
    assert names(found) == ["two-phase-2_20M_h1_threshold_1pct"]
    assert found.notes[0] == "two-phase-2_2M_h1_threshold_1pct: not searched, left out"
    assert "--phase 1 trains that of every budget" in found.notes[1]
    assert len(names(chosen(tmp_path, phases=(1,)))) == 2
    # A value that phase 2 does not search may lie at an edge of the ranges of phase 1.
    (finalist,) = found.finalists
    assert finalist.ranges["dropout"] == FIRST.model["dropout"]
    assert finalist.ranges["learning_rate"] == cells["20M"].train["learning_rate"]


def test_a_further_search_goes_on_from_its_own_first_phase(tmp_path: Path) -> None:
    again = FIRST.of_search(2)
    write(tmp_path, FIRST, USABLE)
    # What one search found best is what the other found worst.
    write(tmp_path, again, [
        *(trial(n, "2M", 0.20 + 0.01 * n) for n in range(3)),
        *(trial(n, "20M", 0.40 + 0.01 * n) for n in range(3, 6)),
    ])  # fmt: skip
    phases = [
        PhaseTwo.read(STUDY, cell, tmp_path, trials=None, metric=None) for cell in (FIRST, again)
    ]
    assert [each.phase_one.budgets[0].budget for each in phases] == ["20M", "2M"]
    (cell,) = phases[1].cells(phases[1].phase_one.budgets[:1])
    assert cell.name == "two-phase-2_2M_h1_threshold_1pct_search2"
    assert cell.search.seed == again.search.seed
    write(tmp_path, cell, USABLE[:3])
    found = finalists_across_budgets(
        STUDY, [again], tmp_path, phases=(1, 2), budgets=None, trials=None, metric=None,
        may_differ=False,
    )  # fmt: skip
    assert names(found) == [cell.name]
    assert names(chosen(tmp_path)) == [f"{FIRST.name}_2M", f"{FIRST.name}_20M"]


def test_phase_two_alone_is_not_replaced_by_phase_one(tmp_path: Path) -> None:
    write(tmp_path, FIRST, USABLE)
    found = chosen(tmp_path, phases=(2,))
    assert found.finalists == []
    assert len(found.notes) == 2


def test_runs_try_what_they_are_given_whatever_their_search_began_with(tmp_path: Path) -> None:
    write(tmp_path, FIRST, USABLE)
    cell = second(tmp_path)["2M"]
    assert cell.start is not None
    assert cell.start["n_heads"] == 4
    own = cell_of_runs(cell, 25, seed=7)
    # The winner has another number of heads than the trial from which phase 2 started.
    shapes = tuple(s for s in build_space(cell, n_features=25).shapes if s.n_heads == 8)
    space = dataclasses.replace(build_space(cell, n_features=25), shapes=shapes)
    assert first_configurations(space, own) == ()
