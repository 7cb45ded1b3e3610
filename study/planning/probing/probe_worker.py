"""A worker with a trial's resources that times models: their begin, steps and checkpoints.

A model whose step is small is timed with its whole batch. A larger one takes two steps an epoch, of
a larger and of a smaller part of a batch. The difference of their times is that of the additional
windows; subtracting the windows' time from the smaller leaves the time that a step takes besides
its windows.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch

from study.model.sizing import count_parameters, step_flops
from study.planning.step_times import CheckpointTime, ProbeTime
from study.search.space import TrialConfig
from study.training.checkpoint import CheckpointFolder
from study.training.device import (
    bound_kernel_cache,
    release_cached_memory,
    resolve_device,
    supports_bf16,
    synchronise,
)
from study.training.state_file import HostCopy
from study.training.step.graphs import WARM_UP_RUNS, graphs_of
from study.training.step.samples import Samples
from study.training.train_config import TrainConfig
from study.training.trainer import Trainer

_SHARED_STEPS = 4
"""Steps per epoch of processes that train side by side: they check the time between epochs."""

_SHARED_EPOCHS = 100_000
"""Epochs of such a process, more than it can train in its time."""

_SHARED_SECONDS = 0.2
"""Seconds for which processes train side by side, for each number of them, and at least one epoch;
an own choice."""

WHOLE_FLOPS = 4e10
"""Floating-point operations of a step up to which the whole batch is timed: half a second to a
second on a slow core."""

_PART_FLOPS = 5e9
"""Floating-point operations of the smaller of the two parts of a larger step."""

_PARTS_RATIO = 8
"""Windows of the larger part per window of the smaller. The line through two closer points would
follow their noise: a lean step of few windows is mostly the update of its weights."""

_FEWEST_WINDOWS = 8
"""Fewest windows of the smaller part."""

FEWEST_IN_EPOCH = (_PARTS_RATIO + 1) * _FEWEST_WINDOWS
"""Fewest windows of both parts together."""

_MOST_VALIDATED = 64
"""Most samples that an epoch validates on a CPU, where one takes as long among few as among many;
an own choice."""

_PROBE_RATE = 1e-9
"""Learning rate of all probes: a step takes as long at any rate, and cannot diverge at this one."""

_TIMED_SECONDS = 0.4
"""Seconds for which a model's epochs are timed, within the two counts below; an own choice."""

_FEWEST_TIMED = 2
"""Fewest timed epochs of a model, after those that warm up and are not timed; an own choice."""

_LONG_SECONDS = 1.5
"""Seconds of timed epochs after which not even so many are needed: the longer a step takes, the
less do the pauses of a system change it; an own choice."""

_MOST_TIMED = 8
"""Most timed epochs of a model; an own choice."""

_SMALL_SPREAD = 0.03
"""Difference between the slowest and the fastest of a model's timed epochs, as a share of their
median, at which no further one is timed; an own choice, a tenth of the 30 % that a plan may be
wrong by."""


class ProbeWorker:
    """An actor with a trial's resources that times models."""

    def __init__(self, data: Samples, device: str | None, capture: bool) -> None:
        assigned: dict[str, Any] = ray.get_runtime_context().get_assigned_resources()
        bound_kernel_cache()
        torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))
        self._device = resolve_device(float(assigned.get("GPU", 0.0)), device)
        self._graphs = graphs_of(self._device, is_wanted=capture)
        self._n_untimed = 1 if self._graphs is None else WARM_UP_RUNS + 1
        """Steps after which all are alike."""
        self._data: Any = data
        """Samples, as a dataclass of which parts are taken."""

        self._side_by_side: Trainer | None = None
        """The trainer of a process that trains beside others; None once none is tried."""
        self._n_shared = 0
        """Samples of an epoch of that trainer."""

    def warm_up(self, config: TrialConfig) -> None:
        """Take a first step, for which the libraries load their kernels."""
        few = self._few(_FEWEST_WINDOWS, _FEWEST_WINDOWS)
        self._trainer(config, few, _FEWEST_WINDOWS, epochs=1).run_epoch()

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

    def rate(self) -> tuple[float, float]:
        """Return the samples a second that this process trains now, and its share of waiting.

        The share is that of its time in which it waited for a processor.
        """
        assert self._side_by_side is not None
        began, at_work, n_samples = time.perf_counter(), time.thread_time(), 0
        while time.perf_counter() - began < _SHARED_SECONDS:
            self._side_by_side.run_epoch()
            n_samples += self._n_shared
        at_work, seconds = time.thread_time() - at_work, time.perf_counter() - began
        return n_samples / seconds, self._waited_share(at_work, seconds)

    def release(self) -> None:
        """Give up the model that was trained beside others."""
        self._side_by_side = None
        release_cached_memory(self._device)

    def measure(self, config: TrialConfig, *, saves: bool) -> ProbeTime:
        """Time one model, and its checkpoint if it ``saves`` one."""
        flops = step_flops(config.model, 1)
        batch = min(config.train.effective_batch, len(self._data.train_days))
        if batch * flops <= WHOLE_FLOPS:
            timed, (step_seconds,) = self._time(config, (batch,), saves=saves)
            return dataclasses.replace(timed, window_seconds=step_seconds / batch)
        # The cost of a step besides its windows (the optimizer, casts of the weights) must not
        # count as theirs, or the time per window of a small part would be too long.
        few = max(_FEWEST_WINDOWS, int(_PART_FLOPS / flops))
        few = max(1, min(batch // (_PARTS_RATIO + 1), few))
        timed, (larger, smaller) = self._time(config, (_PARTS_RATIO * few, few), saves=saves)
        of_windows = min(smaller, max(0.0, larger - smaller) / (_PARTS_RATIO - 1))
        return dataclasses.replace(
            timed, window_seconds=of_windows / few, step_seconds=smaller - of_windows
        )

    def _time(
        self, config: TrialConfig, steps: Sequence[int], *, saves: bool
    ) -> tuple[ProbeTime, list[float]]:
        """Time epochs of these steps, each given by its windows, the largest first.

        Returns: the times of the model besides its steps, and the seconds of each step.
        """
        n_validated = steps[-1]
        if steps[0] >= config.train.effective_batch:
            n_all = len(self._data.validation_days)
            n_validated = _MOST_VALIDATED if self._device.type == "cpu" else n_all
        few = self._few(sum(steps), n_validated)
        began = time.perf_counter()
        # A captured step is timed once it is replayed, as nearly all steps of a trial are.
        trainer = self._trainer(config, few, steps[0], epochs=self._n_untimed + _MOST_TIMED)
        build_seconds = time.perf_counter() - began
        first = [self._epoch(trainer) for _ in range(self._n_untimed)]
        timed: list[_Epoch] = []
        began, at_work = time.perf_counter(), time.thread_time()
        while _needs_another(timed, time.perf_counter() - began):
            timed.append(self._epoch(trainer))
        at_work, seconds = time.thread_time() - at_work, time.perf_counter() - began
        whole = statistics.median(sum(epoch.steps) for epoch in timed)
        validation = statistics.median(epoch.validation for epoch in timed)
        step_excess = sum(sum(epoch.steps) for epoch in first) - len(first) * whole
        validation_excess = sum(epoch.validation for epoch in first) - len(first) * validation
        found = ProbeTime(
            window_seconds=0.0,
            step_seconds=0.0,
            validation_seconds=validation / len(few.validation_days),
            begin_seconds=build_seconds
            + self._n_shapes(config) * max(0.0, step_excess) / len(steps)
            + max(0.0, validation_excess),
            checkpoint=self._checkpoint(trainer, config) if saves else None,
            waited_share=self._waited_share(at_work, seconds),
        )
        each_step = zip(*(epoch.steps for epoch in timed), strict=True)
        return found, list(map(statistics.median, each_step))

    def _waited_share(self, at_work: float, seconds: float) -> float:
        """Return the share of some seconds in which this thread waited for a processor."""
        # What trains on an accelerator waits for it, not for a processor.
        return max(0.0, 1 - at_work / seconds) if self._device.type == "cpu" else 0.0

    def _epoch(self, trainer: Trainer) -> "_Epoch":
        """Train an epoch of one or two steps, and return their times."""
        ends: list[float] = []

        def note_end() -> bool:
            synchronise(self._device)
            ends.append(time.perf_counter())
            return False

        began = time.perf_counter()
        report = trainer.run_epoch(note_end)
        assert report is not None
        trained = report.data_seconds + report.step_seconds
        between = [end - began for end in ends]
        return _Epoch(
            steps=(*between, trained - sum(between)), validation=report.validation_seconds
        )

    def _n_shapes(self, config: TrialConfig) -> int:
        """Return how many shapes of steps are captured: whole batches, and the rest of an epoch."""
        n_train, batch = len(self._data.train_days), config.train.effective_batch
        return 2 if self._graphs is not None and n_train > batch and n_train % batch else 1

    def _few(self, n_train: int, n_validation: int) -> Any:
        """Return data of so many samples to train and to validate, as far as there are as many."""
        return dataclasses.replace(
            self._data,
            train_days=self._data.train_days[:n_train],
            validation_days=self._data.validation_days[:n_validation],
        )

    def _checkpoint(self, trainer: Trainer, config: TrialConfig) -> CheckpointTime:
        """Time a checkpoint in a temporary folder: nothing is written where results will be."""
        state = trainer.state_dict()
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            CheckpointFolder(Path(folder)).save(state)
            written_seconds = copied_seconds = time.perf_counter() - began
        if self._device.type == "cuda":
            began = time.perf_counter()
            HostCopy().of(state)
            copied_seconds = time.perf_counter() - began
        return CheckpointTime(
            memory=config.train.memory,
            n_params=count_parameters(config.model),
            written_seconds=written_seconds,
            copied_seconds=copied_seconds,
        )

    def _trainer(self, config: TrialConfig, data: Samples, batch: int, *, epochs: int) -> Trainer:
        """Return a trainer whose steps take ``batch`` windows each."""
        return Trainer(
            model=config.model,
            train=dataclasses.replace(
                as_probed(config.train), effective_batch=batch, epochs=epochs
            ),
            data=data,
            device=self._device,
            micro_batch=batch,
            seed=0,
            bf16=supports_bf16(self._device),
            graphs=self._graphs,
            # Files without a name, as a trial has them in its own folder.
            scratch=Path(tempfile.gettempdir()),
        )


class _Epoch(NamedTuple):
    """The times of an epoch of a probe."""

    steps: tuple[float, ...]
    """Seconds of each step."""
    validation: float


def as_probed(train: TrainConfig) -> TrainConfig:
    """Return the settings of a trial without those that a probe has of its own."""
    return dataclasses.replace(
        train,
        learning_rate=_PROBE_RATE,
        epochs=1,
        phases="",
        pretrain_epochs=0,
        steps_per_epoch=None,
        patience=None,
        collapse_grace_share=1.0,
    )


def _needs_another(timed: list[_Epoch], seconds: float) -> bool:
    """Return whether one more epoch of a model is timed: until they agree or their time is up."""
    if len(timed) < _FEWEST_TIMED:
        return not timed or seconds < _LONG_SECONDS
    whole = [sum(epoch.steps) for epoch in timed]
    spread = (max(whole) - min(whole)) / statistics.median(whole)
    return spread > _SMALL_SPREAD and len(timed) < _MOST_TIMED and seconds < _TIMED_SECONDS
