"""Plans a selection of cells: a plan of each, or the reason why it cannot run here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from study.cluster.resources import Node
from study.data.data_config import DataConfig
from study.data.panel.panel import Panel
from study.data.prices import Prices
from study.errors import StudyError
from study.planning.cell_plan import CellPlan, plan_cell, trial_device
from study.planning.cell_series import (
    AnyDataset,
    build_data,
    cache_folder,
    load_series,
    sample_shape,
)
from study.planning.feasibility import InfeasibleError, begun_space
from study.planning.plan_summary import plan_summary, summary_without_plan
from study.planning.probing.remembered_times import RememberedTimes
from study.planning.probing.step_probe import Probing
from study.planning.simple_models import SimpleModels
from study.results.plans.plan_record import FolderState, PlanRow, PlanSummary, PlanTotal
from study.search.beyond import Beyond
from study.search.cell_folder import (
    as_begun,
    continued,
    differences_by_part,
    epochs_of,
    read_folder,
    require_nothing_lost,
)
from study.search.forced import first_configurations
from study.search.ledger import Ledger
from study.search.space import SearchSpace, build_space
from study.spec.specification import Cell

_NEVER_CHANGED = ("spec", "data_sha256", "feature_hash")
"""Parts of a search's identity that must be the same even where nothing of it is left to run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellOutlook:
    """One cell of a selection, with its plan and the state of its folder."""

    cell: Cell
    plan: CellPlan | None
    """Plan of the cell; None if it cannot run here."""
    row: PlanRow
    """All that is known of the cell and its folder."""

    @property
    def will_run(self) -> bool:
        """Are there trials left to run, and can they run here?"""
        return self.plan is not None and self.row.folder_state in ("new", "partial")


def plan_cells(
    cells: Sequence[Cell],
    nodes: Sequence[Node],
    results: Path,
    *,
    device: str | None,
    capture: bool,
    concurrency: int | None,
    driver_seconds: float,
) -> Iterator[CellOutlook]:
    """Yield a plan of each cell, in order.

    Steps are measured once per budget: the models of its horizons are the same. What an earlier
    command measured here is not measured again. Baselines are fitted once per horizon: its budgets
    have the same data.

    Args:
        cells: the cells to plan; all read the same prices.
        nodes: the machines of the running Ray cluster.
        results: the results folder, absolute; only the measured times are written there, into the
            cache.
        device: ``cpu``, ``cuda`` or ``mps``; None follows what Ray assigns.
        capture: are training steps captured as graphs of the device, where it can?
        concurrency: number of trials at once; None takes as many as fit.
        driver_seconds: seconds from a command's start to its first request to Ray.

    Raises:
        DataError: the prices cannot be read.
    """
    if not cells:
        return
    series = load_series(cells[0].data, results)
    where = trial_device(nodes, device)
    fitted: dict[DataConfig, SimpleModels] = {}
    remembered = RememberedTimes(cache_folder(results), nodes)
    with Probing(remembered, n_nodes=len(nodes)) as probing:
        for cell in cells:
            known = _Known(cell)
            plan = None
            try:
                space, data, is_begun = known.read(series, results)
                asked = known.cell
                plan = plan_cell(
                    asked, data, space, nodes,
                    device=device, capture=capture, concurrency=concurrency,
                    simple=fitted.get(asked.data), probing=probing,
                    driver_seconds=driver_seconds, is_begun=is_begun, may_write=False,
                )  # fmt: skip
            except StudyError as error:
                row = known.row_of_problem(error, results, where)
            else:
                fitted[asked.data] = plan.simple
                row = known.row(plan_summary(plan))
            yield CellOutlook(cell=cell, plan=plan, row=row)


class _Known:
    """The parts of a cell that could be read so far."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        """The cell; that of a search begun before has the search's present number of trials."""
        self._data: AnyDataset | None = None
        self._space: SearchSpace | None = None
        self._state: FolderState = "new"
        self._folder_problem: str | None = None

    def read(self, series: Prices | Panel, results: Path) -> tuple[SearchSpace, AnyDataset, bool]:
        """Return the cell's search space, its data, and whether its search was begun.

        Raises:
            StudyError: one of them cannot be read or built; the parts read before are kept.
        """
        path = results / self.cell.name
        self._data = build_data(self.cell.data, results, series, may_write=False)
        self._space = build_space(self.cell, **sample_shape(self._data))
        found = folder_state(path, self.cell, self._data, self._space)
        self._state, self._folder_problem = found
        is_begun = self._state in ("complete", "partial")
        if is_begun:
            journal = read_folder(path)
            self._space = begun_space(self._space, journal.first["cell"])
            self.cell = continued(journal, self.cell, path)
        return self._space, self._data, is_begun

    def row(self, summary: PlanSummary) -> PlanRow:
        """Return the row of a cell with this plan."""
        return PlanRow(
            summary=summary, folder_state=self._state, folder_problem=self._folder_problem
        )

    def row_of_problem(self, error: StudyError, results: Path, where: torch.device) -> PlanRow:
        """Return the row of a cell that cannot run, with all that is known of it."""
        if self._space is None:
            found = folder_state(results / self.cell.name, self.cell, None, None)
            self._state, self._folder_problem = found
        feasible = False if isinstance(error, InfeasibleError) else None
        return self.row(
            summary_without_plan(
                self.cell, str(error), self._data, self._space, where, feasible=feasible
            )
        )


def total(outlooks: Sequence[CellOutlook]) -> PlanTotal:
    """Return the totals of the cells that will run, one after the other."""
    plans = [o.plan for o in outlooks if o.plan is not None and o.will_run]
    states = [o.row.folder_state for o in outlooks]
    return PlanTotal(
        cells=len(outlooks),
        cells_to_run=len(plans),
        cells_complete=states.count("complete"),
        cells_refused=states.count("refused"),
        cells_with_problem=sum(
            o.plan is None and o.row.folder_state != "complete" for o in outlooks
        ),
        trials=sum(p.cell.search.trials for p in plans),
        search_seconds_expected=sum(p.estimate.search_seconds_expected for p in plans),
        search_seconds_most=sum(p.estimate.search_seconds_most for p in plans),
        # One cell at a time writes checkpoints of running trials; those that are kept add up.
        running_checkpoint_bytes=max((p.running_checkpoint_bytes for p in plans), default=0),
        kept_checkpoint_bytes=sum(p.kept_checkpoint_bytes for p in plans),
    )


def folder_state(
    path: Path, cell: Cell, data: AnyDataset | None, space: SearchSpace | None
) -> tuple[FolderState, str | None]:
    """Look at a cell's folder without locking or changing it."""
    if not path.exists():
        return "new", None
    if data is None or space is None:
        return "refused", "the cell itself has a problem"
    try:
        journal = read_folder(path)
        before = journal.first["cell"]
        differences = differences_by_part(before, cell, data, path)
        lines = [line for part in _NEVER_CHANGED for line in differences[part]]
        if lines:
            # Trials of other settings cannot be replayed with these.
            return "refused", "; ".join(lines)
        space, now = begun_space(space, before), continued(journal, cell, path)
        ledger = Ledger(
            journal,
            space=space,
            forced=first_configurations(space, cell),
            search=as_begun(cell, before).search,
            granted_bytes={},
            beyond=Beyond(cell, lambda _: True) if now.search.beyond_edges else None,
        )
        require_nothing_lost(path, ledger, journal.search)
        is_complete = (
            ledger.is_complete
            and ledger.trials >= cell.search.trials
            and (ledger.epochs_asked or 0) >= (epochs_of(cell) or 0)
        )
    except StudyError as error:
        return "refused", str(error)
    if is_complete:
        # Nothing will be resumed, so that versions and folder may be others.
        return "complete", None
    lines = [line for found in differences.values() for line in found]
    return ("refused", "; ".join(lines)) if lines else ("partial", None)
