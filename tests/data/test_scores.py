import numpy as np
import pytest
from arch.bootstrap import CircularBlockBootstrap

from study.data.evaluation.probability_scores import resampled_day_indices


def dependent(n: int, seed: int = 3) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    draw = np.random.default_rng(seed).standard_normal(n)
    values = np.empty(n)
    values[0] = draw[0]
    for t in range(1, n):
        values[t] = 0.8 * values[t - 1] + draw[t]
    return values


@pytest.mark.parametrize(("n", "block"), [(40, 7), (600, 20), (5, 5)])
def test_resampled_days_are_blocks_on_a_circle(n: int, block: int) -> None:
    days = resampled_day_indices(n, block, n_resamples=300, seed=1)
    assert days.shape == (300, n)
    inside = (np.arange(1, n) % block) != 0
    assert (np.diff(days, axis=1)[:, inside] % n == 1).all()
    # Every day is drawn as often as any other.
    counts = np.bincount(days.ravel(), minlength=n)
    assert counts.min() > 0.5 * 300
    assert counts.max() < 1.5 * 300


def test_a_mean_of_resampled_days_varies_as_that_of_the_library() -> None:
    values = dependent(600)
    means = values[resampled_day_indices(600, 20, n_resamples=4000, seed=2)].mean(axis=1)
    library = CircularBlockBootstrap(20, values, seed=1).apply(np.mean, 4000)
    assert means.std() == pytest.approx(float(library.std()), rel=0.05)
