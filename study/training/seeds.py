"""Independent random streams from one seed."""

import numpy as np
import torch


def derived_seed(seed: int, purpose: str) -> int:
    """A seed of its own for one purpose: equal seeds with unlike purposes give unrelated streams.

    Args:
        seed: the trial's seed, >= 0.
        purpose: such as ``shuffle``.

    Returns: at least 0 and below 2**63, because not every device's generator takes 64 bits.
    """
    entropy = [seed, *purpose.encode("ascii")]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) & (2**63 - 1)


def derived_generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator from ``derived_seed``."""
    return torch.Generator("cpu").manual_seed(derived_seed(seed, purpose))
