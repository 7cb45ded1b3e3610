"""A plan of a cell without Ray and without a measured step."""

import functools

from study.cluster.resources import Node
from study.data.dataset import build_dataset
from study.data.evaluation.power import read_power
from study.planning.cell_plan import CellPlan, plan_cell
from study.results.plans.plan_record import Estimate
from tests.search.simulated_search import CELL, SPACE
from tests.tuner.command import ESTIMATE, POWER

NODE = Node(
    name="here", cpus=2, gpus=0, memory_bytes=2**33, device_bytes=2**33, unified_memory=True
)


@functools.cache
def plan() -> CellPlan:
    return plan_cell(
        CELL,
        build_dataset(CELL.data),
        SPACE,
        [NODE],
        device="cpu",
        concurrency=None,
        estimate=Estimate.from_json(ESTIMATE, "estimate"),
        power=read_power(POWER),
    )
