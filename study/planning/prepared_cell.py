"""A cell with its data and its space: all that can be checked before Ray starts, and its plan."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.cluster.resources import Node
from study.cluster.runtime import cluster
from study.planning.cell_plan import CellPlan, plan_cell, trial_device
from study.planning.cell_series import AnyDataset, build_data, cache_folder, sample_shape
from study.planning.device_sharing import recorded_sharing
from study.planning.feasibility import InfeasibleError, begun_space
from study.planning.plan_summary import summary_without_plan
from study.planning.probing.remembered_times import RememberedTimes
from study.planning.probing.step_probe import Probing
from study.planning.simple_models import read_simple_power
from study.results.plans.plan_file import read_measurements
from study.results.plans.plan_record import Estimate, PlanSummary
from study.results.provenance import process_seconds
from study.search.known.earlier_trials import Imported, import_trials
from study.search.space import SearchSpace, build_space
from study.spec.specification import Cell
from study.training.device import resolve_device


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanOptions:
    """How a cell is planned and where it would run; the cell itself says what is searched."""

    results: Path
    """The results folder, absolute."""
    concurrency: int | None = None
    """Number of trials at once; None takes as many as fit."""
    device: str | None = None
    """Kind of device, ``cpu``, ``cuda`` or ``mps``; None follows what Ray assigns."""
    capture: bool = True
    """Are training steps captured as graphs of the device, where it can?"""
    address: str | None = None
    """Address of a running Ray cluster; None starts one."""
    estimate: Path | None = None
    """File of a plan whose estimate is used; None measures a few steps."""
    import_trials: Path | None = None
    """Folder of an earlier search whose trials a new one imports."""
    may_write: bool = True
    """May inputs and baselines of a panel, and times of steps, be kept in the results folder? Not
    by a dry run."""

    def cluster(self) -> AbstractContextManager[list[Node]]:
        """Start Ray, or join the cluster that runs, for as long as the block lasts."""
        return cluster(self.address, use_accelerators=self.device != "cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedCell:
    """A cell whose data, space and earlier trials have been read and are consistent."""

    cell: Cell
    options: PlanOptions
    data: AnyDataset
    space: SearchSpace
    """All architectures that the budgets allow or, of a search that was begun, those that it has.
    """
    known: Mapping[str, Any] | None
    """An earlier plan, whose estimate and power are used; None measures both."""
    imported: Imported | None
    """Trials of an earlier search that lie in ``space``."""
    is_begun: bool = False
    """Is the search resumed?"""

    def resuming(self, begun: Mapping[str, Any] | None, continued: Cell | None) -> "PreparedCell":
        """Return the cell as its search was begun, or unchanged if none was.

        The estimate was measured when the search began, so a resumed one starts at once.

        Args:
            begun: the description of the cell in the first event of the journal; None without one.
            continued: the cell with its present number of trials; None without a search.
        """
        if begun is None or continued is None:
            return self
        space = begun_space(self.space, begun)
        return dataclasses.replace(self, cell=continued, space=space, known=begun, is_begun=True)

    def plan(
        self, nodes: Sequence[Node], say: Callable[[str], None] = lambda line: None
    ) -> CellPlan:
        """Check the cell against the cluster, and measure the time it will take.

        Args:
            nodes: the machines of the running Ray cluster.
            say: takes the name of each part that takes more than two seconds, before it begins.

        Raises:
            InfeasibleError: no architecture fits a node or, if the search was begun, one does not.
            SpecError: more trials are to run at once than fit, or the networks ignore a feature.
        """
        estimate, power, per_device = None, None, None
        if self.known is not None:
            where = str(self.options.results / self.cell.name)
            estimate = Estimate.from_json(self.known["estimate"], where)
            power = read_simple_power(self.cell.data, self.known.get("power"))
            per_device = recorded_sharing(self.known)
        cache, may_write = cache_folder(self.options.results), self.options.may_write
        remembered = RememberedTimes(cache, nodes, may_write=may_write)
        with Probing(remembered, n_nodes=len(nodes)) as probing:
            return plan_cell(
                self.cell,
                self.data,
                self.space,
                nodes,
                device=self.options.device,
                capture=self.options.capture,
                concurrency=self.options.concurrency,
                estimate=estimate,
                power=power,
                per_device=per_device,
                probing=probing,
                driver_seconds=process_seconds(),
                is_searched_now=True,
                is_begun=self.is_begun,
                may_write=may_write,
                say=say,
            )

    def imported_by(self, plan: CellPlan) -> Imported | None:
        """Return the earlier trials that the planned space holds: not what the plan has left out.

        Nor those of another memory mode than the plan has for their architecture.

        Raises:
            StudyError: there is none.
        """
        if self.options.import_trials is None or plan.space == self.space:
            return self.imported
        return import_trials(self.options.import_trials, self.cell, self.data, plan.space)

    def describe_infeasible(self, error: InfeasibleError, nodes: Sequence[Node]) -> PlanSummary:
        """Return what is known of the cell where none of its architectures fits."""
        where = trial_device(nodes, self.options.device)
        return summary_without_plan(
            self.cell, str(error), self.data, self.space, where, feasible=False
        )


def prepare(cell: Cell, options: PlanOptions, *, is_resumed: bool = False) -> PreparedCell:
    """Read all that a plan needs; Ray is not started, and nothing is written.

    Args:
        cell: the cell to search.
        options: where it would run, and the files of earlier plans and searches.
        is_resumed: is a search resumed? It keeps its own estimate, so no other one is read.

    Raises:
        StudyError: the data, the space, an earlier plan or earlier trials do not suit the cell, or
            this machine has no such device.
    """
    data = build_data(cell.data, options.results, may_write=options.may_write)
    space = build_space(cell, **sample_shape(data))
    if options.device is not None and options.address is None:
        resolve_device(0.0, options.device)
    imported, known = None, None
    if options.import_trials is not None:
        imported = import_trials(options.import_trials, cell, data, space)
    if options.estimate is not None and not is_resumed:
        known = read_measurements(options.estimate, cell.name)
    return PreparedCell(
        cell=cell, options=options, data=data, space=space, known=known, imported=imported
    )
