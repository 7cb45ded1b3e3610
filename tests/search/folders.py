"""Folders of searches, as a process that searches or is done leaves them."""

import json
from pathlib import Path
from typing import Any

from study.data.dataset import Dataset
from study.search.cell_folder import CellFolder, identity
from study.storage.layout import LOCK_FILE
from tests.search.simulated_search import CELL


def describe(path: Path, data: Dataset) -> dict[str, Any]:
    described = {**identity(CELL, data, path), "machine": {"cpus": 2}, "n_rows": data.n_rows}
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def closed(folder: CellFolder) -> Path:
    folder.lock.release()
    return folder.path


def contents(folder: Path) -> dict[str, bytes]:
    files = (each for each in folder.rglob("*") if each.is_file() and each.name != LOCK_FILE)
    return {str(each.relative_to(folder)): each.read_bytes() for each in files}
