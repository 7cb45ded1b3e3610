"""Everything that is known of a cell before its first trial: what the header and --dry-run show."""

import dataclasses
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import psutil
import torch

from study.cluster.resources import Node, TrialResources, plan_resources
from study.cluster.thermal import Temperature, measure
from study.data.baselines import score_baselines
from study.data.config import DataConfig
from study.data.dataset import Dataset
from study.data.power import Power, measure_power
from study.dimension import dimension_values
from study.errors import require
from study.model.memory import step_memory
from study.model.sensitivity import Sensitivity, require_sensitivity
from study.model.sizing import count_parameters
from study.results.progress import architecture
from study.results.records import BaselineRecord
from study.search.estimate import Estimate, estimate_search
from study.search.forced import Forced, first_configurations
from study.search.probe import StepTimes, measure_steps
from study.search.space import SearchSpace, TrialConfig
from study.spec import Cell
from study.training.device import supports_bf16

_PACKAGES = ("ray", "optuna", "torch", "numpy", "pandas", "TA-Lib", "scikit-learn", "arch")
"""Libraries on which a restore or a number depends."""

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
    resources: TrialResources
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
    times: StepTimes | None
    """What the estimate was made from, if it was made here."""
    may_repeat: bool = False
    """May forced configurations be equal?"""

    @property
    def running_checkpoint_bytes(self) -> int:
        """What the checkpoints of the trials that run at once may take on the disk."""
        # Two states, each with the best weights it refers to; a third pair while it is written.
        return self.concurrency * 3 * max(map(_checkpoint_bytes, self.space.configs()))

    @property
    def kept_checkpoint_bytes(self) -> int:
        """What the best weights of all trials may take on the disk in the end."""
        largest = max(count_parameters(config.model) for config in self.space.configs())
        return self.cell.search.trials * _FLOAT_BYTES * largest

    @property
    def baseline(self) -> BaselineRecord:
        """The baseline to beat."""
        return next(b for b in self.baselines if b.name == BASELINE_TO_BEAT)

    def describe(self) -> dict[str, Any]:
        """Return the plan as plain values: for ``--dry-run --json``, the header and cell.yaml."""
        cell, data = self.cell, self.data
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
            "n_rows": data.n_rows,
            "n_features": len(data.feature_names),
            "features": list(data.feature_names),
            "splits": {name: _plain(summary) for name, summary in data.splits.items()},
            "understood": data.understood,
            "warnings": list(data.warnings),
            **describe_space(self.space, bf16=self.bf16),
            "sensitivity": _describe_sensitivity(self.sensitivity),
            "trials": cell.search.trials,
            "scheduler": cell.search.scheduler,
            "device": self.device_type,
            "precision": "bfloat16" if self.bf16 else "float32",
            "trial_resources": self.resources.request(),
            "exclusive": self.resources.exclusive,
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
    times: StepTimes | None = None,
    driver_seconds: float = 0.0,
) -> CellPlan:
    """Check a cell against its data and the cluster, and measure what it will take.

    Args:
        cell: what to search.
        data: its data set.
        space: its search space.
        nodes: the machines of the running Ray cluster.
        device: ``cpu``, ``cuda`` or ``mps``; None follows what Ray assigns.
        concurrency: trials at once; None takes as many as fit.
        estimate: of an earlier plan; None makes one.
        power: of an earlier plan; None measures it.
        times: steps of the same architectures, measured before; None measures them.
        driver_seconds: from the command's start to this call.

    Raises:
        SpecError: a step fits no node, more trials at once are asked for than fit, or the networks
            do not read a feature.
    """
    where = trial_device(nodes, device)
    bf16 = supports_bf16(where)
    resources = _resources(cell, space, nodes, bf16=bf16)
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
        times = times or measure_steps(
            space, data, request=resources.request(), device=device, concurrency=at_once
        )
        estimate = estimate_search(
            space,
            cell.search,
            data,
            forced,
            times,
            concurrency=at_once,
            exclusive=resources.exclusive,
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


def describe_space(space: SearchSpace, *, bf16: bool) -> dict[str, Any]:
    """Return what is known of a search space without a cluster: sizes, and memory of a step."""
    rows = [(count_parameters(config.model), config) for config in space.configs()]
    counts = sorted(count for count, _ in rows)
    steps = [(_step_bytes(c, c.train.effective_batch, bf16=bf16), c) for _, c in rows]
    described: dict[str, Any] = {
        "grid_size": len(counts),
        "params_min": counts[0],
        "params_median": counts[len(counts) // 2],
        "params_max": counts[-1],
        "n_dimensions": space.n_dimensions,
    }
    for name, choose in (("memory_min", min), ("memory_max", max)):
        n_bytes, config = choose(steps, key=lambda step: step[0])
        described[name] = {"bytes": n_bytes, "architecture": architecture(config.flat())}
    return described


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that matter, and a hash of this code."""
    found = {"python": platform.python_version()}
    found |= {name.lower(): importlib.metadata.version(name) for name in _PACKAGES}
    return {**found, "code": _code_hash()}


def process_seconds() -> float:
    """Return how long this process has been running."""
    return time.time() - psutil.Process().create_time()


def machine() -> dict[str, Any]:
    """Return what the driver runs on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _label(data: DataConfig) -> str:
    days = "the next day" if data.horizon == 1 else f"the next {data.horizon} days"
    if data.label_kind == "direction":
        return f"is the close higher after {data.horizon} trading days?"
    return f"does the {data.label_kind} reach +{100 * data.threshold:.4g} % within {days}?"


def _code_hash() -> str:
    """Return the first digits of the sha256 of every module: a commit says nothing of edits."""
    package = Path(__file__).parent.parent
    content = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return content.hexdigest()[:16]


def commit() -> str:
    """Return the commit of the working tree, ``-dirty`` if it has changes; else the version."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return importlib.metadata.version("market-scaling-study")
    return done.stdout.strip()


def trial_device(nodes: Sequence[Node], device: str | None) -> torch.device:
    """Return the kind of device on which trials will run."""
    if device is not None:
        return torch.device(device)
    if not any(node.gpus for node in nodes):
        return torch.device("cpu")
    return torch.device("mps" if torch.backends.mps.is_available() else "cuda")


def _resources(
    cell: Cell, space: SearchSpace, nodes: Sequence[Node], *, bf16: bool
) -> TrialResources:
    """Return what each trial asks for.

    Across budgets too it is what the largest model needs: only workers that hold the same are
    handed from trial to trial, and a new one takes five to ten seconds.
    """
    configs = list(space.configs())
    batches = dimension_values(space.train["effective_batch"])
    batch = max(int(cast(int, value)) for value in batches)
    return plan_resources(
        nodes,
        wanted_bytes=max(_step_bytes(config, batch, bf16=bf16) for config in configs),
        least_bytes=max(_step_bytes(config, 1, bf16=bf16) for config in configs),
        label=cell.name,
    )


def _step_bytes(config: TrialConfig, micro_batch: int, *, bf16: bool) -> int:
    ema = config.train.ema_decay > 0
    return step_memory(config.model, micro_batch, bf16=bf16, ema=ema).total


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
        return {"name": slot.name, "problem": slot.problem}
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
