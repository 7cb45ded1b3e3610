"""What a machine's accelerator offers, as a process on it sees it."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pynvml

from study.cluster.accelerator import mps
from study.errors import SpecError, require

_FACTS_SECONDS = 120.0
"""Seconds to wait for the facts, an own choice: the import of torch and a context take some ten."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFacts:
    """The accelerator of a machine; by default a logical one, which has no memory of its own."""

    total_bytes: int | None = None
    """Memory of the device; None without one."""
    held_bytes: int = 0
    """Memory that other programs hold."""
    is_unified: bool = True
    """Is it the machine's own memory?"""
    mps: str | None = None
    """State of NVIDIA's MPS daemon, in words; None without an NVIDIA device."""
    problem: str | None = None
    """Why torch cannot use a device that is there; None if it can, or if there is none."""

    def require_usable(self, machine: str) -> None:
        """Refuse a device that trials would be assigned and could not use.

        Raises:
            SpecError: torch cannot use it.
        """
        require(
            self.problem is None,
            "Ray",
            f"torch must be able to use the NVIDIA device of {machine}",
            got=self.problem or "",
            remedy="Update the driver, install a torch build for it, or choose --device cpu.",
        )


def nvidia_devices() -> int:
    """Return how many NVIDIA devices this machine has, whatever this process may see of them."""
    try:
        pynvml.nvmlInit()
        try:
            return int(pynvml.nvmlDeviceGetCount())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return 0


def nvidia_names() -> list[str]:
    """Return the name of each NVIDIA device of this machine."""
    try:
        pynvml.nvmlInit()
        try:
            handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
            return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return []


def device_facts() -> DeviceFacts:
    """Return the facts of this machine's first accelerator."""
    from study.training import device

    total, is_unified = device.accelerator_memory_bytes()
    if nvidia_devices() == 0:
        return DeviceFacts(total_bytes=total, is_unified=is_unified)
    if total is None:
        return DeviceFacts(problem=device.absence("cuda"))
    return DeviceFacts(
        total_bytes=total,
        held_bytes=total - device.free_memory_bytes(),
        is_unified=is_unified,
        mps=mps.describe(),
    )


def _unreadable(got: str) -> SpecError:
    return SpecError(
        f"Ray: the accelerator of this machine must be readable, but got {got}. Check the driver, "
        "or choose --device cpu."
    )


@contextmanager
def facts_meanwhile() -> Iterator[Callable[[], DeviceFacts]]:
    """Read the facts of this machine's first accelerator in a process, while the block goes on.

    The import of torch and the context of a device take seconds, in which Ray can start.

    Yields: a function that waits for the process and returns the facts. It raises SpecError if the
        process has failed. The process ends with the block at the latest.
    """
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    ) as process:  # fmt: skip

        def facts() -> DeviceFacts:
            try:
                output, errors = process.communicate(timeout=_FACTS_SECONDS)
            except subprocess.TimeoutExpired:
                raise _unreadable(f"no answer within {_FACTS_SECONDS:.0f} s") from None
            if process.returncode != 0:
                last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
                raise _unreadable(last)
            # A library may have printed before it.
            return DeviceFacts(**json.loads(output.splitlines()[-1]))

        try:
            yield facts
        finally:
            process.kill()


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(device_facts())))
