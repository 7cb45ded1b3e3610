"""The kernels of replayed steps, by the time that they take; on the CPU the operators instead."""

import torch
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEventAvg
from torch.profiler import ProfilerActivity, profile

from study.training.device import synchronise
from tests.bench.gpu.sizes import Sizes, StepSize
from tests.bench.gpu.steps import warm_trainer
from tests.bench.gpu.timing import Row, Rows

SHOWN = 10
"""Kernels that are shown of each architecture."""

MOST_LETTERS = 90
"""Letters that are shown of a kernel's name, which may be a whole C++ type."""


def rows(sizes: Sizes, device: torch.device) -> Rows:
    for size in sizes.profiled:
        yield from _rows_of(size, sizes.batch, device)


def _rows_of(size: StepSize, batch: int, device: torch.device) -> Rows:
    """Profile an epoch with its validation, after the steps have been captured."""
    own = warm_trainer(size.model, device, batch, size.steps)
    is_cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU]) as found:
        own.run_epoch()
        synchronise(device)
    kernels = {
        each.key: (_microseconds(each), each.count)
        for each in found.key_averages()
        if (each.device_type == DeviceType.CUDA) == is_cuda and _microseconds(each) > 0
    }
    whole = sum(taken for taken, _ in kernels.values())
    what = f"profile {size.name}"
    yield Row(
        f"{what}, {own.capture or 'eager: the CPU'}",
        f"{len(kernels)} {'kernels' if is_cuda else 'operators'} of {size.steps} steps and their "
        f"validation: {whole / 1000:.3g} ms",
    )
    if not kernels:
        return
    slowest = sorted(kernels.items(), key=lambda each: -each[1][0])[:SHOWN]
    for name, (taken, count) in slowest:
        calls = f"{count / size.steps:.0f} calls a step"
        yield Row(what, f"{taken / whole:.1%}, {calls}", name[:MOST_LETTERS].replace("|", "/"))


def _microseconds(event: FunctionEventAvg) -> float:
    """Return the time of a kernel itself, or of an operator without those that it calls."""
    on_device: float = event.self_device_time_total
    on_host: float = event.self_cpu_time_total
    return on_device if event.device_type == DeviceType.CUDA else on_host
