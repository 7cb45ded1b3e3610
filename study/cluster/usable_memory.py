"""Measures how much memory this process may still take, of what the machine has free."""

from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil

from study.cluster.control_groups import ControlGroup, control_groups

_COPIED_BYTES = 64 * 2**20
"""Bytes of the largest copy of a trial's state where a device shares the machine's memory. A trial
is granted a quarter more than its modelled step (``study.cluster.resources``), so at least 100 MiB
more, of which the model's error was measured to take 20 MiB."""

_COPIED_SHARE = 1 / 8
"""Share of the free memory that the copy of a trial's state may take where a device has memory of
its own: after eight trials a third is still free; an own choice."""


def most_copied_bytes(*, is_shared: bool) -> int:
    """Return the bytes of the largest state of a trial for whose copy there is room.

    Args:
        is_shared: does the trial's device share the machine's memory?
    """
    return _COPIED_BYTES if is_shared else int(available_memory_bytes() * _COPIED_SHARE)


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
