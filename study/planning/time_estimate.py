"""How long a search will take: measured steps, simulated with the search's own rungs and slots.

A search takes, from its command to its end:

- the start of the command: imports, data, Ray, the MPS daemon, and the plan with its timed steps;
- the simulated trials in their slots. The first of each slot waits for its worker. Each trial waits
  for its model, its first steps and, on a device that captures them, its graphs. Each epoch has its
  steps, its validation, its share of the checkpoints, and its report;
- the end of the command.
"""

import dataclasses
import functools
import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import optuna

from study.cluster.resources import SearchResources
from study.planning.cell_series import AnyDataset
from study.planning.simulation import TrialCost, play_plan
from study.planning.step_times import StepTimes
from study.results.plans.grid_record import MemoryMode, ModeRecord
from study.results.plans.plan_record import Estimate, shape_name
from study.results.scheduling.rungs import rung_epochs
from study.search.forced import Forced
from study.search.rungs import milestones
from study.search.space import SearchSpace, TrialConfig
from study.spec.search_config import SearchConfig

_REPORT_SECONDS = 0.01
"""Seconds of an epoch outside training, validation and checkpoint: the message to the driver and
its answer through Ray, the journal, the records; measured by tests/bench/test_plan_time.py."""

_TRIAL_SECONDS = 0.3
"""Seconds from the end of a slot's trial to the first step of its next one in the same worker, for
a small model that is built in no time; measured by tests/bench/test_plan_time.py."""

_END_SECONDS = 3.0
"""Seconds from the last trial's end to that of the command, for records and Ray's shutdown;
measured by tests/bench/test_plan_time.py."""

RECOMPUTED = 4 / 3
"""Matrix products of a lean step by those of a full one: a backward pass costs two forward passes,
and a lean step has a second forward pass."""

_N_PLAYED = 30
"""Number of simulated searches over which a mean is taken."""

_N_DRAWN = 200
"""Number of configurations that are drawn, from which all simulated searches take theirs."""


def estimate_search(
    space: SearchSpace,
    search: SearchConfig,
    data: AnyDataset,
    forced: Sequence[Forced],
    times: Mapping[str, StepTimes],
    *,
    concurrency: int,
    resources: SearchResources,
    driver_seconds: float,
    planning_seconds: float,
) -> Estimate:
    """Simulate a search with measured steps.

    Args:
        space: search space from which configurations are drawn.
        search: number of trials and ASHA's settings.
        data: the cell's data set.
        forced: configurations that are tried first.
        times: measured steps of this space's architectures, by budget.
        concurrency: number of trials at once.
        resources: resources that trials request.
        driver_seconds: seconds from the command's start to the beginning of its plan.
        planning_seconds: seconds from there to its end, the timed steps included; 0 for a search
            that is given the times.
    """
    cost = functools.partial(_cost, times=times, data=data, search=search)
    by_shape: dict[str, list[float]] = {}
    for config in space.configs():
        name = shape_name(config.model.d_model, config.model.n_layers)
        by_shape.setdefault(name, []).append(cost(config).epoch_seconds)
    seconds_by_row = sorted(itertools.chain.from_iterable(by_shape.values()))
    rng = np.random.default_rng(search.seed)
    first = [cost(slot.config) for slot in forced if slot.config is not None]
    pool = [cost(config) for config in _drawn(space, search.seed)]
    queues = _queues(first[: search.trials], pool, search, rng)
    worker_seconds = max(each.worker_seconds for each in times.values())
    played = functools.partial(
        play_plan, slots=concurrency, resources=resources, worker_seconds=worker_seconds, rng=rng
    )
    with_asha = [played(queue, search) for queue in queues]
    without = dataclasses.replace(search, scheduler="fifo")
    whole = [played(queue, without) for queue in queues]
    start_seconds = driver_seconds + planning_seconds
    around = start_seconds + _END_SECONDS
    return Estimate(
        epoch_seconds_min=seconds_by_row[0],
        epoch_seconds_median=seconds_by_row[len(seconds_by_row) // 2],
        epoch_seconds_max=seconds_by_row[-1],
        search_seconds_expected=around + _mean(one.seconds for one in with_asha),
        search_seconds_most=around + _mean(one.seconds for one in whole),
        trained_share=_mean(one.trained_share for one in with_asha),
        start_seconds=start_seconds + worker_seconds,
        planning_seconds=planning_seconds,
        epoch_seconds={name: statistics.fmean(found) for name, found in by_shape.items()},
        remembered=_minute(each.measured_at for each in times.values()),
    )


def mode_seconds(estimate: Estimate, modes: Sequence[ModeRecord]) -> dict[MemoryMode, float | None]:
    """Return the time of a search by memory mode, as if all its architectures had that one.

    Measured is the mode that all of them are planned in. Where that is the full one, a lean search
    takes as much longer as it computes: the update of the weights is left out.
    """
    planned = {mode.memory for mode in modes if mode.n_planned}
    expected, start = estimate.search_seconds_expected, estimate.start_seconds
    seconds: dict[MemoryMode, float | None] = {mode.memory: None for mode in modes}
    for mode in modes:
        if planned == {mode.memory}:
            seconds[mode.memory] = expected
        elif planned == {"full"} and mode.obstacle is None:
            seconds[mode.memory] = start + RECOMPUTED * (expected - start)
    return seconds


def _cost(
    config: TrialConfig, *, times: Mapping[str, StepTimes], data: AnyDataset, search: SearchConfig
) -> TrialCost:
    epochs, measured = config.train.epochs, times[config.budget]
    networks = data.per_network
    seconds = sum(
        measured.epoch_seconds(config, len(own.train_days), len(own.validation_days))
        for own in networks
    )
    # An epoch of pretraining validates nothing. That all tokens of the last layer are computed, and
    # not the last one alone, is left out.
    pretrained = config.train.pretrain_epochs * sum(
        measured.epoch_seconds(config, len(own.train_days), 0) for own in networks
    )
    waited, copied = saved_shares(search, epochs, seconds)
    checkpoint = measured.checkpoint(config)
    saved = waited * checkpoint.written_seconds + copied * checkpoint.copied_seconds
    saved *= len(networks)
    return TrialCost(
        budget=config.budget,
        epochs=epochs,
        epoch_seconds=seconds + saved + _REPORT_SECONDS,
        begin_seconds=_TRIAL_SECONDS + len(networks) * measured.begin_seconds(config) + pretrained,
    )


def saved_shares(search: SearchConfig, epochs: int, epoch_seconds: float) -> tuple[float, float]:
    """Return the shares of a trial's epochs whose state is saved, at most.

    Returns: the share of those whose state is on the disk before they are reported, and that of
        those whose state a thread writes while the trial goes on.
    """
    if search.checkpoint_seconds == 0:
        return 1.0, 0.0
    waited = len(rung_epochs(milestones(search), epochs) | {epochs}) / epochs
    due = min(1.0, epoch_seconds / search.checkpoint_seconds)
    return waited, min(due, 1.0 - waited)


def _queues(
    first: list[TrialCost],
    pool: Sequence[TrialCost],
    search: SearchConfig,
    rng: np.random.Generator,
) -> list[list[TrialCost]]:
    """Return the trials of every simulated search: the same first ones, then drawn ones.

    Those before TPE draws are ordered by their seconds where the search does so.
    """
    queues = [
        first + [pool[i] for i in rng.integers(len(pool), size=search.trials - len(first))]
        for _ in range(_N_PLAYED)
    ]
    if not search.cheap_first:
        return queues
    n = max(search.startup_trials, len(first))
    return [[*sorted(q[:n], key=lambda t: t.epochs * t.epoch_seconds), *q[n:]] for q in queues]


def _drawn(space: SearchSpace, seed: int) -> list[TrialConfig]:
    """Draw as the sampler draws its random trials: not uniformly over the grid, but width first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [space.sample(study.ask()) for _ in range(_N_DRAWN)]


def _minute(moments: Iterable[float | None]) -> str | None:
    """Return the minute of the earliest of these seconds since the epoch, UTC; None without any."""
    earliest = min((moment for moment in moments if moment is not None), default=None)
    if earliest is None:
        return None
    return datetime.fromtimestamp(earliest, UTC).strftime("%Y-%m-%d %H:%M")


def _mean(values: Iterable[float]) -> float:
    return float(statistics.fmean(values))
