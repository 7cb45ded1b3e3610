"""A worker with a trial's resources that times models: their begin, steps and checkpoints.

A model whose step is small is timed with its whole batch. A larger one is timed with a small and a
larger part of a batch. The difference of the two times is that of the additional windows;
subtracting the windows' time from the first leaves the time that a step takes besides its windows.
"""

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
import torch

from study.model.sizing import count_parameters, step_flops
from study.planning.step_times import CheckpointTime, ProbeTime
from study.results.epoch_report import EpochReport
from study.search.space import TrialConfig
from study.training.checkpoint import CheckpointFolder
from study.training.device import (
    bound_kernel_cache,
    release_cached_memory,
    resolve_device,
    supports_bf16,
)
from study.training.state_file import HostCopy
from study.training.step.graphs import WARM_UP_RUNS, graphs_of
from study.training.step.samples import Samples
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
"""Floating-point operations of the first of the two parts of a larger step."""

_PARTS_RATIO = 4
"""Windows of the second part per window of the first. The line through two closer points would
follow their noise."""

FEWEST_WINDOWS = 8
"""Fewest windows of the first part."""

_PROBE_RATE = 1e-9
"""Learning rate of all probes: a step takes as long at any rate, and cannot diverge at this one."""

_TIMED_SECONDS = 0.4
"""Seconds for which a model's steps are timed, within the two counts below; an own choice."""

_FEWEST_TIMED = 2
"""Fewest timed steps of a model, after those that warm up and are not timed; an own choice."""

_MOST_TIMED = 8
"""Most timed steps of a model; an own choice."""

_SMALL_SPREAD = 0.03
"""Difference between the slowest and the fastest of a model's timed steps, as a share of their
median, at which no further one is timed; an own choice, a tenth of what a plan may be wrong by."""


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
        few = self._few(FEWEST_WINDOWS)
        self._trainer(config, few, FEWEST_WINDOWS, epochs=1).run_epoch()

    def prepare(self, config: TrialConfig) -> None:
        """Be ready to train a model beside other processes."""
        self._side_by_side = None
        batch = config.train.effective_batch
        few = dataclasses.replace(
            self._few(FEWEST_WINDOWS), train_days=self._data.train_days[: _SHARED_STEPS * batch]
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
        if batch * flops <= WHOLE_FLOPS:
            timed = self._time(config, batch, saves=saves)
            return dataclasses.replace(
                timed, window_seconds=timed.step_seconds / batch, step_seconds=0.0
            )
        # The cost of a step besides its windows (the optimizer, casts of the weights) must not
        # count as theirs, or the time per window of a small part would be too long.
        few = min(batch // _PARTS_RATIO, max(FEWEST_WINDOWS, int(_PART_FLOPS / flops)))
        first = self._time(config, few, saves=saves)
        second = self._time(config, _PARTS_RATIO * few, saves=False).step_seconds
        of_windows = min(
            first.step_seconds, max(0.0, second - first.step_seconds) / (_PARTS_RATIO - 1)
        )
        return dataclasses.replace(
            first, window_seconds=of_windows / few, step_seconds=first.step_seconds - of_windows
        )

    def _time(self, config: TrialConfig, windows: int, *, saves: bool) -> ProbeTime:
        """Return the times of a model whose steps, of ``windows``, all count as step seconds."""
        is_whole = windows >= config.train.effective_batch
        # On the CPU a sample takes as long among few as among many.
        few = self._few(windows, is_validated_whole=is_whole and self._device.type != "cpu")
        began = time.perf_counter()
        # A captured step is timed once it is replayed, as nearly all steps of a trial are.
        trainer = self._trainer(config, few, windows, epochs=self._n_untimed + _MOST_TIMED)
        build_seconds = time.perf_counter() - began
        first = [trainer.run_epoch() for _ in range(self._n_untimed)]
        timed: list[EpochReport] = []
        began = time.monotonic()
        while _needs_another(timed, time.monotonic() - began):
            timed.append(trainer.run_epoch())
        step = statistics.median(map(_step_seconds, timed))
        validation = statistics.median(r.validation_seconds for r in timed)
        step_excess = sum(map(_step_seconds, first)) - len(first) * step
        validation_excess = sum(r.validation_seconds for r in first) - len(first) * validation
        return ProbeTime(
            window_seconds=0.0,
            step_seconds=step,
            validation_seconds=validation / len(few.validation_days),
            begin_seconds=build_seconds
            + self._n_shapes(config) * max(0.0, step_excess)
            + max(0.0, validation_excess),
            checkpoint=self._checkpoint(trainer, config) if saves else None,
        )

    def _n_shapes(self, config: TrialConfig) -> int:
        """Return how many shapes of steps are captured: whole batches, and the rest of an epoch."""
        n_train, batch = len(self._data.train_days), config.train.effective_batch
        return 2 if self._graphs is not None and n_train > batch and n_train % batch else 1

    def _few(self, windows: int, *, is_validated_whole: bool = False) -> Any:
        """Return data of one step of so many samples, and as many to validate, or all of them."""
        days = self._data.validation_days
        return dataclasses.replace(
            self._data,
            train_days=self._data.train_days[:windows],
            validation_days=days if is_validated_whole else days[:windows],
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
                config.train,
                effective_batch=batch,
                learning_rate=_PROBE_RATE,
                epochs=epochs,
                phases="",
                pretrain_epochs=0,
                steps_per_epoch=None,
                patience=None,
                collapse_grace_share=1.0,
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


def _step_seconds(report: EpochReport) -> float:
    return report.data_seconds + report.step_seconds


def _needs_another(timed: list[EpochReport], seconds: float) -> bool:
    """Return whether one more step of a model is timed: until they agree or their time is up."""
    if len(timed) < _FEWEST_TIMED:
        return True
    steps = list(map(_step_seconds, timed))
    spread = (max(steps) - min(steps)) / statistics.median(steps)
    return spread > _SMALL_SPREAD and len(timed) < _MOST_TIMED and seconds < _TIMED_SECONDS
