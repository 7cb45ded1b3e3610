"""Scores of probabilities, and resampled days, from which their errors come."""

from collections.abc import Sequence

import numpy as np

from study.data.arrays import IndexArray, PriceArray

_RESAMPLES_OF_AN_ERROR = 500
"""Bootstrap resamples of a standard error, which from 500 is itself good to 3 %."""


def resampled_day_indices(
    n: int, block: int, *, n_resamples: int = _RESAMPLES_OF_AN_ERROR, seed: int = 0
) -> IndexArray:
    """Return the days of circular block bootstrap samples, shape (n_resamples, n).

    Blocks begin on any day, wrap around from the last day to the first, and the last one is cut
    (Politis and Romano 1992). The same scheme as ``arch.bootstrap.CircularBlockBootstrap``, whose
    import takes longer than all that is computed here.
    """
    starts = np.random.default_rng(seed).integers(n, size=(n_resamples, -(-n // block)))
    days = (starts[:, :, None] + np.arange(block)) % n
    return days.reshape(n_resamples, -1)[:, :n]


def half_means(values: PriceArray, block: int) -> tuple[float, float] | None:
    """Return the means of every other block of days, and of the blocks between them.

    Two halves that share the weather but no day: how well a ranking by one predicts a ranking by
    the other is the best that it can do for anything else. None with fewer than two whole blocks.
    """
    if len(values) < 2 * block:
        return None
    is_odd = np.arange(len(values)) // block % 2 == 1
    return float(values[~is_odd].mean()), float(values[is_odd].mean())


def log_losses(logit: PriceArray, label: PriceArray) -> PriceArray:
    """Return the log-loss of each day from logits, nats; exact where a probability would round."""
    losses: PriceArray = np.logaddexp(0.0, logit) - label * logit
    return losses


def auc(score: PriceArray, label: PriceArray) -> float | None:
    """Return the area under the ROC curve from mean ranks, or None if a class is missing.

    The same number as scikit-learn's ``roc_auc_score``, ten to forty times as fast (700 to 5,000
    days) and without its import of a second: it is computed in every epoch, and 500 times for a
    standard error.
    """
    is_positive = label == 1
    n_positive = int(is_positive.sum())
    n_negative = len(label) - n_positive
    if n_positive == 0 or n_negative == 0:
        return None
    _, group, count = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    rank_sum = float(mean_rank[group][is_positive].sum())
    return (rank_sum - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def daily_means(days: Sequence[IndexArray], values: Sequence[PriceArray]) -> PriceArray:
    """Return the mean of the values of each day over the folds that have it, ascending in days.

    Args:
        days: the days of each fold, no day twice in a fold.
        values: the values of each fold, one for each of its days.
    """
    found, counts = np.unique(np.concatenate(days), return_counts=True)
    sums = np.zeros(len(found))
    for own, of_own in zip(days, values, strict=True):
        sums[np.searchsorted(found, own)] += of_own
    return sums / counts
