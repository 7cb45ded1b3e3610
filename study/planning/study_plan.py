"""What a selection of cells would take: a plan of each, or why it cannot run here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from study.cluster.resources import Node
from study.data.dataset import Dataset, build_dataset
from study.data.sources import load_prices
from study.errors import StudyError
from study.planning.cell_plan import CellPlan, describe_without_plan, plan_cell, trial_device
from study.planning.feasibility import InfeasibleError, begun_space
from study.planning.step_times import StepTimes
from study.search.cell_folder import (
    as_begun,
    continued,
    differences_by_part,
    read_folder,
    require_nothing_lost,
)
from study.search.forced import first_configurations
from study.search.ledger import Ledger
from study.search.space import SearchSpace, build_space
from study.spec.specification import Cell

FolderState = Literal["new", "complete", "partial", "refused"]
"""Nothing is there; every trial ended; some are left; it cannot be gone on with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellOutlook:
    """One cell of a selection."""

    cell: Cell
    plan: CellPlan | None
    """None if the cell cannot run here."""
    problem: str | None
    """Why it cannot."""
    described: dict[str, Any]
    """What is known of it, in plain values."""
    folder_state: FolderState
    folder_problem: str | None
    """Why its folder cannot be gone on with."""

    @property
    def will_run(self) -> bool:
        """Is there something left to do, and can it be done here?"""
        return self.plan is not None and self.folder_state in ("new", "partial")

    def describe(self) -> dict[str, Any]:
        """Return plain values, with the same keys whether or not the cell can run."""
        return {
            **self.described,
            "folder_state": self.folder_state,
            "folder_problem": self.folder_problem,
        }


def plan_cells(
    cells: Sequence[Cell],
    nodes: Sequence[Node],
    results: Path,
    *,
    device: str | None,
    concurrency: int | None,
    driver_seconds: float,
) -> Iterator[CellOutlook]:
    """Yield a plan of each cell, in order.

    Steps are measured once per budget: the models of its horizons are the same.

    Args:
        cells: what to plan; all read the same prices.
        nodes: the machines of the running Ray cluster.
        results: the results folder, absolute; it is read only.
        device: ``cpu``, ``cuda`` or ``mps``; None follows what Ray assigns.
        concurrency: trials at once; None takes as many as fit.
        driver_seconds: from a command's start to the first question to Ray.

    Raises:
        DataError: the prices cannot be read.
    """
    if not cells:
        return
    first = cells[0].data
    prices = load_prices(first.source, results / "data", first.accept)
    where = trial_device(nodes, device)
    measured: dict[tuple[object, ...], Mapping[str, StepTimes]] = {}
    for cell in cells:
        path = results / cell.name
        data, space, plan, problem, asked = None, None, None, None, cell
        state: FolderState = "new"
        folder_problem = None
        try:
            data = build_dataset(cell.data, prices, results / "data")
            space = build_space(cell, n_features=len(data.feature_names))
            state, folder_problem = folder_state(path, cell, data, space)
            is_begun = state in ("complete", "partial")
            if is_begun:
                journal = read_folder(path)
                space = begun_space(space, journal.first["cell"])
                asked = continued(journal, cell)
            key = (cell.budgets, space.shapes, min(concurrency or 0, asked.search.trials))
            plan = plan_cell(
                asked,
                data,
                space,
                nodes,
                device=device,
                concurrency=concurrency,
                times=measured.get(key),
                driver_seconds=driver_seconds,
                is_begun=is_begun,
            )
            if plan.times is not None:
                measured[key] = plan.times
        except StudyError as error:
            problem = str(error)
            feasible = False if isinstance(error, InfeasibleError) else None
            if space is None:
                state, folder_problem = folder_state(path, cell, None, None)
            described = describe_without_plan(cell, problem, data, space, where, feasible=feasible)
        else:
            described = plan.describe()
        yield CellOutlook(
            cell=cell,
            plan=plan,
            problem=problem,
            described=described,
            folder_state=state,
            folder_problem=folder_problem,
        )


def total(outlooks: Sequence[CellOutlook]) -> dict[str, Any]:
    """Return what the cells take that will run, one after the other."""
    plans = [o.plan for o in outlooks if o.plan is not None and o.will_run]
    states = [o.folder_state for o in outlooks]
    return {
        "cells": len(outlooks),
        "cells_to_run": len(plans),
        "cells_complete": states.count("complete"),
        "cells_refused": states.count("refused"),
        "cells_with_problem": sum(
            o.problem is not None and o.folder_state != "complete" for o in outlooks
        ),
        "trials": sum(p.cell.search.trials for p in plans),
        "search_seconds_expected": sum(p.estimate.search_seconds_expected for p in plans),
        "search_seconds_most": sum(p.estimate.search_seconds_most for p in plans),
        # One cell at a time writes checkpoints; what is kept adds up.
        "running_checkpoint_bytes": max((p.running_checkpoint_bytes for p in plans), default=0),
        "kept_checkpoint_bytes": sum(p.kept_checkpoint_bytes for p in plans),
    }


def folder_state(
    path: Path, cell: Cell, data: Dataset | None, space: SearchSpace | None
) -> tuple[FolderState, str | None]:
    """Look at a cell's folder without locking or changing it."""
    if not path.exists():
        return "new", None
    if data is None or space is None:
        return "refused", "the cell itself has a problem"
    try:
        journal = read_folder(path)
        before = journal.first["cell"]
        space = begun_space(space, before)
        ledger = Ledger(
            journal,
            space=space,
            forced=first_configurations(space, cell),
            search=as_begun(cell, before).search,
            granted_bytes={},
        )
        require_nothing_lost(path, ledger, journal.search)
        is_complete = ledger.is_complete and ledger.trials >= cell.search.trials
    except StudyError as error:
        return "refused", str(error)
    differences = differences_by_part(before, cell, data, path)
    if is_complete:
        # Nothing will be gone on with, so only what was asked must be the same.
        differences = {part: differences[part] for part in ("spec", "data_sha256", "feature_hash")}
    lines = [line for found in differences.values() for line in found]
    if lines:
        return "refused", "; ".join(lines)
    return ("complete" if is_complete else "partial"), None
