"""The independent searches of a cell: their names, their seeds, and where they are found."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest

from study.cluster.thermal import Temperature, ThermalState
from study.errors import SpecError
from study.results.independence import dependent_first
from study.results.store import write_cell
from study.spec.overrides import Overrides
from study.spec.search_number import MOST_SEARCHES, SEED_END
from study.spec.selection import further_searches, searches_made, select_cells
from study.spec.spec_file import load_study
from study.spec.specification import LONGEST_NAME
from study.sweeping.preflight import inspect
from study.tune import main as tune
from tests.sweeping.command import planned

STUDY = load_study(Path(__file__).parents[2] / "search_spaces/phase6a.yaml")
CELL = STUDY.cell("2M", 3)

_SEEDS_OF_A_SEARCH = 3_000_000
"""Seeds that a search may use: of its trials, of the selection and of the winner's runs."""


def test_a_further_search_differs_by_its_name_and_its_seed_alone() -> None:
    assert CELL.of_search(1) == CELL
    second = CELL.of_search(2)
    assert second.name == "phase6a_2M_h3_threshold_1pct_search2"
    assert second.search.seed != CELL.search.seed
    search = dataclasses.replace(second.search, seed=CELL.search.seed)
    assert dataclasses.replace(second, search_number=1, search=search) == CELL


@pytest.mark.parametrize("first", [0, 42, SEED_END - 1])
def test_no_two_searches_share_a_seed_whatever_the_first_one_is(first: int) -> None:
    cell = STUDY.cell("2M", 3, Overrides(search={"seed": first}))
    seeds = sorted(cell.of_search(n).search.seed for n in range(1, MOST_SEARCHES + 1))
    assert first in seeds
    ends = [*seeds[1:], seeds[0] + SEED_END]
    assert min(b - a for a, b in zip(seeds, ends, strict=True)) >= _SEEDS_OF_A_SEARCH


@pytest.mark.parametrize("number", [0, -1, MOST_SEARCHES + 1, True, 2.0])
def test_a_number_that_no_search_can_have_is_refused(number: int) -> None:
    with pytest.raises(SpecError, match=f"must lie between 1 and {MOST_SEARCHES}, the searches"):
        CELL.of_search(number)


def test_a_name_must_have_room_for_the_number() -> None:
    study = dataclasses.replace(STUDY, name="a" * LONGEST_NAME)
    # Up to the longest name of a folder.
    market = "b" * (200 - len(study.cell("2M", 3).name) - 1)
    cell = study.cell("2M", 3, Overrides(data={"source": f"{market}.csv"}))
    with pytest.raises(SpecError, match="must name a folder of at most 200 bytes"):
        cell.of_search(2)


def test_a_further_search_is_refused_whose_first_began_with_what_others_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = CELL.of_search(2).name
    assert dependent_first(second, 2, tmp_path) is None
    (tmp_path / CELL.name).mkdir()
    known: dict[str, Any] = {"found": [], "remarks": ["another cannot be read"]}
    write_cell(tmp_path / CELL.name, {"neighbours": known})
    assert dependent_first(second, 2, tmp_path) is None
    known["found"] = [{"cell": "phase6a_2M_h5_threshold_1pct", "trial": 3}]
    write_cell(tmp_path / CELL.name, {"neighbours": known})
    assert dependent_first(CELL.name, 1, tmp_path) is None
    problem = dependent_first(second, 2, tmp_path)
    assert problem is not None
    assert "but got a search that began with 1 trial of them. Search it anew" in problem
    flags = ("--budget", "2M", "--horizon", "3", "--storage", str(tmp_path), "--dry-run")
    assert tune([*flags, "--search-number", "2"]) == 2
    assert problem in " ".join(capsys.readouterr().err.split())
    cells = [planned(CELL.of_search(n).name, search_number=n) for n in (1, 2, 3)]
    cool = Temperature(state=ThermalState.NORMAL, degrees=40.0, source="chip", said="40 C (chip)")
    assert inspect(cells, tmp_path, cool).problems == (problem,)


def test_the_searches_of_a_cell_come_after_each_other() -> None:
    chosen = functools.partial(select_cells, STUDY, budgets=["2M", "20M"], horizons=[1])
    cells = chosen(searches=2)
    assert [(cell.budget_label, cell.search_number) for cell in cells] == [
        ("2M", 1), ("2M", 2), ("20M", 1), ("20M", 2),
    ]  # fmt: skip
    assert chosen(searches=2, first="2M_h1_search2") == cells[1:]
    with pytest.raises(SpecError, match="--searches: must lie between 1 and 100"):
        select_cells(STUDY, searches=0)


def test_searches_that_were_made_are_found_and_those_beyond_the_selected_ones_named(
    tmp_path: Path,
) -> None:
    assert searches_made(CELL, tmp_path / "results") == []
    for suffix in ("", "_search3", "_search03", "_search1", "_nasdaq", "_search2_nasdaq"):
        (tmp_path / f"{CELL.name}{suffix}").mkdir()
    assert searches_made(CELL, tmp_path) == [1, 3]
    (line,) = further_searches([CELL, CELL.of_search(2)], tmp_path)
    assert line.startswith(f"{CELL.name}_search3: it was searched, but is beyond --searches")
    assert further_searches([CELL.of_search(n) for n in (1, 2, 3)], tmp_path) == []
