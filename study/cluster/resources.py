"""What one trial asks Ray for: one shape per budget, from the memory model and the nodes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from study.text.byte_text import GIB

MOST_TRIALS_PER_DEVICE = 8
"""Trials that share an accelerator where their gain was not timed: past a handful of processes
time-slicing loses what sharing gains (measured 2.0x at 5 and 1.5x at 10 processes, Hydro OSDI'23
artefact)."""

MOST_TIMED_PER_DEVICE = 16
"""Most trials on an accelerator whose gain is timed; an own choice, as each needs a CPU core."""

_HEADROOM = 1.25
"""Factor on the modelled step, which may be 15 % less than what is measured (at worst 4 % less over
the trials of ``tests/bench/test_step_memory.py``)."""

_REUSE_BYTES = 80 * 2**20
"""Bytes that a worker keeps of the trials before (60 MiB measured after 24 architectures, with the
bounds of ``study.training.device.bound_kernel_cache``)."""

_EXCLUSIVE_SHARE = 0.5
"""Share of a device or machine above which a step gets it alone."""

_USABLE_SHARE = 0.95
"""Share of a node's memory that an exclusive trial asks for; the rest is the system's."""

_HOST_BYTES = 2 * GIB
"""Resident size of a worker whose model lives on a device with memory of its own: the CUDA
libraries, and the copy of the best weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """What one machine of the cluster offers."""

    name: str
    cpus: int
    gpus: int
    memory_bytes: int
    device_bytes: int
    """Memory of one accelerator; of the machine if it has none or shares its memory with it."""
    unified_memory: bool
    """Does an accelerator's memory count against the machine's (Apple, or no accelerator)?"""
    held_bytes: int = 0
    """Memory of an accelerator that other programs held at the start, in no other number here."""
    mps: str | None = None
    """State of NVIDIA's MPS daemon, in words; None without an NVIDIA device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResources:
    """The request of every trial of a budget."""

    cpus: int
    gpus: float
    memory_bytes: int
    share_bytes: int
    """Bytes that a training step may use of the device; the micro-batch follows from it."""
    exclusive: bool
    """Does a trial take a whole node's device and memory?"""
    capacity: int
    """Trials that fit on the cluster at once."""

    @property
    def per_device(self) -> int:
        """Trials that share an accelerator; 0 without one."""
        return math.floor(1 / self.gpus + 1e-9) if self.gpus else 0

    @property
    def share(self) -> Fraction:
        """Part of the cluster that a trial takes."""
        return Fraction(1, self.capacity)

    @property
    def granted_bytes(self) -> int:
        """What a trial may hold of its device's memory, headroom included."""
        return needed_bytes(self.share_bytes)

    def request(self) -> dict[str, float]:
        """Return the request in Ray's words."""
        request: dict[str, float] = {"CPU": self.cpus, "memory": self.memory_bytes}
        return {**request, "GPU": self.gpus} if self.gpus else request


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResources:
    """The requests of a search's trials, which differ by their budgets."""

    by_budget: Mapping[str, TrialResources]
    """Request of each budget's trials, at least one. Budgets of which as many trials fit at once
    share one request: a worker is reused only between trials with equal requests, and a new one
    takes five to ten seconds to start."""
    n_nodes: int
    """Number of machines of the cluster."""

    @property
    def capacity(self) -> int:
        """Trials that fit on the cluster at once, if they are of the smallest budget."""
        return max(each.capacity for each in self.by_budget.values())

    @property
    def largest(self) -> TrialResources:
        """The request of which the fewest fit."""
        return min(self.by_budget.values(), key=lambda each: (each.capacity, -each.memory_bytes))

    def shares(self, budgets: Iterable[str]) -> Fraction:
        """Return the part of the cluster that trials of these budgets take, each named once."""
        return sum((self.by_budget[budget].share for budget in budgets), Fraction(0))

    def has_room(self, at_work: Iterable[str]) -> bool:
        """Is there room beside the trials of these budgets, for one of the smallest at least?"""
        return self.shares(at_work) + Fraction(1, self.capacity) <= 1


def roomiest(nodes: Sequence[Node]) -> Node:
    """Return the node on which the largest step fits: accelerators before machines without."""
    return max(nodes, key=lambda node: (node.gpus > 0, node.device_bytes))


def most_bytes(nodes: Sequence[Node]) -> int:
    """Return the most that one trial can be granted, on the roomiest node."""
    return int(roomiest(nodes).device_bytes * _USABLE_SHARE)


def fits(nodes: Sequence[Node], step: int) -> bool:
    """Can some node run a modelled step of so many bytes?"""
    return step <= _step_share(most_bytes(nodes))


def needed_bytes(step: int) -> int:
    """Return what a trial must be granted whose modelled step takes ``step`` bytes.

    A byte more than the product, cut to whole bytes, so that the share of the grant holds the step.
    """
    return int(step * _HEADROOM) + 1 + _REUSE_BYTES


def machine_bytes(needed: int) -> int:
    """Return the memory of the smallest machine that can grant a trial ``needed`` bytes."""
    return math.ceil(needed / _USABLE_SHARE)


def plan_search(
    nodes: Sequence[Node],
    wanted_bytes: Mapping[str, int],
    per_device: Mapping[str, int] | None = None,
) -> SearchResources:
    """Return what the trials of a search ask for.

    Args:
        nodes: the machines of the cluster, at least one.
        wanted_bytes: by budget, the modelled bytes of a step of its largest architecture at its
            full batch.
        per_device: by budget, the most trials that are to share an accelerator; budgets that are
            not in it have at most ``MOST_TRIALS_PER_DEVICE``.
    """
    ascending = sorted(wanted_bytes, key=wanted_bytes.__getitem__)
    own = {
        b: plan_resources(
            nodes,
            wanted_bytes=wanted_bytes[b],
            per_device=(per_device or {}).get(b, MOST_TRIALS_PER_DEVICE),
        )
        for b in ascending
    }
    # The largest of those that are alike comes last and stays.
    shared = {(each.capacity, each.exclusive): each for each in own.values()}
    return SearchResources(
        by_budget={budget: shared[each.capacity, each.exclusive] for budget, each in own.items()},
        n_nodes=len(nodes),
    )


def plan_resources(
    nodes: Sequence[Node], *, wanted_bytes: int, per_device: int = MOST_TRIALS_PER_DEVICE
) -> TrialResources:
    """Return the one request that every trial of a budget makes.

    Args:
        nodes: the machines of the cluster, at least one.
        wanted_bytes: modelled bytes of a step of the largest architecture at its full batch. If
            they are more than a node has, a trial takes what there is, and smaller micro-batches.
        per_device: the most trials that share an accelerator; fewer do if memory or CPUs are few.
    """
    best = roomiest(nodes)
    need = needed_bytes(wanted_bytes)
    if need > _EXCLUSIVE_SHARE * best.device_bytes:
        return _exclusive(nodes, best, most_bytes(nodes))
    kind = [node for node in nodes if (node.gpus > 0) == (best.gpus > 0)]
    return _shared(kind, best, need, per_device)


def _exclusive(nodes: Sequence[Node], node: Node, usable: int) -> TrialResources:
    memory = int(node.memory_bytes * _USABLE_SHARE)
    gpus = 1.0 if node.gpus else 0.0
    cpus = node.cpus if node.unified_memory else max(1, node.cpus // max(1, node.gpus))
    if not node.unified_memory:
        memory //= max(1, node.gpus)
    fitting = [n for n in nodes if n.cpus >= cpus and n.memory_bytes >= memory and n.gpus >= gpus]
    return TrialResources(
        cpus=cpus,
        gpus=gpus,
        memory_bytes=memory,
        share_bytes=_step_share(usable),
        exclusive=True,
        capacity=sum(_fits(n, cpus=cpus, gpus=gpus, memory=memory) for n in fitting),
    )


def _shared(nodes: Sequence[Node], node: Node, need: int, most: int) -> TrialResources:
    if node.gpus == 0:
        share = _step_share(need)
        capacity = sum(_fits(n, cpus=1, gpus=0.0, memory=need) for n in nodes)
        return TrialResources(
            cpus=1, gpus=0.0, memory_bytes=need, share_bytes=share, exclusive=False,
            capacity=capacity,
        )  # fmt: skip
    per_device = min(most, node.device_bytes // need, max(1, node.cpus // node.gpus))
    # Ray counts in ten-thousandths and rounds up: 6 x 0.1667 would be more than a device.
    gpus = math.floor(10_000 / per_device) / 10_000
    cpus = max(1, node.cpus // (node.gpus * per_device))
    memory = need if node.unified_memory else _HOST_BYTES
    return TrialResources(
        cpus=cpus,
        gpus=gpus,
        memory_bytes=memory,
        share_bytes=_step_share(node.device_bytes // per_device),
        exclusive=False,
        capacity=sum(_fits(n, cpus=cpus, gpus=gpus, memory=memory) for n in nodes),
    )


def _fits(node: Node, *, cpus: int, gpus: float, memory: int) -> int:
    by_gpu = math.floor(node.gpus / gpus + 1e-9) if gpus else node.cpus
    return min(node.cpus // cpus, node.memory_bytes // memory, by_gpu)


def _step_share(granted: int) -> int:
    """Return the part of a trial's memory that the modelled step may fill: the inverse."""
    return int((granted - _REUSE_BYTES) / _HEADROOM)
