"""What may have changed of a search since its winner is to be trained."""

import dataclasses
from pathlib import Path

import pytest

from study.data.dataset import build_dataset
from study.errors import StudyError
from study.final.finalists import Finalist
from study.final.searched_cell import read_searched_cell
from study.results.store import CellStore, write_cell
from study.search.cell_folder import identity, identity_in_records
from study.search.space import build_space
from study.spec.spec_file import load_study
from tests.results.conftest import record
from tests.tuner.command import SPACES

CELL = load_study(SPACES / "smoke.yaml").cell("50k", 1)
FINALIST = Finalist(cell=CELL, budget=CELL.budget, ranges={})


def write_search(results: Path, place: str, **changes: object) -> None:
    """Write the description of a search without trials."""
    data = build_dataset(CELL.data)
    described = {
        **identity(CELL, data, place),
        "trials": 2,
        "splits": {part: dataclasses.asdict(found) for part, found in data.splits.items()},
        "estimate": {"search_seconds_expected": 1.0},
    }
    folder = results / CELL.name
    folder.mkdir()
    write_cell(folder, described | changes)


@pytest.mark.parametrize("place", ["s3://bucket/studies/cell", "/another/folder"])
def test_a_search_that_was_copied_from_elsewhere_has_the_same_winner(
    tmp_path: Path, place: str
) -> None:
    write_search(tmp_path, place)
    found = read_searched_cell(FINALIST, tmp_path, may_differ=False)
    assert found.differences == []


def test_a_search_of_other_data_is_refused_unless_it_may_differ(tmp_path: Path) -> None:
    write_search(tmp_path, "s3://bucket/studies/cell", data_sha256="other")
    with pytest.raises(StudyError, match="as they were searched, but got data_sha256 was 'other'"):
        read_searched_cell(FINALIST, tmp_path, may_differ=False)
    (line,) = read_searched_cell(FINALIST, tmp_path, may_differ=True).differences
    assert line.startswith("data_sha256 was 'other'")


def test_a_winner_is_not_trained_on_samples_of_another_shape(tmp_path: Path) -> None:
    write_search(tmp_path, "s3://bucket/studies/cell")
    data = build_dataset(CELL.data)
    space = build_space(CELL, n_features=len(data.feature_names))
    params = next(iter(space.configs())).flat()
    store = CellStore(tmp_path / CELL.name, identity_in_records(CELL, data.fingerprint))
    store.write_trials([record(0, params=params)])
    assert len(read_searched_cell(FINALIST, tmp_path, may_differ=True).records) == 1
    longer = dataclasses.replace(
        FINALIST,
        cell=dataclasses.replace(CELL, data=dataclasses.replace(CELL.data, context_length=80)),
    )
    with pytest.raises(StudyError, match=r"shape .* but got context_length=80, was 60\. Use the"):
        read_searched_cell(longer, tmp_path, may_differ=True)
