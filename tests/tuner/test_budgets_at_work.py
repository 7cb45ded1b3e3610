"""Trials of different shares of a machine run beside each other, with real Ray."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from study.cluster.resources import SearchResources, TrialResources
from study.planning.cell_plan import CellPlan
from study.results.records import TrialRecord
from study.search.assignment import Assignment
from study.search.forced import Forced
from study.search.space import build_space
from study.spec.spec_file import load_study
from study.tuner.trainable import CellTrainable
from tests.tuner.command import FEW_TOKENS, SPACES
from tests.tuner.in_process import MARKS, planned, ray_of, search

pytestmark = MARKS

GIB = 2**30
SMALL = TrialResources(
    cpus=1, gpus=0.0, memory_bytes=2 * GIB, share_bytes=GIB, exclusive=False, capacity=2
)
LARGE = TrialResources(
    cpus=2, gpus=0.0, memory_bytes=7 * GIB, share_bytes=4 * GIB, exclusive=True, capacity=1
)
OTHER = replace(SMALL, memory_bytes=3 * GIB)
"""Resources of which as many fit as of ``SMALL``, but whose workers cannot serve its trials."""
ORDER = ("40k", "50k", "40k", "80k", "40k", "50k", "50k")
FIRST, SECOND, ALONE = 0, 1, 3
WORKERS = "workers"
"""Name of the file in the cell's folder with the process of each trial."""
PATIENCE_SECONDS = 90.0


class Watched(CellTrainable):
    """Records in which process each trial runs."""

    def _begin(self, trial: Assignment) -> None:
        super()._begin(trial)
        with (self._settings.cell_folder / WORKERS).open("a") as file:
            file.write(f"{trial.number} {os.getpid()}\n")


class Accompanied(Watched):
    """Lets the first trial wait until a second one has begun."""

    def _begin(self, trial: Assignment) -> None:
        super()._begin(trial)
        until = time.monotonic() + PATIENCE_SECONDS
        while trial.number == FIRST and time.monotonic() < until:
            self._show_life()
            if SECOND in processes(self._settings.cell_folder):
                break
            time.sleep(0.1)


def processes(folder: Path) -> dict[int, int]:
    """Return the process of each trial that has begun."""
    pairs = [line.split() for line in (folder / WORKERS).read_text().splitlines()]
    return {int(number): int(process) for number, process in pairs}


@dataclass(frozen=True)
class Spell:
    """The time for which a trial ran."""

    began: float
    ended: float

    @classmethod
    def of(cls, folder: Path, record: TrialRecord) -> "Spell":
        lines = (folder / record.folder / "result.json").read_text().splitlines()
        epochs = [yaml.safe_load(line) for line in lines]
        return cls(epochs[0]["began"], epochs[-1]["reported"])

    def overlaps(self, other: "Spell") -> bool:
        return self.began < other.ended and other.began < self.ended


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CellPlan]:
    raw = yaml.safe_load((SPACES / "smoke.yaml").read_text())
    raw["budgets"] = {"40k": 40_000, "50k": 50_000, "80k": 80_000}
    raw["model"]["patch_stride"] = FEW_TOKENS
    raw["search"] |= {
        "across_budgets": True, "trials": len(ORDER), "forced": "none", "scheduler": "fifo",
        "max_failure_share": 1.0,
    }  # fmt: skip
    space_file = tmp_path_factory.mktemp("space") / "space.yaml"
    space_file.write_text(yaml.safe_dump(raw))
    cell = load_study(space_file).cell_of_all(None, 1)
    space = build_space(cell, n_features=25)
    with ray_of(n_cpus=2, memory_bytes=8 * GIB) as nodes:
        made = planned(cell, nodes, concurrency=2)
        shapes = {shape.budget: shape for shape in space.shapes}
        yield replace(
            made,
            resources=SearchResources(
                by_budget={"40k": SMALL, "50k": SMALL, "80k": LARGE}, n_nodes=1
            ),
            forced=tuple(Forced(name=b, config=space.forced(shapes[b])) for b in ORDER),
            may_repeat=True,
        )


def test_small_budgets_share_the_machine_and_a_large_one_has_it_alone_in_its_turn(
    plan: CellPlan, tmp_path: Path
) -> None:
    folder = tmp_path / "results" / plan.cell.name
    outcome = search(plan, folder, Accompanied)
    assert outcome.is_complete
    assert [record.budget for record in outcome.records] == list(ORDER)
    assert {record.faults == [] for record in outcome.records} == {True}
    spells = {record.number: Spell.of(folder, record) for record in outcome.records}
    assert spells[FIRST].overlaps(spells[SECOND])
    alone = spells.pop(ALONE)
    assert not [n for n, spell in spells.items() if alone.overlaps(spell)]
    # It waited for its resources, and no trial overtook it.
    assert all((spell.began < alone.began) == (n < ALONE) for n, spell in spells.items())
    cpus = {record.budget: record.assigned_cpus for record in outcome.records}
    assert cpus == {"40k": 1, "50k": 1, "80k": 2}
    granted = {record.budget: record.granted_memory_bytes for record in outcome.records}
    assert granted["40k"] == SMALL.granted_bytes
    assert granted["80k"] == LARGE.granted_bytes
    # Small trials reuse workers, which are released for the large one.
    used = processes(folder)
    before, after = ({used[n] for n in spells if (n < ALONE) == is_before}
                     for is_before in (True, False))  # fmt: skip
    assert len(before) == 2
    assert 1 <= len(after) <= 2
    assert len(before | after | {used[ALONE]}) == len(before) + len(after) + 1


def test_workers_of_several_kinds_are_kept_while_there_is_room(
    plan: CellPlan, tmp_path: Path
) -> None:
    by_budget = {"40k": SMALL, "50k": OTHER, "80k": LARGE}
    plan = replace(plan, resources=SearchResources(by_budget=by_budget, n_nodes=1), concurrency=1)
    folder = tmp_path / "results" / plan.cell.name
    assert search(plan, folder, Watched).is_complete
    used = processes(folder)
    first, second, third, large, *rest = (used[n] for n in range(len(ORDER)))
    assert third == first
    assert rest[1] == rest[2]
    assert len({first, second, large, rest[0], rest[1]}) == 5
