"""What is said of a cell's folder without touching it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.data.dataset import Dataset, build_dataset
from study.planning.study_plan import folder_state
from study.results.journal import Journal
from study.search.cell_folder import create, identity
from study.search.ledger import Ledger
from study.search.space import SearchSpace, build_space
from study.spec.dimension import Choice
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.storage.layout import JOURNAL_FILES
from study.storage.place import LocalPlace

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
CELL = load_study(SPACES / "smoke.yaml").cell("50k", 1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return build_dataset(CELL.data)


@pytest.fixture(scope="module")
def space(data: Dataset) -> SearchSpace:
    return build_space(CELL, n_features=len(data.feature_names))


def begun(path: Path, data: Dataset, **changed: Any) -> Path:
    """Make the folder of a search that was killed before its first trial."""
    create(LocalPlace(path), {**identity(CELL, data, path), **changed}).lock.release()
    return path


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_no_folder_is_a_new_search(tmp_path: Path, data: Dataset, space: SearchSpace) -> None:
    assert folder_state(tmp_path / "cell", CELL, data, space) == ("new", None)
    assert not list(tmp_path.iterdir())


def test_a_search_with_trials_left_is_partial(
    tmp_path: Path, data: Dataset, space: SearchSpace
) -> None:
    path = begun(tmp_path / "cell", data)
    before = content(path)
    assert folder_state(path, CELL, data, space) == ("partial", None)
    # It would be mended by a resume, and is left as it is.
    (path / JOURNAL_FILES[0]).write_bytes(before[JOURNAL_FILES[0]][:-20])
    torn = content(path)
    assert folder_state(path, CELL, data, space) == ("partial", None)
    assert content(path) == torn


def test_an_ended_search_that_is_asked_for_more_trials_is_partial(
    tmp_path: Path, data: Dataset, space: SearchSpace
) -> None:
    few = replace(CELL, search=replace(CELL.search, trials=1))
    path = begun(tmp_path / "cell", data, spec=json.loads(json.dumps(few.resolved())))
    Journal.open(path, witness=None).append({"kind": "exhausted", "time": 1.0})
    assert folder_state(path, few, data, space) == ("complete", None)
    more = replace(few, search=replace(few.search, trials=9))
    assert folder_state(path, more, data, space) == ("partial", None)
    # Its file has learnt to go beyond edges since: a search that has ended goes on for a flag only.
    beyond = replace(few, search=replace(few.search, beyond_edges=True))
    assert folder_state(path, beyond, data, space) == ("complete", None)
    asked = replace(beyond, is_beyond_asked=True)
    assert folder_state(path, asked, data, space) == ("partial", None)


def _other_seed(cell: Cell) -> Cell:
    return replace(cell, search=replace(cell.search, seed=7))


@pytest.mark.parametrize(
    ("changed", "asked", "reason"),
    [
        ({}, _other_seed, "spec.search.seed was 42 and is 7"),
        ({"versions": {"code": "0"}}, lambda cell: cell, "versions.code was '0'"),
        ({"folder": "elsewhere"}, lambda cell: cell, "folder was 'elsewhere'"),
        ({"data_sha256": "0"}, lambda cell: cell, "data_sha256 was '0'"),
    ],
)
def test_what_a_resume_would_refuse_is_refused_with_the_reason(
    tmp_path: Path,
    data: Dataset,
    space: SearchSpace,
    changed: dict[str, Any],
    asked: Callable[[Cell], Cell],
    reason: str,
) -> None:
    path = begun(tmp_path / "cell", data, **changed)
    state, problem = folder_state(path, asked(CELL), data, space)
    assert state == "refused"
    assert problem is not None
    assert reason in problem


def test_a_search_of_other_architectures_is_refused_and_not_replayed(
    tmp_path: Path, data: Dataset, space: SearchSpace
) -> None:
    path = begun(tmp_path / "cell", data)
    ledger = Ledger(
        Journal.open(path, witness=None), space=space, forced=(), search=CELL.search,
        granted_bytes={},
    )  # fmt: skip
    trial = ledger.next()
    assert trial is not None
    widths = Choice((trial.config.model.d_model + 8,))
    other = replace(CELL, model={**CELL.model, "d_model": widths})
    without = space.of(shape for shape in space.shapes if shape != trial.config.shape)
    state, problem = folder_state(path, other, data, without)
    assert state == "refused"
    assert "spec.model.d_model" in str(problem)


def test_a_folder_without_a_journal_is_refused(
    tmp_path: Path, data: Dataset, space: SearchSpace
) -> None:
    path = tmp_path / "cell"
    path.mkdir()
    state, problem = folder_state(path, CELL, data, space)
    assert state == "refused"
    assert "must hold the journal of a search" in str(problem)
