"""Measures what a plan needs to know of steps, with workers like those of the trials.

The models are the smallest, the middle and the largest kind of layer of a search space, each in a
shallow and a deep model (``study.planning.step_times`` has the fit to their times).
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError

from study.cluster.resources import SearchResources, TrialResources
from study.errors import SpecError
from study.model.sizing import count_parameters
from study.planning.device_sharing import measured_sharing
from study.planning.probe_worker import FEWEST_WINDOWS, WHOLE_FLOPS, ProbeWorker
from study.planning.step_times import (
    SHALLOW,
    CheckpointTime,
    LayerTimes,
    ProbeTime,
    StepTimes,
    layer_flops,
)
from study.search.space import SearchSpace, TrialConfig
from study.text.short_forms import counted
from study.training.checkpoint_bytes import checkpoint_bytes
from study.training.step.samples import Samples
from study.training.train_config import Memory

_MOST_PROBES = 8
"""Most probes that run at once. They slow each other down as trials that share a device do, and no
more trials share one (``study.cluster.resources.MOST_TRIALS_PER_DEVICE``)."""

_READY_SECONDS = 300.0
"""Seconds that the probes may take to start: a cluster that is full of other work may have no room
for them."""

_DEEPEST = 8
"""Most layers of a deep model. With eight the activations no longer fit the caches, as those of any
deeper model do not."""

_MOST_CHECKPOINT_BYTES = 256 * 2**20
"""Bytes of the largest checkpoint that is written. Writing a larger one would take longer than all
other measurements, so its time is extrapolated."""


def measure_search(
    space: SearchSpace,
    data: Samples,
    resources: SearchResources,
    *,
    device: str | None,
    capture: bool,
    concurrency: int,
    times_sharing: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, StepTimes]:
    """Time steps of each budget with its trials' resources; budgets of equal ones share the times.

    Args:
        space: search space whose architectures are to be estimated.
        data: the samples of a trial's network; any horizon's.
        resources: resources that the search's trials request.
        device: the user's choice; None follows the assignment.
        capture: are steps captured as graphs of the device, where it can?
        concurrency: number of trials that will run at once, if as many fit.
        times_sharing: is it to be timed how many trials train best on one accelerator?
        meanwhile: work of this process that is done while the workers start.
        say: takes the name of each part that takes more than two seconds, before it begins.

    Raises:
        SpecError: a step could not be run.
    """
    alike: dict[TrialResources, list[str]] = {}
    for budget, own in resources.by_budget.items():
        alike.setdefault(own, []).append(budget)
    times: dict[str, StepTimes] = {}
    for own, budgets in alike.items():
        found = measure_steps(
            space.of(shape for shape in space.shapes if shape.budget in budgets),
            data,
            request=own.request(),
            device=device,
            capture=capture,
            concurrency=min(concurrency, own.capacity),
            shared_by=own.per_device if times_sharing and not own.exclusive else 0,
            meanwhile=meanwhile,
            say=say,
        )
        times |= dict.fromkeys(budgets, found)
    return times


def measure_steps(
    space: SearchSpace,
    data: Samples,
    *,
    request: dict[str, float],
    device: str | None,
    capture: bool,
    concurrency: int,
    shared_by: int = 0,
    meanwhile: Callable[[], object] = lambda: None,
    say: Callable[[str], None] = lambda line: None,
) -> StepTimes:
    """Time a few steps of small, middle and large layers under the load that trials will meet.

    As many probes as trials will run at once take the same steps at the same time, each with a
    trial's resources; the median of their times is used.

    Args:
        space: search space whose architectures are to be estimated.
        data: the samples of a trial's network; any horizon's.
        request: resources of a trial.
        device: the user's choice; None follows the assignment.
        capture: are steps captured as graphs of the device, where it can?
        concurrency: number of trials that will run at once.
        shared_by: the most trials that could share an accelerator, of which the best number is
            found and then timed; below 2 nothing is tried.
        meanwhile: work of this process that is done while the workers start.
        say: takes the name of each part that takes more than two seconds, before it begins.

    Raises:
        SpecError: a step could not be run.
    """
    probed, n_probes = _probed(space), min(concurrency, shared_by or _MOST_PROBES)
    say(f"{counted(n_probes, 'worker')}, to time steps of {counted(2 * len(probed), 'model')}")
    began = time.monotonic()
    with _workers(n_probes, data, request, device=device, capture=capture) as (probes, thread):
        ready_at = thread.submit(_ready_at, probes, _with_depth(probed[0][0], SHALLOW))
        meanwhile()
        worker_seconds = ready_at.result() - began
        per_device = _share(space, probes) if shared_by > 1 else None
        layers, checkpoints = _measure_layers(probed, probes)
    return StepTimes(
        layers=layers,
        checkpoints=checkpoints,
        worker_seconds=worker_seconds,
        per_device=per_device,
    )


@contextmanager
def _workers(
    number: int, data: Samples, request: dict[str, float], *, device: str | None, capture: bool
) -> Iterator[tuple[list[Any], ThreadPoolExecutor]]:
    """Request workers and end them with the block; yield them, and a thread that may wait for them.

    Raises:
        SpecError: one of them has failed.
    """
    gpu, cpu, memory = (request.get(name, 0) for name in ("GPU", "CPU", "memory"))
    actor = ray.remote(ProbeWorker).options(
        num_cpus=cpu, num_gpus=gpu, memory=memory, max_restarts=0
    )
    with ThreadPoolExecutor(max_workers=1) as thread:
        workers = [actor.remote(data, device, capture) for _ in range(number)]
        try:
            yield workers, thread
        except RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise SpecError(
                f"plan: a few training steps must run where trials will, but got "
                f"{type(error).__name__}: {reason}. Free memory or CPUs, or choose a smaller "
                "budget."
            ) from error
        finally:
            # The thread no longer waits for workers that have been ended.
            for worker in workers:
                ray.kill(worker)


def _ready_at(probes: list[Any], config: TrialConfig) -> float:
    """Return the time, in seconds of ``time.monotonic``, at which all have taken a first step."""
    ray.get([probe.warm_up.remote(config) for probe in probes], timeout=_READY_SECONDS)
    return time.monotonic()


def _share(space: SearchSpace, probes: list[Any]) -> int:
    """Return how many of the probes train best side by side, and end the others."""

    def prepare(config: TrialConfig) -> None:
        ray.get([probe.prepare.remote(config) for probe in probes])

    def rate(number: int) -> float:
        return float(sum(ray.get([probe.rate.remote() for probe in probes[:number]])))

    best = measured_sharing(space, len(probes), prepare, rate)
    for probe in probes[best:]:
        ray.kill(probe)
    del probes[best:]
    ray.get([probe.release.remote() for probe in probes])
    return best


def _measure_layers(
    probed: list[tuple[TrialConfig, int]], probes: list[Any]
) -> tuple[tuple[LayerTimes, ...], tuple[CheckpointTime, ...]]:
    """Return the times of each kind of layer, and those of the checkpoints, ascending in size."""
    checkpoints: list[CheckpointTime] = []
    saved = _saved([_with_depth(c, n) for c, deep in probed for n in (SHALLOW, deep)])

    def timed(config: TrialConfig, n_layers: int) -> ProbeTime:
        one = _with_depth(config, n_layers)
        saves = (one.train.memory, count_parameters(one.model)) in saved
        found = _median(ray.get([probe.measure.remote(one, saves=saves) for probe in probes]))
        if found.checkpoint is not None:
            checkpoints.append(found.checkpoint)
        return found

    layers = tuple(
        LayerTimes(
            memory=config.train.memory,
            layer_flops=layer_flops(config.model),
            deep_layers=deep_layers,
            shallow=timed(config, SHALLOW),
            deep=timed(config, deep_layers),
        )
        for config, deep_layers in probed
    )
    return layers, tuple(sorted(checkpoints, key=lambda one: one.n_params))


def _with_depth(config: TrialConfig, n_layers: int) -> TrialConfig:
    return dataclasses.replace(config, model=dataclasses.replace(config.model, n_layers=n_layers))


def _saved(configs: list[TrialConfig]) -> set[tuple[Memory, int]]:
    """Return the memory modes and sizes of the models whose checkpoints are written.

    Those are the ends of a straight line in each mode. The smallest one is always written, so that
    there is one to extrapolate from.
    """
    saved: set[tuple[Memory, int]] = set()
    for memory in {config.train.memory for config in configs}:
        own = sorted(
            (count_parameters(config.model), sum(_checkpoint_bytes(config)))
            for config in configs
            if config.train.memory == memory
        )
        written = [count for count, size in own if size <= _MOST_CHECKPOINT_BYTES]
        saved |= {(memory, count) for count in (own[0][0], *written[-1:])}
    return saved


def _checkpoint_bytes(config: TrialConfig) -> tuple[int, int]:
    return checkpoint_bytes(config.model, memory=config.train.memory, ema=True)


def _probed(space: SearchSpace) -> list[tuple[TrialConfig, int]]:
    """Return the smallest, middle and largest kind of layer, each with its deep model's depth.

    They are those of each memory mode that the space has.
    """
    kinds: dict[Memory, dict[float, list[TrialConfig]]] = {}
    for config in space.configs():
        own = kinds.setdefault(config.train.memory, {})
        own.setdefault(layer_flops(config.model), []).append(config)
    return [found for _, own in sorted(kinds.items()) for found in _probed_kinds(own)]


def _probed_kinds(kinds: Mapping[float, list[TrialConfig]]) -> Iterator[tuple[TrialConfig, int]]:
    """Yield the chosen kinds of layer of a memory mode, by the operations of a layer."""
    work = sorted(kinds)
    for flops in sorted({work[0], work[len(work) // 2], work[-1]}):
        rows = kinds[flops]
        deepest = max(config.model.n_layers for config in rows)
        affordable = int(WHOLE_FLOPS / (FEWEST_WINDOWS * flops))
        deep = max(SHALLOW + 1, min(_DEEPEST, deepest, affordable))
        # The middle row: neither the fewest nor the most heads.
        yield rows[len(rows) // 2], deep


def _median(times: list[ProbeTime]) -> ProbeTime:
    def middle(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in times))

    saved = [one.checkpoint for one in times if one.checkpoint is not None]
    return ProbeTime(
        window_seconds=middle("window_seconds"),
        step_seconds=middle("step_seconds"),
        validation_seconds=middle("validation_seconds"),
        begin_seconds=middle("begin_seconds"),
        checkpoint=CheckpointTime(
            memory=saved[0].memory,
            n_params=saved[0].n_params,
            written_seconds=statistics.median(one.written_seconds for one in saved),
            copied_seconds=statistics.median(one.copied_seconds for one in saved),
        )
        if saved
        else None,
    )
