"""How long a search will take: measured steps, played through the search's own rungs and slots."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import optuna

from study.cluster.resources import SearchResources
from study.data.dataset import Dataset
from study.errors import SpecError, require, shortened
from study.fields import rebuild, require_type
from study.planning.simulation import Played, TrialCost, play
from study.planning.step_times import StepTimes
from study.search.forced import Forced
from study.search.space import SearchSpace, TrialConfig
from study.spec.specification import SearchConfig
from study.storage.documents import load_json

_REPORT_SECONDS = 0.01
"""Of an epoch, outside training, validation and checkpoint: Ray's way to the driver and back, the
journal, the records (tests/bench/test_plan_time.py prints it)."""

_TRIAL_SECONDS = 0.3
"""From the end of a slot's trial to the first step of its next in the same worker (likewise)."""

_END_SECONDS = 3.0
"""From the last trial's end to that of the command: records, and Ray's shutdown (likewise)."""

_PLAYED = 30
"""Searches that are played for a mean."""

_POOL = 200
"""Configurations that are drawn for them."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Seconds, for a search of which no trial has run yet."""

    epoch_seconds_min: float
    epoch_seconds_median: float
    epoch_seconds_max: float
    search_seconds_expected: float
    """With ASHA, from the command's start to its end."""
    search_seconds_most: float
    """If every trial runs its whole schedule."""
    trained_share: float
    """Epochs that ASHA leaves, of all epochs of all schedules."""
    start_seconds: float
    """Of both, what comes before the first trial's first step."""
    epoch_seconds: Mapping[str, float]
    """By width and depth, as ``d64 L48``: what one epoch of such a model takes."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], where: str) -> "Estimate":
        """Rebuild what ``dataclasses.asdict`` made; other keys are ignored.

        Raises:
            SpecError: a key is missing or no number.
        """
        rule = f"{where}: must hold the estimate of a plan"
        return rebuild(cls, raw, rule, "Write it with python -m study.plan --json.", SpecError)


class _PlannedCell(TypedDict):
    cell: str
    estimate: Mapping[str, Any] | None


class _Plan(TypedDict):
    cells: Sequence[_PlannedCell]


def shape_name(model: Any) -> str:
    """Return the key of ``Estimate.epoch_seconds`` for a model's width and depth."""
    return f"d{model.d_model} L{model.n_layers}"


def read_plan(path: Path, cell: str) -> Mapping[str, Any]:
    """Return one cell, its estimate included, from a file that ``study.plan --json`` wrote.

    Raises:
        SpecError: the file is unreadable, or the cell is not in it or cannot run.
    """
    rule = f"must be what study.plan --json wrote, with the estimate of {cell}"
    remedy = "Plan that cell, or leave --estimate out: steps are then measured now."
    raw = load_json(path, remedy, SpecError)
    require_type(raw, _Plan, f"{path}: {rule}", remedy, SpecError)
    found = {plan["cell"]: plan for plan in raw["cells"] if plan["estimate"] is not None}
    require(
        cell in found,
        str(path),
        rule,
        got=shortened(", ".join(found)) or "no cell",
        remedy=remedy,
    )
    plan: Mapping[str, Any] = found[cell]
    return plan


def estimate_search(
    space: SearchSpace,
    search: SearchConfig,
    data: Dataset,
    forced: Sequence[Forced],
    times: Mapping[str, StepTimes],
    *,
    concurrency: int,
    resources: SearchResources,
    driver_seconds: float,
) -> Estimate:
    """Play a search with measured steps.

    Args:
        space: what is drawn from.
        search: number of trials and ASHA's settings.
        data: the cell's data set.
        forced: what is tried first.
        times: by budget, measured steps of this space's architectures.
        concurrency: trials at once.
        resources: what trials ask for.
        driver_seconds: from the command's start to the first question to Ray.
    """

    def cost(config: TrialConfig) -> TrialCost:
        own = times[config.budget]
        seconds = own.epoch_seconds(config, len(data.train_days), len(data.validation_days))
        return TrialCost(config.budget, config.train.epochs, seconds + _REPORT_SECONDS)

    rows = [(shape_name(c.model), cost(c).epoch_seconds) for c in space.configs()]
    by_shape: dict[str, list[float]] = {}
    for name, seconds in rows:
        by_shape.setdefault(name, []).append(seconds)

    rng = np.random.default_rng(search.seed)
    first = [cost(slot.config) for slot in forced if slot.config is not None][: search.trials]
    pool = [cost(config) for config in _drawn(space, search.seed)]
    queues = [
        first + [pool[i] for i in rng.integers(len(pool), size=search.trials - len(first))]
        for _ in range(_PLAYED)
    ]
    worker_seconds = max(each.worker_seconds for each in times.values())

    def played(settings: SearchConfig) -> list[Played]:
        return [
            play(
                queue,
                settings,
                slots=concurrency,
                resources=resources,
                trial_seconds=_TRIAL_SECONDS,
                worker_seconds=worker_seconds,
                rng=rng,
            )
            for queue in queues
        ]

    with_asha = played(search)
    whole = played(dataclasses.replace(search, scheduler="fifo"))
    around = driver_seconds + _END_SECONDS
    seconds_by_row = sorted(seconds for _, seconds in rows)
    return Estimate(
        epoch_seconds_min=seconds_by_row[0],
        epoch_seconds_median=seconds_by_row[len(rows) // 2],
        epoch_seconds_max=seconds_by_row[-1],
        search_seconds_expected=around + _mean(one.seconds for one in with_asha),
        search_seconds_most=around + _mean(one.seconds for one in whole),
        trained_share=_mean(one.trained_share for one in with_asha),
        start_seconds=driver_seconds + worker_seconds,
        epoch_seconds={name: statistics.fmean(found) for name, found in by_shape.items()},
    )


def _drawn(space: SearchSpace, seed: int) -> list[TrialConfig]:
    """Draw as the sampler's random trials are: not uniform over the grid, but width first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.sample(study.ask()) for _ in range(_POOL)]


def _mean(values: Any) -> float:
    return float(statistics.fmean(values))
