"""This machine in a line: how busy, how full and how hot it is."""

import platform
from contextlib import suppress
from typing import Any

import psutil
import pynvml

from study.cluster.cpus import usable_cpus
from study.cluster.thermal import measure

_GIB = 2**30

_LOAD_SECONDS = 0.1
"""Seconds over which the load of the CPUs is measured."""


def describe_machine() -> str:
    """Return load, memory, temperature and, for each NVIDIA GPU, its load and memory."""
    memory, temperature = psutil.virtual_memory(), measure()
    parts = [
        f"CPU {psutil.cpu_percent(interval=_LOAD_SECONDS):.0f} %",
        f"memory {memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free",
        f"temperature {temperature.state} ({temperature.said})",
        *_gpus(),
    ]
    return f"machine: {', '.join(parts)}"


def _gpus() -> list[str]:
    """Return a text for each GPU that NVIDIA's library knows; none without it."""
    found: list[str] = []
    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                gpu = pynvml.nvmlDeviceGetHandleByIndex(index)
                load = pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu
                memory = pynvml.nvmlDeviceGetMemoryInfo(gpu)
                used, total = memory.used / _GIB, memory.total / _GIB
                found.append(f"GPU {index} {load} %, {used:.1f} of {total:.1f} GiB used")
        finally:
            pynvml.nvmlShutdown()
    return found


def machine() -> dict[str, Any]:
    """Return what the driver runs on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.processor() or platform.machine(),
        "cpus": usable_cpus(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }
