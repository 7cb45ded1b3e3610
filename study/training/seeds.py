"""Derives independent random streams from one seed."""

import numpy as np
import torch


def derived_seed(seed: int, purpose: str) -> int:
    """Return the seed of one purpose; the streams of different purposes are independent.

    Args:
        seed: the trial's seed, >= 0.
        purpose: name of the purpose, as ``shuffle``.

    Returns: a seed of 63 bits, because not every device's generator takes 64.
    """
    entropy = [seed, *purpose.encode("ascii")]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) & (2**63 - 1)


def derived_generator(seed: int, purpose: str) -> torch.Generator:
    """Return a CPU generator with the seed of one purpose."""
    return torch.Generator("cpu").manual_seed(derived_seed(seed, purpose))
