"""The device of a trial: its choice, its abilities, its memory, its randomness and its clock."""

import ctypes
import os
import platform
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from study.errors import require

DeviceName = Literal["cpu", "cuda", "mps"]

# proc(5): 5 written to clear_refs resets VmHWM, the peak resident set in status.
_LINUX_RESET = Path("/proc/self/clear_refs")
_LINUX_STATUS = Path("/proc/self/status")

# malloc.h of glibc.
_M_MMAP_THRESHOLD = -3
_MAPPED_BYTES = 4 * 2**20
"""Bytes from which an allocation is mapped by itself in lean memory; an own choice: temporaries of
layers of 256 and less stay below it, and leave small holes."""


_MEMORY_TEXTS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Texts by which a RuntimeError of torch is recognised as a lack of memory."""


def resolve_device(accelerator_share: float, override: str | None = None) -> torch.device:
    """Return the device to train on, which follows the assignment and not what is visible.

    An accelerator has an index, because some of torch's calls refuse one without. The index is 0,
    the first that this process can see: Ray lets a trial's process see only what it assigned
    (``CUDA_VISIBLE_DEVICES``), and Apple has only one.

    Args:
        accelerator_share: share of an accelerator that the scheduler assigned; 0 means the CPU,
            even on a machine whose GPU can be seen, because another trial may own it.
        override: ``cpu``, ``cuda`` or ``mps``, as the user typed it; None follows the assignment.

    Raises: SpecError if the override is unknown or not present on this machine, or if a share was
        assigned and the machine has no accelerator.
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
            got=f"device={override!r} ({absence(override)})",
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
        with warnings.catch_warnings():
            # torch warns of a driver that it cannot use; ``absence`` has the reason.
            warnings.simplefilter("ignore", UserWarning)
            return torch.cuda.is_available()
    return name == "cpu" or torch.backends.mps.is_available()


def absence(name: str) -> str:
    """Return why torch finds no device of a kind on this machine, in torch's own words if it has.

    A driver that is too old for the torch build, or none, is an error of ``torch.cuda.init``.
    """
    if name == "cuda":
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except (AssertionError, RuntimeError) as error:
            return str(error).strip().splitlines()[0].split(". ")[0].rstrip(".")
        return "no device is visible"
    if sys.platform != "darwin":
        return "only Apple's machines have it"
    is_built = torch.backends.mps.is_built()
    return "needs macOS 14 and Apple silicon" if is_built else "torch is built without it"


def free_memory_bytes() -> int:
    """Return the bytes of the first CUDA device that no program holds now."""
    free, _ = torch.cuda.mem_get_info(0)
    return int(free)


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
    """Wait until the device has done all work sent to it, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def limit_memory(device: torch.device, share: float) -> None:
    """Let this process allocate no more than ``share`` of an accelerator's memory.

    A trial that needs more then fails itself, and not the trials that it shares the device with.
    On the CPU, or with a share of 0, nothing is limited.
    """
    if share <= 0:
        return
    # torch refuses an int.
    fraction = min(float(share), 1.0)
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(fraction, device)
    elif device.type == "mps":
        torch.mps.set_per_process_memory_fraction(fraction)


def reset_peak_memory(device: torch.device) -> None:
    """Reset the peak memory where possible: not on MPS, nor for the CPU outside Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif device.type == "cpu" and _LINUX_RESET.exists():
        # A container may forbid it; the peak is then that of the whole process.
        with suppress(OSError):
            _LINUX_RESET.write_text("5")


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory of this process.

    CUDA: the peak of its tensors since ``reset_peak_memory``. MPS: the memory that its driver
    holds, which only grows while caches are kept. CPU: the largest resident set of the process,
    data and libraries included, since ``reset_peak_memory``; outside Linux since the process
    began, so that it may be that of an earlier trial.
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
    """Return the allocator's cache to the system, as after a trial or an out-of-memory error."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
    elif platform.libc_ver()[0] == "glibc":
        # Freed memory stays with the process otherwise: 90 MiB after 24 small architectures.
        ctypes.CDLL(None).malloc_trim(0)


def bound_kernel_cache() -> None:
    """Let oneDNN keep 128 compiled CPU kernels; call it before torch has compiled any.

    The default is a thousand, so that a worker's memory would grow all night, by about 10 MiB for
    every architecture that it trains. The steps of one architecture need fewer than 128 kernels
    and are as fast: d64 L32 took 5.4 s per epoch with 64 and with 1024 of them.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def map_large_allocations() -> None:
    """Let the C library map each allocation of 4 MiB or more by itself, from now on.

    Otherwise the GNU C library soon takes up to 32 MiB from its heap. There one small tensor that
    stays keeps the room below it, though it is free: a pass through the 256 layers of d1024 left
    2.0 GiB of holes (12.4 GiB resident in place of 10.4). Mapping costs a fault per page and use,
    some percent of a step of layers so large; so only the memory mode ``lean`` asks for it. It
    stays so until the process ends: a full trial or probe after a lean one has the same values bit
    for bit, and steps of large tensors pay these faults. Nothing happens with other C libraries.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def is_out_of_memory(error: BaseException) -> bool:
    """Is this error a lack of memory, on any kind of device?

    The CPU's allocator, MPS, and the CUDA libraries with allocators of their own (cuBLAS, cuDNN)
    raise a RuntimeError that only its text distinguishes.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _MEMORY_TEXTS)


class DeviceRandomness:
    """A separate random stream on an accelerator, whose kernels only use a global generator.

    Inside ``active`` the global generator has the state of this stream; afterwards it has its own
    state again. On the CPU nothing happens, because the model draws from its own generator there.
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
        """Return the stream's state outside ``active``, a uint8 tensor; None on the CPU device."""
        return self._state

    def load(self, state: Tensor | None) -> None:
        """Set the stream to a saved state."""
        self._state = None if state is None else state.clone()

    def rewind_to(self, state: Tensor | None) -> None:
        """Set the stream back to a ``position``; call it inside ``active``."""
        if state is not None:
            self._write(state)

    def position(self) -> Tensor | None:
        """Return the stream's state inside ``active``; None on the CPU device."""
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

    On a GPU the host's clock would only measure how long it takes to send work, so events are
    recorded in the device's own queue and read once, at the end.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._host_seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the work inside the block."""
        if self._device.type == "cuda":
            start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            start.record()
            yield
            end.record()
            self._events.append((start, end))
        else:
            # On MPS this is the host's share only, because its events force a commit of the queue.
            began = time.perf_counter()
            yield
            self._host_seconds += time.perf_counter() - began

    def seconds(self) -> float:
        """Return the total so far; call it after ``synchronise``."""
        device_ms = sum(float(a.elapsed_time(b)) for a, b in self._events)
        return self._host_seconds + device_ms / 1000


def accelerator_memory_bytes() -> tuple[int | None, bool]:
    """Return the memory of this machine's accelerator, and whether it is the machine's own memory.

    Returns: bytes, or None if no accelerator can be used; True where the accelerator shares the
        machine's memory (Apple), and also where there is none.
    """
    if is_present("cuda"):
        return int(torch.cuda.get_device_properties(0).total_memory), False
    if is_present("mps"):
        return int(torch.mps.recommended_max_memory()), True
    return None, True
