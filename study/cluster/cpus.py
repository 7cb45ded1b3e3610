"""Counts the CPUs that this process may use, of those that the machine has."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from study.cluster.control_groups import ControlGroup, control_groups


def usable_cpus(groups: Iterable[ControlGroup] | None = None) -> int:
    """Return how many CPUs this process may keep busy, at least 1.

    No more than those that it may run on (``taskset``, SLURM), nor than the time that its control
    groups grant it (containers), rounded down: half a CPU is no place for a trial.
    """
    groups = control_groups("cpu") if groups is None else groups
    return max(1, int(min([_allowed(), *_quotas(groups)])))


def _allowed() -> float:
    # Only Linux shows it; elsewhere a process may run on every CPU.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(groups: Iterable[ControlGroup]) -> Iterator[float]:
    for group in groups:
        if group.is_unified:
            words = group.words("cpu.max")
        else:
            words = group.words("cpu.cfs_quota_us") + group.words("cpu.cfs_period_us")
        # Two times in microseconds; "max", or -1, is no limit.
        with suppress(ValueError):
            quota, period = map(float, words)
            if quota > 0 and period > 0:
                yield quota / period
