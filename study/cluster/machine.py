"""This machine in a line: how busy, how full and how hot it is."""

import platform
from contextlib import suppress
from typing import Any

import psutil
import pynvml

from study.cluster.cpus import usable_cpus
from study.cluster.thermal import measure
from study.text.byte_text import GIB, gib, in_gib

_LOAD_SECONDS = 0.1
"""Seconds over which the load of the CPUs is measured."""


def describe_machine() -> str:
    """Return load, memory, temperature and, for each NVIDIA GPU, its load and memory."""
    memory, temperature = psutil.virtual_memory(), measure()
    parts = [
        f"CPU {psutil.cpu_percent(interval=_LOAD_SECONDS):.0f} %",
        f"memory {in_gib(memory.available)} of {gib(memory.total)} free",
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
                used = f"{in_gib(memory.used)} of {gib(memory.total)} used"
                found.append(f"GPU {index} {load} %, {used}")
        finally:
            pynvml.nvmlShutdown()
    return found


def machine() -> dict[str, Any]:
    """Return what the driver runs on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.processor() or platform.machine(),
        "cpus": usable_cpus(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
    }
