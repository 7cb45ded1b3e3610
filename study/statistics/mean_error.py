"""The standard error of a mean over dependent days."""

import numpy as np
import numpy.typing as npt


def standard_error(values: npt.NDArray[np.float64], block: int) -> float | None:
    """Return the standard error of the mean of dependent daily values, float64 of shape (n,).

    What a circular block bootstrap converges to, in closed form: the variance of the mean of n / b
    blocks of b days, drawn from the n that start on each day (Politis and Romano 1992).

    Returns: None with fewer than two blocks, where nothing can be said.
    """
    n = len(values)
    if n < 2 * block:
        return None
    circle = np.concatenate((values, values[: block - 1]))
    sums = np.cumsum(np.concatenate(([0.0], circle)))
    block_means = (sums[block:] - sums[:-block]) / block
    return float(np.sqrt(block_means.var() * block / n))
