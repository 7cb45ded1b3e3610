"""Counts the CPUs that this process may use, of those that the machine has."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_MOUNT = Path("/sys/fs/cgroup")
"""Where Linux shows control groups (cgroups(7))."""

_MEMBERSHIP = Path("/proc/self/cgroup")
"""Which groups this process is in: lines of hierarchy, controllers and path, as ``0::/job_7``."""


def usable_cpus(mount: Path = _MOUNT, membership: Path = _MEMBERSHIP) -> int:
    """Return how many CPUs this process may keep busy, at least 1.

    No more than those that it may run on (``taskset``, SLURM), nor than the time that its control
    groups grant it (containers), rounded down: half a CPU is no place for a trial.
    """
    return max(1, int(min([_allowed(), *_quotas(mount, membership)])))


def _allowed() -> float:
    # Only Linux tells; elsewhere a process may run on every CPU.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(mount: Path, membership: Path) -> Iterator[float]:
    """Yield the CPUs that each group grants, of both versions of control groups."""
    for controllers, group in _groups(membership):
        if controllers == "":
            for folder in _upwards(mount, group):
                yield from _quota_of(*_words(folder / "cpu.max"))
        elif "cpu" in controllers.split(","):
            # Mounted by the name of all its controllers, with a link for each.
            for folder in _upwards(mount / "cpu", group):
                quota = _words(folder / "cpu.cfs_quota_us")
                yield from _quota_of(*quota, *_words(folder / "cpu.cfs_period_us"))


def _groups(membership: Path) -> Iterator[tuple[str, str]]:
    """Yield the controllers, none for version 2, and the path of each group of this process."""
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            yield controllers, group


def _upwards(mount: Path, group: str) -> Iterator[Path]:
    """Yield the folder of a group, and of every group around it.

    In a container the path may be that on its host, where only the mount itself is its own.
    """
    inner = PurePosixPath(group.lstrip("/"))
    yield mount / inner
    for outer in inner.parents:
        yield mount / outer


def _words(file: Path) -> list[str]:
    with suppress(OSError):
        return file.read_text().split()
    return []


def _quota_of(quota: str = "max", period: str = "0", *_: str) -> Iterator[float]:
    """Yield CPUs from two times in microseconds; nothing where time is not limited."""
    with suppress(ValueError):
        if float(quota) > 0 and float(period) > 0:
            yield float(quota) / float(period)
