"""The time of an epoch of any architecture, fitted to the measured times of a few.

An epoch takes::

    n_train * window + n_steps * step + n_validation * validation

where ``window`` and ``validation`` are seconds per sample, and ``step`` is seconds per optimizer
step besides its samples (the optimizer, casts of the weights). Some epochs are saved too.

These three depend on the number of layers and on the kind of layer: its width and feed-forward
ratio, through the floating-point operations per sample alone. Each kind that is measured is timed
in a model of one layer and in a deep one, and each time is a straight line through these two over
the number of layers. The time of one layer, and the slope for each further one, are interpolated
linearly between the kinds, over the operations of a layer, and held constant beyond the smallest
and the largest kind. A slope is never negative: only noise lets a deep model be faster.

The time of a checkpoint is a straight line in the number of parameters, through the smallest and
the largest one that was written.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters, step_flops
from study.search.space import TrialConfig

SHALLOW = 1
"""Number of layers of the shallow model of each kind of layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeTime:
    """The measured times of one model."""

    window_seconds: float
    """Training time per sample."""
    step_seconds: float
    """Training time per optimizer step besides its samples; 0 where whole batches were timed."""
    validation_seconds: float
    """Validation time per sample."""
    checkpoint_seconds: float | None
    """Time of writing a checkpoint; None if it was too large to be written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerTimes:
    """A kind of layer (its width and feed-forward ratio), timed in a shallow and a deep model."""

    layer_flops: float
    """Floating-point operations of one layer on one sample."""
    deep_layers: int
    """Number of layers of the deep model."""
    shallow: ProbeTime
    deep: ProbeTime


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTimes:
    """All that was measured for budgets whose trials have equal resources; horizons share it."""

    layers: tuple[LayerTimes, ...]
    """The measured kinds of layer, ascending in operations, at least one."""
    checkpoints: tuple[tuple[int, float], ...]
    """Parameters and seconds of the checkpoints that were written, ascending, at least one."""
    worker_seconds: float
    """Seconds from the request for workers until they are ready."""
    per_device: int | None = None
    """Trials on a device that train most samples a second; None where none was tried."""

    def epoch_seconds(self, config: TrialConfig, n_train: int, n_validation: int) -> float:
        """Return the seconds of an epoch of ``config`` without its report and its checkpoint."""
        n_steps = -(-n_train // config.train.effective_batch)
        return (
            n_train * self._fitted("window_seconds", config.model)
            + n_steps * self._fitted("step_seconds", config.model)
            + n_validation * self._fitted("validation_seconds", config.model)
        )

    def checkpoint_seconds(self, config: TrialConfig) -> float:
        """Return the seconds of writing a checkpoint of ``config`` while training waits."""
        (few, least), (many, most) = self.checkpoints[0], self.checkpoints[-1]
        per_parameter = max(0.0, most - least) / (many - few) if many > few else 0.0
        return max(0.0, least + per_parameter * (count_parameters(config.model) - few))

    def _fitted(self, name: str, model: ModelConfig) -> float:
        """Return one of the measured times for a model of any kind of layer and any depth."""
        flops = [layer.layer_flops for layer in self.layers]
        shallow = [getattr(layer.shallow, name) for layer in self.layers]
        slopes = [
            max(0.0, getattr(layer.deep, name) - getattr(layer.shallow, name))
            / (layer.deep_layers - SHALLOW)
            for layer in self.layers
        ]
        own, further = layer_flops(model), model.n_layers - SHALLOW
        return float(np.interp(own, flops, shallow) + further * np.interp(own, flops, slopes))


def layer_flops(model: ModelConfig) -> float:
    """Return the floating-point operations of one inner layer on one sample."""
    two, three = (dataclasses.replace(model, n_layers=n) for n in (2, 3))
    return float(step_flops(three, 1) - step_flops(two, 1))
