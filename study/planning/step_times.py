"""The time of an epoch of any architecture, fitted to the measured times of a few.

An epoch takes::

    n_train * window + n_steps * step + n_validation * validation

where ``window`` and ``validation`` are seconds per sample, and ``step`` is seconds per optimizer
step besides its samples (the optimizer, casts of the weights). Some epochs are saved too.

A trial begins with the building of its model, and its first steps and validations take longer than
later ones: kernels are chosen, memory is taken, and a device that can captures each shape once.

These times depend on the number of layers and on the kind of layer: its width and feed-forward
ratio, through the floating-point operations per sample alone. Each kind that is measured is timed
in a model of one layer and in a deep one, and each time is a straight line through these two over
the number of layers. The time of one layer, and the slope for each further one, are interpolated
linearly between the kinds, over the operations of a layer, and held constant below the smallest.
Above the largest they grow with the operations: products run at one rate there, and the update of
the weights grows with their number. A slope is never negative: only noise lets a deep model be
faster.

Trials in the two memory modes have times of their own: a lean step computes every layer's forward
pass twice, and decodes and encodes the moments of all parameters. A space that has both modes is
measured in both.

The times of a checkpoint, of writing and of copying it, are straight lines in the number of
parameters, through the smallest and the largest one that was written.
"""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters, step_flops
from study.search.space import TrialConfig
from study.training.train_config import Memory

SHALLOW = 1
"""Number of layers of the shallow model of each kind of layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointTime:
    """The measured times of one checkpoint."""

    memory: Memory
    """Memory mode of its trial."""
    n_params: int
    """Parameters of its model."""
    written_seconds: float
    """Time of writing it while training waits."""
    copied_seconds: float
    """Time that training loses where a thread writes it: that of the copy on a device with memory
    of its own, and all of its writing on any other, whose processors train meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeTime:
    """The measured times of one model."""

    window_seconds: float
    """Training time per sample."""
    step_seconds: float
    """Training time per optimizer step besides its samples; 0 where whole batches were timed."""
    validation_seconds: float
    """Validation time per sample."""
    begin_seconds: float
    """Time of building the model, and that of a trial's first steps and validations beyond as many
    later ones."""
    checkpoint: CheckpointTime | None
    """Times of a checkpoint; None if none was written."""
    waited_share: float = 0.0
    """Share of the timed seconds in which its process waited for a processor, as it does where
    others compute; 0 on an accelerator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerTimes:
    """A kind of layer (its width and feed-forward ratio), timed in a shallow and a deep model."""

    memory: Memory
    """Memory mode in which both were trained: each mode that a space has is timed."""
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
    """The measured kinds of layer, ascending in operations, at least one of each memory mode."""
    checkpoints: tuple[CheckpointTime, ...]
    """The checkpoints that were written, ascending in parameters, at least one of each mode."""
    worker_seconds: float
    """Seconds from the request for workers until each has taken its first step: their processes,
    their imports and the context of their device."""
    per_device: int | None = None
    """Trials on a device that train most samples a second; None where none was tried."""
    measured_at: float | None = None
    """Seconds since the epoch of the oldest time that an earlier command measured; None if this
    one has measured all of them."""

    def epoch_seconds(self, config: TrialConfig, n_train: int, n_validation: int) -> float:
        """Return the seconds of an epoch of ``config`` without its report and its checkpoint.

        The first epoch of a trial takes ``begin_seconds`` more.
        """
        n_steps, n_taken = (
            config.train.steps_in_epoch(n_train),
            config.train.samples_in_epoch(n_train),
        )
        return (
            n_taken * self._fitted("window_seconds", config)
            + n_steps * self._fitted("step_seconds", config)
            + n_validation * self._fitted("validation_seconds", config)
        )

    def begin_seconds(self, config: TrialConfig) -> float:
        """Return the seconds that the begin of a trial of ``config`` takes in a running worker."""
        return self._fitted("begin_seconds", config)

    def checkpoint(self, config: TrialConfig) -> CheckpointTime:
        """Return the times of a checkpoint of ``config``."""
        n_params, memory = count_parameters(config.model), config.train.memory
        own = [one for one in self.checkpoints if one.memory == memory]
        smallest, largest = own[0], own[-1]
        further = n_params - smallest.n_params
        span = largest.n_params - smallest.n_params

        def at_size(least: float, most: float) -> float:
            # Two models of equal size tell nothing of another one.
            slope = max(0.0, most - least) / span if span > 0 else 0.0
            return max(0.0, least + further * slope)

        return CheckpointTime(
            memory=memory,
            n_params=n_params,
            written_seconds=at_size(smallest.written_seconds, largest.written_seconds),
            copied_seconds=at_size(smallest.copied_seconds, largest.copied_seconds),
        )

    def _fitted(self, name: str, config: TrialConfig) -> float:
        """Return one of the measured times for a model of any kind of layer and any depth."""
        layers = [layer for layer in self.layers if layer.memory == config.train.memory]
        flops = [layer.layer_flops for layer in layers]
        shallow = [getattr(layer.shallow, name) for layer in layers]
        slopes = [
            max(0.0, getattr(layer.deep, name) - getattr(layer.shallow, name))
            / (layer.deep_layers - SHALLOW)
            for layer in layers
        ]
        own, further = layer_flops(config.model), config.model.n_layers - SHALLOW
        beyond = max(1.0, own / flops[-1])
        of_kind = np.interp(own, flops, shallow) + further * np.interp(own, flops, slopes)
        return float(beyond * of_kind)


@functools.lru_cache(maxsize=4096)
def layer_flops(model: ModelConfig) -> float:
    """Return the floating-point operations of one inner layer on one sample."""
    two, three = (dataclasses.replace(model, n_layers=n) for n in (2, 3))
    return float(step_flops(three, 1) - step_flops(two, 1))
