"""How many trials share a device: as many as train most samples a second together."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from study.cluster.resources import MOST_TIMED_PER_DEVICE, MOST_TRIALS_PER_DEVICE, Node
from study.model.sizing import step_flops
from study.search.space import SearchSpace, TrialConfig

_WORTH = 0.97
"""Share of the best rate that counts as the best. Fewer trials then leave more memory to each, and
two timings of a few steps differ by as much; an own choice."""


def shared_by(rates: Sequence[Mapping[int, float]]) -> int:
    """Return the number of trials on a device that trains most samples a second.

    Each architecture's rates are relative to that of one process alone, and their geometric mean
    decides: an architecture with a thousand times the samples a second counts as much as any.

    Args:
        rates: one mapping per architecture, from the number of processes side by side to the
            samples that all of them train in a second; each has the same numbers and has 1.
    """
    numbers = sorted(rates[0])
    gains = {
        n: statistics.geometric_mean(max(each[n], 1e-12) / max(each[1], 1e-12) for each in rates)
        for n in numbers
    }
    best = max(gains.values())
    return next(n for n in numbers if gains[n] >= _WORTH * best)


def tried_numbers(most: int) -> list[int]:
    """Return the numbers of processes that are timed: powers of two, and the most that fit."""
    powers = [2**k for k in range(most.bit_length()) if 2**k <= most]
    return sorted({*powers, most})


def timed_architectures(space: SearchSpace) -> list[TrialConfig]:
    """Return the smallest, the middle and the largest architecture by the work of a step."""
    ascending = sorted(space.configs(), key=lambda config: step_flops(config.model, 1))
    places = sorted({0, len(ascending) // 2, len(ascending) - 1})
    return [ascending[place] for place in places]


def untimed_sharing(concurrency: int | None, nodes: Sequence[Node]) -> int:
    """Return the most trials on a device where their gain is not timed.

    Args:
        concurrency: trials at once that the user wants; None for as many as fit.
        nodes: the machines of the cluster.
    """
    n_devices = max(1, sum(node.gpus for node in nodes))
    asked = math.ceil((concurrency or 1) / n_devices)
    return max(MOST_TRIALS_PER_DEVICE, min(asked, MOST_TIMED_PER_DEVICE))


def recorded_sharing(known: Mapping[str, Any]) -> dict[str, int]:
    """Return how many trials share a device in an earlier plan, by budget; empty on the CPU."""
    requests = {
        budget: each["request"].get("GPU", 0.0)
        for budget, each in known.get("budget_resources", {}).items()
        if not each["exclusive"]
    }
    return {budget: math.floor(1 / share + 1e-9) for budget, share in requests.items() if share}


def measured_sharing(
    space: SearchSpace,
    most: int,
    prepare: Callable[[TrialConfig], None],
    rate: Callable[[int], float],
) -> int:
    """Time the architectures in 1, 2, 4, ... processes, and return the best number of them.

    Args:
        space: the search space.
        most: the most processes whose memory fits on the device.
        prepare: makes every process ready to train an architecture.
        rate: lets so many of the processes train side by side, and returns the samples that they
            train in a second, all together.
    """
    rates = []
    for config in timed_architectures(space):
        prepare(config)
        rates.append({number: rate(number) for number in tried_numbers(most)})
    return shared_by(rates)
