"""Trains given configurations as a search trains its own: journaled, resumable, on Ray."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.cluster.resources import Node
from study.final.searched_cell import SearchedCell
from study.interruptions import Interruptions
from study.planning.cell_plan import plan_cell
from study.planning.cell_series import AnyDataset
from study.planning.simple_models import read_simple_power
from study.results.plans.plan_record import Estimate
from study.results.records import TrialRecord
from study.search.forced import Forced
from study.search.space import SearchSpace
from study.spec.specification import Cell
from study.storage.place import LocalPlace
from study.tuner.claim import claim
from study.tuner.experiment import SearchOutcome, search_cell


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The machines on which runs are trained."""

    nodes: Sequence[Node]
    """Nodes of the running Ray cluster."""
    device: str | None
    """Device that the user chose; None follows what Ray assigns."""
    capture: bool
    """Are training steps captured as graphs of the device, where it can?"""
    concurrency: int | None
    """Most runs at once; None takes as many as fit."""


class Unfinished(Exception):
    """Runs stopped before all of them had ended."""

    def __init__(self, outcome: SearchOutcome) -> None:
        super().__init__(outcome.stopped)
        self.outcome = outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """The parts that all final runs of one cell have in common."""

    search: SearchedCell
    folder: Path
    """Folder of the cell's final runs."""
    results: Path
    """The results folder."""
    place: Place
    interruptions: Interruptions

    def train(
        self,
        given: Sequence[Forced],
        folder: Path,
        *,
        seed: int,
        folds: Sequence[AnyDataset],
        space: SearchSpace,
    ) -> Sequence[TrialRecord]:
        """Train each configuration once, or resume those that have not ended.

        Raises:
            Unfinished: training was stopped.
        """
        cell = self.search.finalist.cell
        outcome = train_configurations(
            cell,
            folds,
            space,
            given,
            folder,
            seed=cell.search.seed + seed,
            searched=self.search.described,
            place=self.place,
            interruptions=self.interruptions,
        )
        if not outcome.is_complete:
            raise Unfinished(outcome)
        return outcome.records


def train_configurations(
    cell: Cell,
    folds: Sequence[AnyDataset],
    space: SearchSpace,
    given: Sequence[Forced],
    path: Path,
    *,
    seed: int,
    searched: Mapping[str, Any],
    place: Place,
    interruptions: Interruptions,
) -> SearchOutcome:
    """Train each given configuration once, or resume those that have not ended.

    Args:
        cell: the cell that the configurations belong to.
        folds: the data sets that runs take in turn: run n has the one of number n modulo theirs.
        space: its search space.
        given: named configurations; equal ones differ by their seed.
        path: folder of these runs.
        seed: seed of the first run; each further one has the next.
        searched: the content of the search's ``cell.yaml``, whose estimate and power are used.
        place: the machines.
        interruptions: the signals by which the user stops it.

    Raises:
        StudyError: the folder holds other runs, or records are missing from it.
    """
    own = cell_of_runs(cell, len(given), seed)
    # Only the given architectures must fit, and they alone decide the resources.
    space = space.of_configs(slot.config for slot in given if slot.config is not None)
    data = folds[0]
    with claim(LocalPlace(path), own, data, resume=path.exists()) as claimed:
        plan = plan_cell(
            own,
            data,
            space,
            place.nodes,
            device=place.device,
            capture=place.capture,
            concurrency=place.concurrency,
            estimate=Estimate.from_json(searched["estimate"], str(path)),
            power=read_simple_power(cell.data, searched.get("power")),
            is_begun=True,
        )
        plan = dataclasses.replace(plan, forced=tuple(given), may_repeat=True, folds=tuple(folds))
        outcome = search_cell(claimed.begin(plan), interruptions)
        if outcome.is_complete:
            claimed.end("complete", None)
        else:
            claimed.end("stopped" if outcome.is_fault else "interrupted", outcome.stopped)
        return outcome


def cell_of_runs(cell: Cell, n_runs: int, seed: int) -> Cell:
    """Return a cell that tries given configurations, without those that its search began with."""
    search = dataclasses.replace(
        cell.search,
        trials=n_runs,
        startup_trials=1,
        scheduler="fifo",
        forced="none",
        beyond_edges=False,
        neighbours=False,
        cheap_first=False,
        cost="ignore",
        seed=seed,
        max_failure_share=1.0,
        keep_state_mib=0,
    )
    return dataclasses.replace(cell, search=search, start=None)
