import numpy as np
import pytest

from study.statistics.detectable import smallest_difference


def test_the_smallest_difference_is_found_four_times_of_five() -> None:
    rng = np.random.default_rng(5)
    difference = smallest_difference(1.0)
    found = np.abs(rng.normal(difference, 1.0, 100_000)) > 1.96
    assert found.mean() == pytest.approx(0.8, abs=0.01)
