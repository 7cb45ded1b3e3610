"""What is known of the device that a trial was given: which one, what it can do, what it used."""

import ctypes
import os
import platform
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor

from study.errors import require

DeviceName = Literal["cpu", "cuda", "mps"]

T = TypeVar("T")

# proc(5): 5 written to clear_refs resets VmHWM, the peak resident set in status.
_LINUX_RESET = Path("/proc/self/clear_refs")
_LINUX_STATUS = Path("/proc/self/status")


_MEMORY_TEXTS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""By which a RuntimeError of torch is known for a lack of memory."""


def resolve_device(accelerator_share: float, override: str | None = None) -> torch.device:
    """The device to train on, from what was assigned and never from what is merely visible.

    An accelerator comes with its index, like the device of every tensor on it: some of torch's
    calls refuse one without. It is 0, the first that this process can see, because Ray lets a
    trial's process see only what it assigned (``CUDA_VISIBLE_DEVICES``), and Apple has only one.

    Args:
        accelerator_share: share of an accelerator that the scheduler assigned; 0 means the CPU,
            even on a machine whose GPU can be seen, because another trial may own it.
        override: ``cpu``, ``cuda`` or ``mps``, as the user typed it; None follows the assignment.

    Raises: SpecError if the override is unknown or absent, or if a share of nothing was assigned.
    """
    if override is not None:
        require(
            override in get_args(DeviceName),
            "--device",
            f"must be one of {', '.join(get_args(DeviceName))}",
            got=f"device={override!r}",
            remedy="Leave it out to follow what was assigned.",
        )
        require(
            is_present(override),
            "--device",
            "must be present on this machine",
            got=f"device={override!r}",
            remedy="Choose cpu, or install a torch build for the device.",
        )
        return _device(override)
    if accelerator_share <= 0:
        return torch.device("cpu")
    found = next(filter(is_present, ("cuda", "mps")), None)
    require(
        found is not None,
        "resources",
        "a trial that was assigned an accelerator must find one",
        got=f"accelerator_share={accelerator_share}, no CUDA or MPS device",
        remedy="Ask for accelerator_share 0, or install a torch build for the device.",
    )
    return _device(found or "cpu")


def is_present(name: str) -> bool:
    """Has this machine a device of this kind: ``cpu``, ``cuda`` or ``mps``?"""
    if name == "cuda":
        return torch.cuda.is_available()
    return name == "cpu" or torch.backends.mps.is_available()


def _device(name: str) -> torch.device:
    return torch.device(name) if name == "cpu" else torch.device(name, 0)


def supports_bf16(device: torch.device) -> bool:
    """Does the device multiply bfloat16 natively? Emulated bfloat16 is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "mps":
        release = platform.mac_ver()[0]
        # https://github.com/pytorch/pytorch/pull/139386: bfloat16 autocast needs macOS 14.
        return bool(release) and int(release.split(".")[0]) >= 14
    instructions = torch.cpu.get_capabilities()
    return any(instructions.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was sent, so that a clock read next is honest."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def limit_memory(device: torch.device, share: float) -> None:
    """Let this process allocate no more than ``share`` of an accelerator's memory.

    Then a trial that outgrows its share is told so itself, instead of starving the trials that it
    shares the device with. On the CPU, or with a share of 0, nothing is limited.
    """
    if share <= 0:
        return
    # torch takes no whole number for it.
    fraction = min(float(share), 1.0)
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(fraction, device)
    elif device.type == "mps":
        torch.mps.set_per_process_memory_fraction(fraction)


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak where the system can: not on MPS, nor for the CPU outside Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu" and _LINUX_RESET.exists():
        # A container may forbid it; then the peak is that of the process so far.
        with suppress(OSError):
            _LINUX_RESET.write_text("5")


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory that was held.

    On CUDA the peak of this process's tensors since ``reset_peak_memory``; on MPS what its driver
    holds, which only grows while caches are kept; on the CPU the process's largest resident set,
    data and libraries included, since ``reset_peak_memory`` (outside Linux: since it began, so that
    an earlier trial in the same process may have set it).
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    if _LINUX_STATUS.exists():
        for line in _LINUX_STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def release_cached_memory(device: torch.device) -> None:
    """Hand the allocator's cache back, as after a trial or an out-of-memory error."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif platform.libc_ver()[0] == "glibc":
        # What was freed stays with the process otherwise: 90 MiB after 24 small architectures.
        ctypes.CDLL(None).malloc_trim(0)


def bound_kernel_cache() -> None:
    """Keep few compiled CPU kernels; to be called before torch has compiled any.

    oneDNN keeps a thousand by default, about 10 MiB for every architecture that a process trains,
    so that a worker would grow all night. The steps of one architecture need fewer than this and
    are as fast (5.4 s per epoch, d64 L32, with 64 and with 1024).
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def is_out_of_memory(error: BaseException) -> bool:
    """Is this error a lack of memory, on whatever device?

    The CPU's allocator, MPS and the libraries of CUDA that allocate for themselves (cuBLAS, cuDNN)
    raise a RuntimeError with nothing but its text to know it by.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MEMORY_TEXTS)


class DeviceRandomness:
    """A random stream of one's own on an accelerator, whose kernels only know a global generator.

    Inside ``active`` the global generator holds this stream; outside, what it held before. On the
    CPU nothing happens, because there the model draws from its own generator.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self._device = device
        self._state: Tensor | None = None
        if device.type != "cpu":
            self._state = torch.Generator(device).manual_seed(seed).get_state()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the kernels draw from this stream."""
        if self._state is None:
            yield
            return
        outer = self._read()
        self._write(self._state)
        try:
            yield
        finally:
            self._state = self._read()
            self._write(outer)

    def state(self) -> Tensor | None:
        """The stream's position, uint8 on the CPU; None on the CPU device."""
        return self._state

    def load(self, state: Tensor | None) -> None:
        """Go to a saved position."""
        self._state = None if state is None else state.clone()

    def rewind_to(self, state: Tensor | None) -> None:
        """Inside ``active``: go back to a ``position``."""
        if state is not None:
            self._write(state)

    def position(self) -> Tensor | None:
        """Inside ``active``: where the stream is now; None on the CPU device."""
        return None if self._state is None else self._read()

    def _read(self) -> Tensor:
        if self._device.type == "mps":
            return torch.mps.get_rng_state()
        return torch.cuda.get_rng_state(self._device)

    def _write(self, state: Tensor) -> None:
        if self._device.type == "mps":
            torch.mps.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, self._device)


class PhaseClock:
    """Seconds that a device spent in one phase, without waiting for it on every entry.

    The host's clock would only time the sending of work to a GPU; there, events are recorded in
    the device's own queue and read once, at the end.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._host_seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time what happens inside."""
        if self._device.type == "cuda":
            start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            start.record()
            yield
            end.record()
            self._events.append((start, end))
        else:
            # On MPS this is the host's share only: its events force a commit of the queue.
            began = time.perf_counter()
            yield
            self._host_seconds += time.perf_counter() - began

    def around(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items; the making of each is timed, and what is done with it is not."""
        while True:
            with self.running():
                item = next(items, None)
            if item is None:
                return
            yield item

    def seconds(self) -> float:
        """Return the total so far; call it after ``synchronise``."""
        device_ms = sum(float(a.elapsed_time(b)) for a, b in self._events)
        return self._host_seconds + device_ms / 1000


def accelerator_memory_bytes() -> tuple[int | None, bool]:
    """Memory of this machine's accelerator, and whether it is the machine's own memory.

    Returns: bytes, or None if no accelerator can be used (a logical one, for tests); True where
        the accelerator shares the machine's memory (Apple), as if there were none.
    """
    if is_present("cuda"):
        return int(torch.cuda.get_device_properties(0).total_memory), False
    if is_present("mps"):
        return int(torch.mps.recommended_max_memory()), True
    return None, True
