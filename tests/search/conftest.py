from pathlib import Path

import pytest

from study.data.dataset import Dataset, build_dataset
from study.search.cell_folder import create
from study.storage.place import LocalPlace
from tests.search.folders import closed, describe
from tests.search.simulated_search import CELL


@pytest.fixture(scope="session")
def data() -> Dataset:
    return build_dataset(CELL.data)


@pytest.fixture
def path(tmp_path: Path, data: Dataset) -> Path:
    """Return the folder of a search that has begun and does not run."""
    results = tmp_path / "ray_results"
    return closed(create(LocalPlace(results / CELL.name), describe(results / CELL.name, data)))
