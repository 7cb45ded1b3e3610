"""A simulated accelerator: torch's own Python code, with recorders in place of its C calls.

Only the lowest calls of torch 2.13's Python code are replaced, so that torch itself refuses wrong
arguments: ``torch._C._cuda_*`` and ``torch._C._mps_*``, the events and the generators. The refusals
of the last two are repeated here, with their place in torch's source. Tensors on the device are
made on the CPU instead.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.recorded_graph import Graph, Mode

_CPU = torch.device("cpu")
_PEAK_BYTES = 123 * 2**20
"""Bytes that the device reports as its peak memory."""


@dataclass(slots=True)
class Recorder:
    """The C calls that reached the device."""

    calls: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    """Arguments of the calls, by the name of the C function."""

    def noting(self, name: str, returns: object = None) -> Callable[..., Any]:
        """Return a C function that only records its calls."""

        def call(*arguments: Any) -> Any:
            self.calls.setdefault(name, []).append(arguments)
            return returns

        return call


class _Elsewhere(TorchFunctionMode):
    """Makes tensors on the CPU that are requested on a device of this kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        asked = kwargs or {}
        given = {name: self._moved(value) for name, value in asked.items()}
        if self._kind == "mps" and given != asked and given.get("dtype") == torch.float64:
            # torch 2.13's aten/src/ATen/mps/EmptyTensor.cpp refuses it so.
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support "
                "float64. Please use float32 instead."
            )
        return func(*map(self._moved, args), **given)

    def _moved(self, value: Any) -> Any:
        is_it = isinstance(value, torch.device) and value.type == self._kind
        return _CPU if is_it else value


class _Event:
    """An Event of torch/cuda/streams.py, with the refusals of aten/src/ATen/cuda/CUDAEvent.h."""

    def __init__(
        self,
        enable_timing: bool = False,
        blocking: bool = False,
        interprocess: bool = False,
        external: bool = False,
    ) -> None:
        self._is_timed = enable_timing
        self._is_recorded = False

    def record(self, stream: object = None) -> None:
        self._is_recorded = True

    def elapsed_time(self, end_event: "_Event") -> float:
        if not (self._is_timed and end_event._is_timed):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        if not (self._is_recorded and end_event._is_recorded):
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return 1.0


class _Stream:
    """A Stream of torch/cuda/streams.py, which is in the order of all others."""

    def __init__(self, device: torch.device | None = None, priority: int = 0) -> None:
        self.device = device

    def wait_stream(self, stream: "_Stream") -> None:
        assert stream.device == self.device


@contextmanager
def accelerator(kind: str) -> Iterator[Recorder]:
    """Make torch find one device of this kind, until the end of the block."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "Generator", _generators(kind))
        if kind == "cuda":
            _stand_in_for_cuda(recorder, patch)
        else:
            _stand_in_for_mps(recorder, patch)
        with _Elsewhere(kind):
            yield recorder


def _generators(kind: str) -> type[torch.Generator]:
    class Generator(torch.Generator):
        def __new__(cls, device: torch.device | str = "cpu") -> "Generator":
            found = torch.device(device)
            if found.type not in ("cpu", kind):
                # THPGenerator_pynew in torch/csrc/Generator.cpp refuses other types so.
                raise RuntimeError(f"Device type {found.type} is not supported")
            return super().__new__(cls, "cpu")  # type: ignore[call-arg]

    return Generator


def _stand_in_for_cuda(recorder: Recorder, patch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(major=9, total_memory=80 * 2**30)
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "device_count", lambda: 1)
    patch.setattr(torch.cuda, "_initialized", True)
    patch.setattr(torch.cuda, "_get_device_properties", lambda index: properties, raising=False)
    patch.setattr(torch.cuda, "default_generators", (torch.Generator("cpu"),))
    patch.setattr(torch.cuda, "_exchange_device", lambda index: 0)
    patch.setattr(torch.cuda, "_maybe_exchange_device", lambda index: 0)
    patch.setattr(torch.cuda, "Event", _Event)
    patch.setattr(torch.cuda, "Stream", _Stream)
    patch.setattr(torch.cuda, "current_stream", _Stream)
    patch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    patch.setattr(torch.cuda, "graph_pool_handle", recorder.noting("graph_pool_handle", (0, 1)))
    patch.setattr(torch.accelerator, "Graph", _graphs(recorder))
    patch.setattr(torch.cuda, "CUDAGraph", _older_graphs(recorder))
    returned = {
        "_cuda_getDevice": 0,
        "_cuda_synchronize": None,
        "_cuda_setMemoryFraction": None,
        "_cuda_emptyCache": None,
        "_host_emptyCache": None,
        "_cuda_resetPeakMemoryStats": None,
        "_cuda_memoryStats": {"allocated_bytes": {"all": {"peak": _PEAK_BYTES}}},
    }
    for name, value in returned.items():
        patch.setattr(torch._C, name, recorder.noting(name, value), raising=False)


def _graphs(recorder: Recorder) -> type[Graph]:
    class RecordedGraph(Graph):
        def __init__(
            self,
            keep_graph: bool = False,
            *,
            pool: tuple[int, int] | None = None,
            capture_error_mode: Mode = "default",
        ) -> None:
            recorder.noting("Graph")(pool, capture_error_mode)
            super().__init__(keep_graph, pool=pool, capture_error_mode=capture_error_mode)

        def replay(self) -> None:
            recorder.noting("replay")()
            super().replay()

    return RecordedGraph


def _older_graphs(recorder: Recorder) -> type[Graph]:
    class CUDAGraph(Graph):
        """A CUDAGraph of torch/cuda/graphs.py, which ``torch.cuda.graph`` captures."""

        def __init__(self, keep_graph: bool = False) -> None:
            super().__init__(keep_graph)

        def capture_begin(
            self,
            pool: tuple[int, int] | None = None,
            capture_error_mode: str = "global",
            check_input_liveness: bool = False,
        ) -> None:
            recorder.noting("CUDAGraph")(pool, capture_error_mode)
            super().capture_begin()

    return CUDAGraph


def _stand_in_for_mps(recorder: Recorder, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch.backends.mps, "is_available", lambda: True)
    patch.setattr(torch.mps, "_default_mps_generator", torch.Generator("cpu"))
    returned = {
        "_mps_deviceSynchronize": None,
        "_mps_setMemoryFraction": None,
        "_mps_emptyCache": None,
        "_mps_driverAllocatedMemory": _PEAK_BYTES,
        "_mps_recommendedMaxMemory": 16 * 2**30,
    }
    for name, value in returned.items():
        patch.setattr(torch._C, name, recorder.noting(name, value), raising=False)
