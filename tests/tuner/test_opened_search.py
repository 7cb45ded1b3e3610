"""A search that went beyond an edge is resumed only where its trials there have memory."""

import dataclasses
from pathlib import Path

import pytest

from study.cluster.resources import SearchResources
from study.planning.cell_plan import CellPlan
from study.planning.feasibility import InfeasibleError
from study.results.journal import Journal
from study.search.beyond import Widening
from study.search.ledger import Ledger
from study.search.space import Shape
from study.spec.dimension import Choice
from study.tuner.opened_search import require_holds
from tests.search.simulated_search import CELL, SEARCH, SPACE
from tests.tuner.planned import plan


def with_bytes(share_bytes: int) -> CellPlan:
    """Return a plan whose trials may use so many bytes for a step."""
    made = plan()
    (label,) = made.resources.by_budget
    own = dataclasses.replace(made.resources.by_budget[label], share_bytes=share_bytes)
    return dataclasses.replace(made, resources=SearchResources(by_budget={label: own}, n_nodes=1))


@pytest.mark.parametrize("n_configs", [1, 0], ids=["pending", "only the architecture"])
def test_a_configuration_beyond_an_edge_without_memory_is_refused_at_the_start(
    tmp_path: Path, n_configs: int
) -> None:
    deeper = Shape(CELL.budget_label, 32, 6, 2, 4)
    config = SPACE.forced(deeper)
    widening = Widening(
        name="n_layers",
        dimension=Choice((1, 2, 3, 4, 6)),
        shapes=() if n_configs else (deeper,),
        configs=(config,) * n_configs,
        message="n_layers ended at 4",
    )
    journal = Journal.create(tmp_path, "abcd", {"kind": "created", "time": 0.0})
    journal.append({"kind": "widened", "time": 1.0, **widening.to_event()})
    again = Journal.open(tmp_path, witness=None)
    ledger = Ledger(again, space=SPACE, forced=(), search=SEARCH, granted_bytes={})
    require_holds(plan(), ledger)
    with pytest.raises(InfeasibleError, match="1 of 1 configurations that do not"):
        require_holds(with_bytes(2**10), ledger)


def test_the_disk_that_is_planned_holds_what_trials_beyond_edges_keep_too() -> None:
    made, search = plan(), dataclasses.replace(CELL.search, trials=8, beyond_edges=True)
    beyond = dataclasses.replace(made, cell=dataclasses.replace(CELL, search=search))
    each = made.kept_checkpoint_bytes / CELL.search.trials
    assert beyond.kept_checkpoint_bytes == each * (8 + 2 * 2)
