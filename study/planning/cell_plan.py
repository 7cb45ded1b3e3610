"""Everything that is known of a cell before its first trial: what the header and --dry-run show."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from study.cluster.resources import Node, SearchResources, TrialResources, plan_search
from study.cluster.thermal import Temperature, measure
from study.data.data_config import DataConfig
from study.data.dataset import Dataset
from study.data.evaluation.baselines import score_baselines
from study.data.evaluation.power import Power, measure_power
from study.errors import require
from study.model.sensitivity import Sensitivity, require_sensitivity
from study.model.sizing import count_parameters
from study.planning.feasibility import fitting_space, require_fits, step_bytes
from study.planning.step_times import StepTimes, measure_search
from study.planning.time_estimate import Estimate, estimate_search, shape_name
from study.results.records import BaselineRecord
from study.results.short_forms import architecture
from study.search.forced import Forced, first_configurations
from study.search.space import SearchSpace, TrialConfig
from study.spec.dimension import numbers
from study.spec.specification import Budget, Cell
from study.training.device import supports_bf16

_FLOAT_BYTES = 4

BASELINE_TO_BEAT = "logistic"
"""The baseline that the terminal shows beside the best so far."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CellPlan:
    """A cell ready to run."""

    cell: Cell
    data: Dataset
    space: SearchSpace
    forced: tuple[Forced, ...]
    resources: SearchResources
    concurrency: int
    device: str | None
    """The user's choice; None follows what Ray assigns."""
    device_type: str
    """``cpu``, ``cuda`` or ``mps``, where the trials will run."""
    bf16: bool
    """Are matrix products in bfloat16 there?"""
    baselines: tuple[BaselineRecord, ...]
    baseline_losses: npt.NDArray[np.float64]
    """Daily log-losses of the baseline to beat on the validation days."""
    sensitivity: Sensitivity
    """Of the smallest architecture to each feature."""
    power: Power
    """What differences the days can show."""
    estimate: Estimate
    temperature: Temperature
    """Of this machine, when the plan was made."""
    times: Mapping[str, StepTimes] | None
    """By budget, what the estimate was made from, if it was made here."""
    may_repeat: bool = False
    """May forced configurations be equal?"""

    @property
    def share_bytes(self) -> dict[str, int]:
        """By budget, what a training step may use of its device's memory."""
        return {budget: each.share_bytes for budget, each in self.resources.by_budget.items()}

    @property
    def running_checkpoint_bytes(self) -> int:
        """What the checkpoints of the trials that run at once may take on the disk."""
        # Two states, each with the best weights it refers to; a third pair while it is written.
        # No mixture of budgets takes more than the worst of them alone.
        return max(
            3 * min(self.concurrency, each.capacity) * _checkpoint_bytes(config)
            for config in self.space.configs()
            for each in (self.resources.by_budget[config.budget],)
        )

    @property
    def kept_checkpoint_bytes(self) -> int:
        """What the best weights of all trials may take on the disk in the end."""
        largest = max(count_parameters(config.model) for config in self.space.configs())
        return self.cell.search.trials * _FLOAT_BYTES * largest

    def _describe_budgets(self) -> list[dict[str, Any]]:
        """Describe the budgets of the search space: final runs of one have no other."""
        there = {shape.budget for shape in self.space.shapes}
        return [self._describe_budget(each) for each in self.cell.budgets if each.label in there]

    def _describe_budget(self, budget: Budget) -> dict[str, Any]:
        """Return the architectures of a budget, what a step of them takes, and an epoch."""
        shapes = tuple(shape for shape in self.space.shapes if shape.budget == budget.label)
        own = dataclasses.replace(self.space, shapes=shapes)
        known = self.estimate.epoch_seconds
        names = {shape_name(shape) for shape in shapes}
        seconds = [known[name] for name in names if name in known]
        return {
            "label": budget.label,
            "target": budget.target,
            **describe_space(own, bf16=self.bf16),
            "n_forced": sum(
                slot.config is not None and slot.config.budget == budget.label
                for slot in self.forced
            ),
            # An estimate of an earlier plan may know other shapes.
            "epoch_seconds_min": min(seconds, default=None),
            "epoch_seconds_max": max(seconds, default=None),
        }

    @property
    def baseline(self) -> BaselineRecord:
        """The baseline to beat."""
        return next(b for b in self.baselines if b.name == BASELINE_TO_BEAT)

    def describe(self) -> dict[str, Any]:
        """Return the plan as plain values: for ``--dry-run --json``, the header and cell.yaml."""
        return {
            **describe_cell(
                self.cell, self.data, self.space, device=self.device_type, bf16=self.bf16
            ),
            "budgets": self._describe_budgets(),
            "feasible": True,
            "problem": None,
            "sensitivity": _describe_sensitivity(self.sensitivity),
            # The most that a trial asks for, and what those of each budget do.
            "trial_resources": self.resources.largest.request(),
            "budget_resources": {
                budget: _describe_resources(each)
                for budget, each in self.resources.by_budget.items()
            },
            "exclusive": self.resources.largest.exclusive,
            "capacity": self.resources.capacity,
            "concurrency": self.concurrency,
            "running_checkpoint_bytes": self.running_checkpoint_bytes,
            "kept_checkpoint_bytes": self.kept_checkpoint_bytes,
            "estimate": dataclasses.asdict(self.estimate),
            "temperature": dataclasses.asdict(self.temperature),
            "power": dataclasses.asdict(self.power),
            "baselines": [dataclasses.asdict(baseline) for baseline in self.baselines],
            "forced": [_describe_forced(slot, self.cell) for slot in self.forced],
        }


def plan_cell(
    cell: Cell,
    data: Dataset,
    space: SearchSpace,
    nodes: Sequence[Node],
    *,
    device: str | None,
    concurrency: int | None,
    estimate: Estimate | None = None,
    power: Power | None = None,
    times: Mapping[str, StepTimes] | None = None,
    driver_seconds: float = 0.0,
    is_begun: bool = False,
) -> CellPlan:
    """Check a cell against its data and the cluster, and measure what it will take.

    Args:
        cell: what to search.
        data: its data set.
        space: its search space; what no node can train is left out of it.
        nodes: the machines of the running Ray cluster.
        device: ``cpu``, ``cuda`` or ``mps``; None follows what Ray assigns.
        concurrency: trials at once; None takes as many as fit.
        estimate: of an earlier plan; None makes one.
        power: of an earlier plan; None measures it.
        times: by budget, steps of the same architectures, measured before; None measures them.
        driver_seconds: from the command's start to this call.
        is_begun: is ``space`` that of a search that goes on? It then stays as it is.

    Raises:
        InfeasibleError: no architecture fits a node; of a search that was begun, not all do.
        SpecError: more trials at once are asked for than fit, or the networks do not read a
            feature.
    """
    where = trial_device(nodes, device)
    bf16 = supports_bf16(where)
    if is_begun:
        require_fits(space, nodes, bf16=bf16, label=cell.name)
    else:
        space = fitting_space(space, nodes, bf16=bf16, label=cell.name)
    resources = _resources(space, nodes, bf16=bf16)
    smallest = min(space.configs(), key=lambda c: (count_parameters(c.model), c.model.n_heads))
    sensitivity = require_sensitivity(smallest.model, data.feature_names)
    require(
        concurrency is None or 1 <= concurrency <= resources.capacity,
        "--concurrency",
        f"must lie between 1 and {resources.capacity}, the trials that fit at once",
        got=f"--concurrency {concurrency}",
        remedy="Leave it at auto, or add nodes.",
    )
    at_once = min(concurrency or resources.capacity, cell.search.trials)
    forced = first_configurations(space, cell)
    baselines = score_baselines(data)
    if estimate is None:
        times = times or measure_search(space, data, resources, device=device, concurrency=at_once)
        estimate = estimate_search(
            space,
            cell.search,
            data,
            forced,
            times,
            concurrency=at_once,
            resources=resources,
            driver_seconds=driver_seconds,
        )
    return CellPlan(
        cell=cell,
        data=data,
        space=space,
        forced=forced,
        resources=resources,
        concurrency=at_once,
        device=device,
        device_type=where.type,
        bf16=bf16,
        baselines=tuple(
            BaselineRecord(
                name=b.name,
                log_loss=b.log_loss,
                log_loss_se=b.log_loss_se,
                auc=b.auc,
                skill=b.skill,
            )
            for b in baselines
        ),
        baseline_losses=next(b.losses for b in baselines if b.name == BASELINE_TO_BEAT),
        sensitivity=sensitivity,
        power=power or measure_power(data),
        estimate=estimate,
        temperature=measure(),
        times=times,
    )


_OF_A_PLAN = (
    "trial_resources", "budget_resources", "exclusive", "capacity", "concurrency", "estimate",
    "running_checkpoint_bytes", "kept_checkpoint_bytes", "power", "sensitivity", "temperature",
    "baselines", "forced", "budgets",
)  # fmt: skip
"""Keys that only a cell which can run has; others get null."""


def describe_without_plan(
    cell: Cell,
    problem: str,
    data: Dataset | None = None,
    space: SearchSpace | None = None,
    where: torch.device | None = None,
    *,
    feasible: bool | None,
) -> dict[str, Any]:
    """Return what is known of a cell that cannot run here, with the keys of one that can.

    Args:
        cell: the cell.
        problem: why it cannot.
        data: its data set, if there is one.
        space: its search space, all that its budget affords, if there is one.
        where: the kind of device on which trials would run, if it has a space.
        feasible: False if nothing of it fits a node; None if that is not known.
    """
    known = _describe_question(cell)
    if data is not None and space is not None and where is not None:
        bf16 = supports_bf16(where)
        known = describe_cell(cell, data, space, device=where.type, bf16=bf16)
    return {**dict.fromkeys(_OF_A_PLAN), **known, "feasible": feasible, "problem": problem}


def describe_cell(
    cell: Cell, data: Dataset, space: SearchSpace, *, device: str, bf16: bool
) -> dict[str, Any]:
    """Return what is known of a cell whether or not it can run here."""
    return {
        **_describe_question(cell),
        "n_rows": data.n_rows,
        "n_features": len(data.feature_names),
        "features": list(data.feature_names),
        "splits": {name: _plain(summary) for name, summary in data.splits.items()},
        "understood": data.understood,
        "warnings": list(data.warnings),
        **describe_space(space, bf16=bf16),
        "device": device,
        "precision": "bfloat16" if bf16 else "float32",
    }


def _describe_question(cell: Cell) -> dict[str, Any]:
    return {
        "cell": cell.name,
        "study": cell.study,
        "budget": cell.budget_label,
        "phase": cell.phase,
        "metric": cell.search.metric,
        "horizon": cell.data.horizon,
        "task": cell.data.task,
        "label": _label(cell.data),
        "source": cell.data.source,
        "tier": cell.data.tier,
        "normalization": cell.data.normalization,
        "trials": cell.search.trials,
        "scheduler": cell.search.scheduler,
    }


def describe_space(space: SearchSpace, *, bf16: bool) -> dict[str, Any]:
    """Return the sizes of a search space, the memory of a step, and what was left out of it."""
    rows = [(count_parameters(config.model), config) for config in space.configs()]
    counts = sorted(count for count, _ in rows)
    steps = [(step_bytes(c, c.train.effective_batch, bf16=bf16), c) for _, c in rows]
    described: dict[str, Any] = {
        "grid_size": len(counts),
        "params_min": counts[0],
        "params_median": counts[len(counts) // 2],
        "params_max": counts[-1],
        "n_dimensions": space.n_dimensions,
        "left_out": None if space.left_out is None else space.left_out.to_json(),
    }
    for name, choose in (("memory_min", min), ("memory_max", max)):
        n_bytes, config = choose(steps, key=lambda step: step[0])
        described[name] = {"bytes": n_bytes, "architecture": architecture(config.flat())}
    return described


def _label(data: DataConfig) -> str:
    days = "the next day" if data.horizon == 1 else f"the next {data.horizon} days"
    if data.label_kind == "direction":
        return f"is the close higher after {data.horizon} trading days?"
    return f"does the {data.label_kind} reach +{100 * data.threshold:.4g} % within {days}?"


def trial_device(nodes: Sequence[Node], device: str | None) -> torch.device:
    """Return the kind of device on which trials will run."""
    if device is not None:
        return torch.device(device)
    if not any(node.gpus for node in nodes):
        return torch.device("cpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cuda")


def _resources(space: SearchSpace, nodes: Sequence[Node], *, bf16: bool) -> SearchResources:
    """Return what trials ask for: what the largest model of their budget needs."""
    batch = int(max(numbers(space.train["effective_batch"])))
    wanted: dict[str, int] = {}
    for config in space.configs():
        step = step_bytes(config, batch, bf16=bf16)
        wanted[config.budget] = max(step, wanted.get(config.budget, 0))
    return plan_search(nodes, wanted)


def _describe_resources(resources: TrialResources) -> dict[str, Any]:
    return {
        "request": resources.request(),
        "exclusive": resources.exclusive,
        "capacity": resources.capacity,
    }


def _checkpoint_bytes(config: TrialConfig) -> int:
    """Return the size of a state (weights, two moments, average) and of its best weights."""
    copies = 4 + (config.train.ema_decay > 0)
    return copies * _FLOAT_BYTES * count_parameters(config.model)


def _plain(summary: Any) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int | float | None) else str(value)
        for name, value in dataclasses.asdict(summary).items()
    }


def _describe_sensitivity(sensitivity: Sensitivity) -> dict[str, Any]:
    feature, change = sensitivity.least
    return {"least": {"feature": feature, "change": change}}


def _describe_forced(slot: Forced, cell: Cell) -> dict[str, Any]:
    if slot.config is None:
        return {"name": slot.name, "group": slot.group, "problem": slot.problem}
    model, count = slot.config.model, count_parameters(slot.config.model)
    (target,) = (b.target for b in cell.budgets if b.label == slot.config.budget)
    return {
        "name": slot.name,
        "group": slot.group,
        "budget": slot.config.budget,
        "param_count": count,
        "budget_share": count / target,
        # What is usually written for the size of a transformer: layers alone, of d_ff = 4 d_model.
        "param_count_12Ld2": 12 * model.n_layers * model.d_model**2,
        "architecture": {**dataclasses.asdict(model), "d_ff": model.d_ff},
        "training": dataclasses.asdict(slot.config.train),
    }
