"""A search in the process of the test, for what the command line cannot ask for."""

from pathlib import Path

from study.search.cell_folder import create, reopen
from study.search.plan import CellPlan
from study.search.run import describe
from study.search.stop import interruptible
from study.search.trainable import CellTrainable
from study.search.tuner import SearchOutcome, search_cell


def search(
    plan: CellPlan, path: Path, trainable: type[CellTrainable] = CellTrainable
) -> SearchOutcome:
    """Search a cell in ``path``, or go on with the search that is there."""
    is_there = path.exists()
    folder = reopen(path, plan.cell, plan.data) if is_there else create(path, describe(plan, path))
    try:
        with interruptible() as interruptions:
            return search_cell(plan, folder, interruptions, trainable=trainable)
    finally:
        folder.lock.release()
