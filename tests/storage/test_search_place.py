"""A search begins or is resumed only where it can."""

from pathlib import Path

import pytest

from study.errors import SpecError
from study.storage.place import LocalPlace
from study.storage.search_place import require_place


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    return LocalPlace(tmp_path / "cell")


def test_a_new_search_needs_a_place_without_one(place: LocalPlace) -> None:
    require_place(place, resume=False, fresh=False)
    place.path.mkdir()
    with pytest.raises(SpecError, match=r"a cell is searched once.*--resume.*--fresh"):
        require_place(place, resume=False, fresh=False)
    require_place(place, resume=True, fresh=False)
    require_place(place, resume=False, fresh=True)


def test_a_search_that_is_resumed_must_be_there_unless_it_may_be_new(place: LocalPlace) -> None:
    with pytest.raises(SpecError, match="--resume needs a search to go on with"):
        require_place(place, resume=True, fresh=False)
    require_place(place, resume=True, fresh=False, may_be_new=True)


def test_a_file_in_the_place_of_the_results_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(SpecError, match="--storage: must be a folder that can be written"):
        require_place(LocalPlace(tmp_path / "results" / "cell"), resume=False, fresh=False)
