"""How long a training step, a validation and a checkpoint take, measured where trials will run."""

import dataclasses
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayError

from study.cluster.resources import SearchResources, TrialResources
from study.data.dataset import Dataset
from study.errors import SpecError
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters, step_flops
from study.search.space import SearchSpace, TrialConfig
from study.training.checkpoint import CheckpointFolder
from study.training.device import bound_kernel_cache, resolve_device, supports_bf16
from study.training.trainer import Trainer
from study.training.windows import TrainingData

_MOST_PROBES = 8
"""Probes at once: past a device's worth of neighbours more of them change nothing."""

_READY_SECONDS = 300.0
"""For the probes to start: a cluster that is full of other work may have no room for them."""

_WHOLE_FLOPS = 4e10
"""Work of a step up to which the whole batch is timed: half a second to a second on a slow core."""

_PART_FLOPS = 5e9
"""Of a larger step, work of the first of two parts of it that are timed instead."""

_PARTS_RATIO = 4
"""Windows in the second part per window in the first: a line through closer points would tell
more of the noise."""

_PROBE_RATE = 1e-9
"""Learning rate: a step takes as long at any rate, and cannot diverge at this one."""

_FEWEST_WINDOWS = 8
"""Windows in such a part at least."""

_SHALLOW, _DEEPEST = 1, 8
"""Layers of the two models that are timed per kind of layer; the rest is a straight line. Past
eight layers the activations have left the caches, as those of a deep model do."""

_TIMED_SECONDS, _FEWEST_TIMED, _MOST_TIMED = 0.4, 2, 8
"""Timed steps of a model: for so long, but within these counts. One before them warms up."""

_MOST_CHECKPOINT_BYTES = 256 * 2**20
"""A larger one is extrapolated, because writing it would take longer than all the rest."""

_STATE_BYTES = 5 * 4
"""Of a checkpoint, per parameter: weights, two moments, average and best weights, float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeTime:
    """What one model took, in seconds."""

    window_seconds: float
    """Of training, per sample."""
    step_seconds: float
    """Per optimizer step beside its samples; 0 where whole batches were timed."""
    validation_seconds: float
    """Per sample."""
    checkpoint_seconds: float | None
    """None if it was too large to be tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerTimes:
    """A kind of layer (its width and feed-forward ratio), timed in a shallow and a deep model."""

    layer_flops: float
    """Work of one layer on one sample."""
    deep_layers: int
    shallow: ProbeTime
    deep: ProbeTime


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """All that was measured for budgets whose trials ask for the same; horizons share it."""

    layers: tuple[LayerTimes, ...]
    """Ascending in work: the smallest, the middle and the largest kind of layer of the grid."""
    checkpoints: tuple[tuple[int, float], ...]
    """Parameters and seconds of the checkpoints that were written, ascending, at least one."""
    worker_seconds: float
    """From asking for workers to their being ready."""

    def epoch_seconds(self, config: TrialConfig, n_train: int, n_validation: int) -> float:
        """Return what an epoch of ``config`` takes but for its report, in seconds."""
        flops = [layer.layer_flops for layer in self.layers]
        own = layer_flops(config.model)

        def line(name: str) -> float:
            shallow = [getattr(layer.shallow, name) for layer in self.layers]
            slopes = [
                max(0.0, getattr(layer.deep, name) - getattr(layer.shallow, name))
                / (layer.deep_layers - _SHALLOW)
                for layer in self.layers
            ]
            further = config.model.n_layers - _SHALLOW
            return float(np.interp(own, flops, shallow) + further * np.interp(own, flops, slopes))

        steps = -(-n_train // config.train.effective_batch)
        return (
            n_train * line("window_seconds")
            + steps * line("step_seconds")
            + n_validation * line("validation_seconds")
            + self._checkpoint_seconds(count_parameters(config.model))
        )

    def _checkpoint_seconds(self, n_parameters: int) -> float:
        (few, least), (many, most) = self.checkpoints[0], self.checkpoints[-1]
        per_parameter = max(0.0, most - least) / (many - few) if many > few else 0.0
        return max(0.0, least + per_parameter * (n_parameters - few))


def measure_search(
    space: SearchSpace,
    data: Dataset,
    resources: SearchResources,
    *,
    device: str | None,
    concurrency: int,
) -> dict[str, StepTimes]:
    """Time steps of each budget with what its trials ask for; budgets that ask alike share them.

    Args:
        space: whose architectures are to be told.
        data: a cell's data set; any horizon's.
        resources: of the search.
        device: the user's choice; None follows the assignment.
        concurrency: trials that will run at once, if as many fit.

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
            concurrency=min(concurrency, own.capacity),
        )
        times |= dict.fromkeys(budgets, found)
    return times


def measure_steps(
    space: SearchSpace,
    data: Dataset,
    *,
    request: dict[str, float],
    device: str | None,
    concurrency: int,
) -> StepTimes:
    """Time a few steps of small, middle and large layers under the load that trials will meet.

    As many probes as trials will run at once take the same steps at the same time, each with a
    trial's resources; their median counts.

    Args:
        space: whose architectures are to be told.
        data: a cell's data set; any horizon's.
        request: resources of a trial.
        device: the user's choice; None follows the assignment.
        concurrency: trials that will run at once.

    Raises:
        SpecError: a step could not be run.
    """
    gpu, cpu, memory = (request.get(name, 0) for name in ("GPU", "CPU", "memory"))
    actor = ray.remote(_Probe).options(num_cpus=cpu, num_gpus=gpu, memory=memory, max_restarts=0)
    began = time.monotonic()
    probes = [actor.remote(data, device) for _ in range(min(concurrency, _MOST_PROBES))]
    try:
        ray.get([probe.ready.remote() for probe in probes], timeout=_READY_SECONDS)
        worker_seconds = time.monotonic() - began

        layers: list[LayerTimes] = []
        checkpoints: list[tuple[int, float]] = []

        def timed(config: TrialConfig, n_layers: int) -> ProbeTime:
            model = dataclasses.replace(config.model, n_layers=n_layers)
            one = dataclasses.replace(config, model=model)
            count = count_parameters(model)
            # Of the first model always, so that there is something to extrapolate from.
            saves = not checkpoints or _STATE_BYTES * count <= _MOST_CHECKPOINT_BYTES
            found = _median(ray.get([probe.measure.remote(one, saves=saves) for probe in probes]))
            if found.checkpoint_seconds is not None:
                checkpoints.append((count, found.checkpoint_seconds))
            return found

        for config, deep_layers in _probed(space):
            found = {depth: timed(config, depth) for depth in (_SHALLOW, deep_layers)}
            layers.append(
                LayerTimes(
                    layer_flops=layer_flops(config.model),
                    deep_layers=deep_layers,
                    shallow=found[_SHALLOW],
                    deep=found[deep_layers],
                )
            )
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
        layers=tuple(layers),
        checkpoints=tuple(sorted(checkpoints)),
        worker_seconds=worker_seconds,
    )


def layer_flops(model: ModelConfig) -> float:
    """Return the work of one inner layer on one sample."""
    two, three = (dataclasses.replace(model, n_layers=n) for n in (2, 3))
    return float(step_flops(three, 1) - step_flops(two, 1))


def _probed(space: SearchSpace) -> list[tuple[TrialConfig, int]]:
    """Return the smallest, middle and largest kind of layer, and the layers of its deep model."""
    kinds: dict[float, list[TrialConfig]] = {}
    for config in space.configs():
        kinds.setdefault(layer_flops(config.model), []).append(config)
    work = sorted(kinds)
    chosen = []
    for flops in sorted({work[0], work[len(work) // 2], work[-1]}):
        rows = kinds[flops]
        deepest = max(config.model.n_layers for config in rows)
        affordable = int(_WHOLE_FLOPS / (_FEWEST_WINDOWS * flops))
        deep = max(_SHALLOW + 1, min(_DEEPEST, deepest, affordable))
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
    """Runs in a worker with a trial's resources."""

    def __init__(self, data: Dataset, device: str | None) -> None:
        assigned: dict[str, Any] = ray.get_runtime_context().get_assigned_resources()
        bound_kernel_cache()
        torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))
        self._device = resolve_device(float(assigned.get("GPU", 0.0)), device)
        self._data = TrainingData.of(data)

    def ready(self) -> None:
        """Return once the worker is there."""

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
        # What a step costs besides its windows (the optimizer, casts of the weights) must not be
        # told as theirs, or few windows would be too dear: more of them say what a window takes.
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
        trainer = Trainer(
            model=config.model,
            train=dataclasses.replace(
                config.train,
                effective_batch=windows,
                learning_rate=_PROBE_RATE,
                epochs=1 + _MOST_TIMED,
                patience=None,
                collapse_grace_share=1.0,
            ),
            data=few,
            device=self._device,
            micro_batch=windows,
            seed=0,
            bf16=supports_bf16(self._device),
        )
        reports = [trainer.run_epoch()]
        began = time.monotonic()
        while len(reports) < 1 + _FEWEST_TIMED or (
            len(reports) < 1 + _MOST_TIMED and time.monotonic() - began < _TIMED_SECONDS
        ):
            reports.append(trainer.run_epoch())
        timed = reports[1:]
        return (
            statistics.median(r.data_seconds + r.step_seconds for r in timed),
            statistics.median(r.validation_seconds for r in timed) / len(few.validation_days),
            _checkpoint_seconds(trainer) if saves else None,
        )


def _checkpoint_seconds(trainer: Trainer) -> float:
    """Time one on the disk for temporary files: nothing is written where results will be."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        CheckpointFolder(Path(folder)).save(trainer.state_dict())
        return time.perf_counter() - began
