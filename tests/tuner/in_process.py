"""Runs a search in the process of the test, for cases that the command line cannot produce."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray

from study.cluster.resources import Node
from study.cluster.runtime import cluster, lean_start
from study.data.dataset import build_dataset
from study.data.evaluation.power import read_power
from study.interruptions import interruptible
from study.planning.cell_plan import CellPlan, plan_cell
from study.results.plans.plan_record import Estimate
from study.search.space import build_space
from study.spec.dimension import Fixed
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.storage.place import LocalPlace
from study.tuner.claim import claim
from study.tuner.experiment import SearchOutcome, search_cell
from study.tuner.trainable import CellTrainable
from tests.tuner.command import ESTIMATE, FEW_TOKENS, POWER, SPACES

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


@contextmanager
def ray_of(*, n_cpus: int, n_gpus: int = 0, memory_bytes: int) -> Iterator[list[Node]]:
    """Run a Ray of one machine whose parts are only logical, and yield its nodes."""
    with ray_environment():
        # Workers that are started in advance would not be used by trials.
        os.environ["RAY_prestart_worker_first_driver"] = "0"
        with lean_start():
            ray.init(
                address="local",
                num_cpus=n_cpus,
                num_gpus=n_gpus,
                _memory=memory_bytes,
                include_dashboard=False,
                object_store_memory=200 * 2**20,
                logging_level="ERROR",
                log_to_driver=False,
            )
        try:
            with cluster(None, use_accelerators=n_gpus > 0) as found:
                yield found
        finally:
            ray.shutdown()


def tiny_cell(*, epochs: int, **search: Any) -> Cell:
    """Return a cell whose trials have three tokens, so that an epoch takes a tenth of a second."""
    cell = load_study(SPACES / "smoke.yaml").cell("50k", 1, Overrides(search=search))
    return dataclasses.replace(
        cell,
        model={**cell.model, "patch_stride": Fixed(FEW_TOKENS)},
        train={**cell.train, "epochs": Fixed(epochs)},
    )


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
