"""Runs a search in the process of the test, for cases that the command line cannot produce."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from study.cluster.resources import Node
from study.data.dataset import build_dataset
from study.data.evaluation.power import read_power
from study.interruptions import interruptible
from study.planning.cell_plan import CellPlan, plan_cell
from study.results.plans.plan_record import Estimate
from study.search.space import build_space
from study.spec.specification import Cell
from study.storage.place import LocalPlace
from study.tuner.claim import claim
from study.tuner.experiment import SearchOutcome, search_cell
from study.tuner.trainable import CellTrainable
from tests.tuner.command import ESTIMATE, POWER

MARKS = [
    pytest.mark.ray,
    # Ray closes its sockets, files and processes only when this process ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@contextmanager
def ray_environment() -> Iterator[None]:
    """Restore the environment that Ray's settings change; Ray reads its token only once."""
    before = dict(os.environ)
    os.environ["RAY_AUTH_TOKEN"] = "a-token-for-these-tests-alone"
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def planned(cell: Cell, nodes: Sequence[Node], *, concurrency: int) -> CellPlan:
    """Plan a cell on its 25 features; no step is timed, which would take longer than its trials."""
    return plan_cell(
        cell,
        build_dataset(cell.data),
        build_space(cell, n_features=25),
        nodes,
        device="cpu",
        concurrency=concurrency,
        estimate=Estimate.from_json(ESTIMATE, "estimate"),
        power=read_power(POWER),
    )


def search(
    plan: CellPlan, path: Path, trainable: type[CellTrainable] = CellTrainable
) -> SearchOutcome:
    """Search a cell in ``path``, or resume the search that is there."""
    with (
        claim(LocalPlace(path), plan.cell, plan.data, resume=path.exists()) as claimed,
        interruptible() as interruptions,
    ):
        return search_cell(claimed.begin(plan), interruptions, trainable=trainable)
