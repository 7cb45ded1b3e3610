"""Times training steps, validations and checkpoints of a few models where trials will run.

The models are the smallest, the middle and the largest kind of layer of a search space, each in a
shallow and a deep model (``study.planning.step_times`` has the fit to their times). A model whose
step is small is timed with its whole batch. A larger one is timed with a small and a larger part of
a batch. The difference of the two times is that of the additional windows; subtracting the windows'
time from the first leaves the time that a step takes besides its windows.
"""

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from study.cluster.resources import SearchResources, TrialResources
from study.data.dataset import Dataset
from study.errors import SpecError
from study.model.sizing import count_parameters, step_flops
from study.planning.device_sharing import measured_sharing
from study.planning.step_times import SHALLOW, LayerTimes, ProbeTime, StepTimes, layer_flops
from study.results.epoch_report import EpochReport
from study.search.space import SearchSpace, TrialConfig
from study.training.checkpoint import CheckpointFolder
from study.training.device import (
    bound_kernel_cache,
    release_cached_memory,
    resolve_device,
    supports_bf16,
)
from study.training.step.graphs import WARM_UP_RUNS, graphs_of
from study.training.trainer import Trainer
from study.training.windows import TrainingData

_MOST_PROBES = 8
"""Most probes that run at once. They slow each other down as trials that share a device do, and no
more trials share one (``study.cluster.resources.MOST_TRIALS_PER_DEVICE``)."""

_SHARED_STEPS = 4
"""Steps per epoch of processes that train side by side: they check the time between epochs."""

_SHARED_EPOCHS = 100_000
"""Epochs of such a process, more than it can train in its time."""

_SHARED_SECONDS = 0.4
"""Seconds for which processes train side by side, for each number of them."""

_READY_SECONDS = 300.0
"""Seconds that the probes may take to start: a cluster that is full of other work may have no room
for them."""

_DEEPEST = 8
"""Most layers of a deep model. With eight the activations no longer fit the caches, as those of any
deeper model do not."""

_WHOLE_FLOPS = 4e10
"""Floating-point operations of a step up to which the whole batch is timed: half a second to a
second on a slow core."""

_PART_FLOPS = 5e9
"""Floating-point operations of the first of the two parts of a larger step."""

_PARTS_RATIO = 4
"""Windows of the second part per window of the first. The line through two closer points would
follow their noise."""

_FEWEST_WINDOWS = 8
"""Fewest windows of the first part."""

_PROBE_RATE = 1e-9
"""Learning rate of all probes: a step takes as long at any rate, and cannot diverge at this one."""

_TIMED_SECONDS = 0.4
"""Seconds for which a model's steps are timed, within the two counts below."""

_FEWEST_TIMED = 2
"""Fewest timed steps of a model, after one that warms up and is not timed."""

_MOST_TIMED = 8
"""Most timed steps of a model."""

_MOST_CHECKPOINT_BYTES = 256 * 2**20
"""Bytes of the largest checkpoint that is written. Writing a larger one would take longer than all
other measurements, so its time is extrapolated."""

_STATE_BYTES = 5 * 4
"""Bytes of a checkpoint per parameter: weights, two moments, average and best weights, float32."""


def measure_search(
    space: SearchSpace,
    data: Dataset,
    resources: SearchResources,
    *,
    device: str | None,
    capture: bool,
    concurrency: int,
    times_sharing: bool = False,
) -> dict[str, StepTimes]:
    """Time steps of each budget with its trials' resources; budgets of equal ones share the times.

    Args:
        space: search space whose architectures are to be estimated.
        data: a cell's data set; any horizon's.
        resources: resources that the search's trials request.
        device: the user's choice; None follows the assignment.
        capture: are steps captured as graphs of the device, where it can?
        concurrency: number of trials that will run at once, if as many fit.
        times_sharing: is it to be timed how many trials train best on one accelerator?

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
        )
        times |= dict.fromkeys(budgets, found)
    return times


def measure_steps(
    space: SearchSpace,
    data: Dataset,
    *,
    request: dict[str, float],
    device: str | None,
    capture: bool,
    concurrency: int,
    shared_by: int = 0,
) -> StepTimes:
    """Time a few steps of small, middle and large layers under the load that trials will meet.

    As many probes as trials will run at once take the same steps at the same time, each with a
    trial's resources; the median of their times is used.

    Args:
        space: search space whose architectures are to be estimated.
        data: a cell's data set; any horizon's.
        request: resources of a trial.
        device: the user's choice; None follows the assignment.
        capture: are steps captured as graphs of the device, where it can?
        concurrency: number of trials that will run at once.
        shared_by: the most trials that could share an accelerator, of which the best number is
            found and then timed; below 2 nothing is tried.

    Raises:
        SpecError: a step could not be run.
    """
    gpu, cpu, memory = (request.get(name, 0) for name in ("GPU", "CPU", "memory"))
    actor = ray.remote(_Probe).options(num_cpus=cpu, num_gpus=gpu, memory=memory, max_restarts=0)
    began = time.monotonic()
    probes = [
        actor.remote(data, device, capture)
        for _ in range(min(concurrency, shared_by or _MOST_PROBES))
    ]
    try:
        ray.get([probe.ready.remote() for probe in probes], timeout=_READY_SECONDS)
        worker_seconds = time.monotonic() - began
        per_device = _share(space, probes) if shared_by > 1 else None
        layers, checkpoints = _measure_layers(space, probes)
    except RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise SpecError(
            f"plan: a few training steps must run where trials will, but got "
            f"{type(error).__name__}: {reason}. Free memory or CPUs, or choose a smaller budget."
        ) from error
    finally:
        for probe in probes:
            ray.kill(probe)
    return StepTimes(
        layers=layers, checkpoints=checkpoints, worker_seconds=worker_seconds,
        per_device=per_device,
    )  # fmt: skip


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
    space: SearchSpace, probes: list[Any]
) -> tuple[tuple[LayerTimes, ...], tuple[tuple[int, float], ...]]:
    """Return the times of each kind of layer, and those of the checkpoints, ascending in size."""
    checkpoints: list[tuple[int, float]] = []

    def timed(config: TrialConfig, n_layers: int) -> ProbeTime:
        model = dataclasses.replace(config.model, n_layers=n_layers)
        one = dataclasses.replace(config, model=model)
        count = count_parameters(model)
        # The first model's checkpoint is always written, so that there is one to extrapolate from.
        saves = not checkpoints or _STATE_BYTES * count <= _MOST_CHECKPOINT_BYTES
        found = _median(ray.get([probe.measure.remote(one, saves=saves) for probe in probes]))
        if found.checkpoint_seconds is not None:
            checkpoints.append((count, found.checkpoint_seconds))
        return found

    layers = tuple(
        LayerTimes(
            layer_flops=layer_flops(config.model),
            deep_layers=deep_layers,
            shallow=timed(config, SHALLOW),
            deep=timed(config, deep_layers),
        )
        for config, deep_layers in _probed(space)
    )
    return layers, tuple(sorted(checkpoints))


def _probed(space: SearchSpace) -> list[tuple[TrialConfig, int]]:
    """Return the smallest, middle and largest kind of layer, each with its deep model's depth."""
    kinds: dict[float, list[TrialConfig]] = {}
    for config in space.configs():
        kinds.setdefault(layer_flops(config.model), []).append(config)
    work = sorted(kinds)
    chosen = []
    for flops in sorted({work[0], work[len(work) // 2], work[-1]}):
        rows = kinds[flops]
        deepest = max(config.model.n_layers for config in rows)
        affordable = int(_WHOLE_FLOPS / (_FEWEST_WINDOWS * flops))
        deep = max(SHALLOW + 1, min(_DEEPEST, deepest, affordable))
        # The middle row: neither the fewest nor the most heads.
        chosen.append((rows[len(rows) // 2], deep))
    return chosen


def _median(times: list[ProbeTime]) -> ProbeTime:
    def middle(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in times))

    has_checkpoint = all(one.checkpoint_seconds is not None for one in times)
    return ProbeTime(
        window_seconds=middle("window_seconds"),
        step_seconds=middle("step_seconds"),
        validation_seconds=middle("validation_seconds"),
        checkpoint_seconds=middle("checkpoint_seconds") if has_checkpoint else None,
    )


class _Probe:
    """An actor with a trial's resources that times models."""

    def __init__(self, data: Dataset, device: str | None, capture: bool) -> None:
        assigned: dict[str, Any] = ray.get_runtime_context().get_assigned_resources()
        bound_kernel_cache()
        torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))
        self._device = resolve_device(float(assigned.get("GPU", 0.0)), device)
        self._graphs = graphs_of(self._device, is_wanted=capture)
        self._n_untimed = 1 if self._graphs is None else WARM_UP_RUNS + 1
        """Steps after which all are alike."""
        self._data = TrainingData.of(data)

        self._side_by_side: Trainer | None = None
        """The trainer of a process that trains beside others; None once none is tried."""
        self._n_shared = 0
        """Samples of an epoch of that trainer."""

    def ready(self) -> None:
        """Return once the worker is there."""

    def prepare(self, config: TrialConfig) -> None:
        """Be ready to train a model beside other processes."""
        self._side_by_side = None
        batch = config.train.effective_batch
        few = dataclasses.replace(
            self._data,
            train_days=self._data.train_days[: _SHARED_STEPS * batch],
            validation_days=self._data.validation_days[:_FEWEST_WINDOWS],
        )
        self._side_by_side = self._trainer(config, few, batch, epochs=_SHARED_EPOCHS)
        self._n_shared = len(few.train_days)
        for _ in range(self._n_untimed):
            self._side_by_side.run_epoch()

    def rate(self) -> float:
        """Return the samples that this process trains in a second, now."""
        assert self._side_by_side is not None
        began, n_samples = time.perf_counter(), 0
        while time.perf_counter() - began < _SHARED_SECONDS:
            self._side_by_side.run_epoch()
            n_samples += self._n_shared
        return n_samples / (time.perf_counter() - began)

    def release(self) -> None:
        """Give up the model that was trained beside others."""
        self._side_by_side = None
        release_cached_memory(self._device)

    def measure(self, config: TrialConfig, *, saves: bool) -> ProbeTime:
        """Time one model, and its checkpoint if it ``saves`` one."""
        flops = step_flops(config.model, 1)
        batch = min(config.train.effective_batch, len(self._data.train_days))
        if batch * flops <= _WHOLE_FLOPS:
            seconds, validation, checkpoint = self._time(config, batch, saves=saves)
            return ProbeTime(
                window_seconds=seconds / batch,
                step_seconds=0.0,
                validation_seconds=validation,
                checkpoint_seconds=checkpoint,
            )
        # The cost of a step besides its windows (the optimizer, casts of the weights) must not
        # count as theirs, or the time per window of a small part would be too long.
        few = min(batch // _PARTS_RATIO, max(_FEWEST_WINDOWS, int(_PART_FLOPS / flops)))
        first, validation, checkpoint = self._time(config, few, saves=saves)
        second, _, _ = self._time(config, _PARTS_RATIO * few, saves=False)
        of_windows = min(first, max(0.0, second - first) / (_PARTS_RATIO - 1))
        return ProbeTime(
            window_seconds=of_windows / few,
            step_seconds=first - of_windows,
            validation_seconds=validation,
            checkpoint_seconds=checkpoint,
        )

    def _time(
        self, config: TrialConfig, windows: int, *, saves: bool
    ) -> tuple[float, float, float | None]:
        """Return seconds per step of ``windows``, per validated sample, and of a checkpoint."""
        data = self._data
        is_whole = windows >= config.train.effective_batch
        few: TrainingData = dataclasses.replace(
            data,
            train_days=data.train_days[:windows],
            validation_days=data.validation_days if is_whole else data.validation_days[:windows],
        )
        # A captured step is timed once it is replayed, as nearly all steps of a trial are.
        trainer = self._trainer(config, few, windows, epochs=self._n_untimed + _MOST_TIMED)
        for _ in range(self._n_untimed):
            trainer.run_epoch()
        timed: list[EpochReport] = []
        began = time.monotonic()
        while len(timed) < _FEWEST_TIMED or (
            len(timed) < _MOST_TIMED and time.monotonic() - began < _TIMED_SECONDS
        ):
            timed.append(trainer.run_epoch())
        return (
            statistics.median(r.data_seconds + r.step_seconds for r in timed),
            statistics.median(r.validation_seconds for r in timed) / len(few.validation_days),
            _checkpoint_seconds(trainer) if saves else None,
        )

    def _trainer(
        self, config: TrialConfig, data: TrainingData, batch: int, *, epochs: int
    ) -> Trainer:
        """Return a trainer whose steps take ``batch`` windows each."""
        return Trainer(
            model=config.model,
            train=dataclasses.replace(
                config.train,
                effective_batch=batch,
                learning_rate=_PROBE_RATE,
                epochs=epochs,
                patience=None,
                collapse_grace_share=1.0,
            ),
            data=data,
            device=self._device,
            micro_batch=batch,
            seed=0,
            bf16=supports_bf16(self._device),
            graphs=self._graphs,
        )


def _checkpoint_seconds(trainer: Trainer) -> float:
    """Time a checkpoint in a temporary folder: nothing is written where results will be."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        CheckpointFolder(Path(folder)).save(trainer.state_dict())
        return time.perf_counter() - began
