"""What a machine's accelerator offers, as a process on it sees it."""

from dataclasses import dataclass

import pynvml

from study.cluster.accelerator import mps
from study.errors import require


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
