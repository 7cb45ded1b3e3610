import numpy as np
import numpy.typing as npt
import pytest
from arch.bootstrap import CircularBlockBootstrap
from scipy.signal import lfilter

from study.statistics.block_length import block_days
from study.statistics.mean_error import standard_error


def dependent(n: int) -> npt.NDArray[np.float64]:
    draw = np.random.default_rng(3).standard_normal(n)
    return np.asarray(lfilter([1.0], [1.0, -0.8], draw))


@pytest.mark.parametrize("block", [1, 5, 20])
def test_the_standard_error_is_that_of_a_circular_block_bootstrap(block: int) -> None:
    values = dependent(600)
    bootstrap = CircularBlockBootstrap(block, values, seed=1)
    means = bootstrap.apply(np.mean, 4000)
    assert standard_error(values, block) == pytest.approx(float(means.std()), rel=0.05)


def test_dependent_days_tell_less_than_independent_ones() -> None:
    values = dependent(5000)
    plain = values.std() / np.sqrt(len(values))
    found = standard_error(values, block_days(1))
    # An AR(1) of 0.8 triples the error: sqrt((1 + 0.8) / (1 - 0.8)).
    assert found is not None
    assert 2.2 * plain < found < 3.2 * plain


def test_too_few_days_have_no_standard_error() -> None:
    assert standard_error(np.arange(39.0), 20) is None
    assert standard_error(np.arange(40.0), 20) is not None
