"""How long a trial will take, from training steps measured where trials will run."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from study.data.dataset import Dataset
from study.errors import SpecError
from study.model.sizing import step_flops
from study.search.space import SearchSpace, TrialConfig
from study.search.trainable import training_data
from study.spec import SearchConfig
from study.training.device import resolve_device, supports_bf16
from study.training.trainer import Trainer

_PROBE_FLOPS = 2e11
"""Work of a measured step at most: seconds on a slow core. A smaller step has the whole batch,
because what a step costs besides its windows (the optimizer) must be shared by as many."""

_PROBE_RATE = 1e-9

_FEWEST_WINDOWS = 8
"""Windows in a measured step at least."""

_DEPTHS = (1, 3)
"""Layers of the two models that are timed per width; the rest is a straight line."""

_REPEATS = 3
"""Epochs of one such step; the fastest counts, because only other programs can slow one down."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Seconds, for a search of which no trial has run yet."""

    epoch_seconds_min: float
    epoch_seconds_median: float
    epoch_seconds_max: float
    search_seconds_expected: float
    """If ASHA stops as many trials at each rung as it plans to."""
    search_seconds_most: float
    """If every trial runs its whole schedule."""


def estimate_search(
    space: SearchSpace,
    search: SearchConfig,
    data: Dataset,
    *,
    request: dict[str, float],
    device: str | None,
    concurrency: int,
) -> Estimate:
    """Time a few steps inside a Ray task with a trial's resources, and extrapolate.

    The probe runs alone: trials that share a device slow each other down more than this says.

    Args:
        space: whose architectures are extrapolated to.
        search: number of trials and ASHA's settings.
        data: the cell's data set.
        request: resources of a trial.
        device: the user's choice; None follows the assignment.
        concurrency: trials that will run at once.

    Raises:
        SpecError: a step could not be run.
    """
    configs = list(space.configs())
    widths = sorted({config.model.d_model for config in configs})
    probes = sorted({widths[0], widths[len(widths) // 2], widths[-1]})
    chosen = [next(c for c in configs if c.model.d_model == width) for width in probes]
    gpu, cpu, memory = (request.get(name, 0) for name in ("GPU", "CPU", "memory"))
    task = ray.remote(_measure).options(num_cpus=cpu, num_gpus=gpu, memory=memory, max_retries=0)
    try:
        measured = ray.get(task.remote(chosen, data, device))
    except RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise SpecError(
            f"plan: a few training steps must run where trials will, but got "
            f"{type(error).__name__}: {reason}. Free memory, or choose a smaller budget."
        ) from error
    lines = dict(zip(probes, measured, strict=True))

    def epoch_seconds(config: TrialConfig) -> float:
        nearest = min(probes, key=lambda width: abs(math.log(width / config.model.d_model)))
        base, per_layer = lines[nearest]
        # Between the measured widths a layer's work grows with the square of its width.
        scale = (config.model.d_model / nearest) ** 2
        seconds: float = base + per_layer * config.model.n_layers * scale
        return seconds * len(data.train_days)

    seconds = sorted(epoch_seconds(config) for config in configs)
    median = seconds[len(seconds) // 2]
    epochs = configs[0].train.epochs
    most = search.trials * epochs * (sum(seconds) / len(seconds)) / concurrency
    return Estimate(
        epoch_seconds_min=seconds[0],
        epoch_seconds_median=median,
        epoch_seconds_max=seconds[-1],
        search_seconds_expected=most * planned_share(search),
        search_seconds_most=most,
    )


def planned_share(search: SearchConfig) -> float:
    """Return the share of all schedules that is trained if one trial in eta passes each rung."""
    if search.scheduler == "fifo" or search.trials < 2 * search.reduction_factor:
        return 1.0
    share, rung, survivors = search.grace_share, search.grace_share, 1.0
    while rung < 1.0:
        survivors /= search.reduction_factor
        following = min(1.0, rung * search.reduction_factor)
        share += survivors * (following - rung)
        rung = following
    return share


def _measure(
    configs: Sequence[TrialConfig], data: Dataset, device: str | None
) -> list[tuple[float, float]]:
    """Return seconds per sample of each width: outside the layers, and per layer."""
    assigned: dict[str, Any] = ray.get_runtime_context().get_assigned_resources()
    torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))
    where = resolve_device(float(assigned.get("GPU", 0.0)), device)
    whole = training_data(data)
    lines = []
    for config in configs:
        times = []
        for depth in _DEPTHS:
            model = dataclasses.replace(config.model, n_layers=depth)
            affordable = max(_FEWEST_WINDOWS, int(_PROBE_FLOPS / step_flops(model, 1)))
            windows = min(config.train.effective_batch, len(whole.train_days), affordable)
            few = dataclasses.replace(
                whole, train_days=whole.train_days[:windows], validation_days=whole.train_days[:1]
            )
            trainer = Trainer(
                model=model,
                train=dataclasses.replace(
                    config.train,
                    # A step takes as long at any rate, and cannot diverge at this one.
                    learning_rate=_PROBE_RATE,
                    epochs=_REPEATS,
                    patience=None,
                    collapse_grace_share=1.0,
                ),
                data=few,
                device=where,
                micro_batch=windows,
                seed=0,
                bf16=supports_bf16(where),
            )
            reports = [trainer.run_epoch() for _ in range(_REPEATS)]
            times.append(min(report.step_seconds for report in reports) / windows)
        per_layer = max(0.0, (times[1] - times[0]) / (_DEPTHS[1] - _DEPTHS[0]))
        lines.append((max(0.0, times[0] - _DEPTHS[0] * per_layer), per_layer))
    return lines
