"""Measures how much memory this process may still take, of what the machine has free."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil

from study.cluster.control_groups import ControlGroup, control_groups


def available_memory_bytes(groups: Iterable[ControlGroup] | None = None) -> int:
    """Return the bytes that can be taken without swapping, and without being killed for it.

    No more than what the machine has free, nor than what is left of the limits of its control
    groups (containers, SLURM). Of what a group uses, files that the kernel keeps in memory and has
    not needed lately count as free, as they do on the whole machine.
    """
    groups = control_groups("memory") if groups is None else groups
    return max(0, min([psutil.virtual_memory().available, *_left(groups)]))


def _left(groups: Iterable[ControlGroup]) -> Iterator[int]:
    for group in groups:
        if group.is_unified:
            limit, used, cache = "memory.max", "memory.current", "inactive_file"
        else:
            limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        statistics = group.words("memory.stat")
        # "max" is no limit; the root of version 2 has none of these files.
        with suppress(ValueError):
            (n_limit,), (n_used,) = (map(int, group.words(name)) for name in (limit, used))
            n_cache = int(statistics[statistics.index(cache) + 1])
            yield n_limit - (n_used - n_cache)
