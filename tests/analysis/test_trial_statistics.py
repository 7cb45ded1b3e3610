"""Statistics of trials, against counting and simulation."""

import itertools

import numpy as np
import pytest

from analysis.trial_statistics import best_of, best_of_curve, difference_of_best
from tests.results.conftest import record


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_the_expected_best_of_k_is_the_mean_over_all_choices(k: int) -> None:
    values = np.array([0.5, 0.1, 0.4, 0.4, 0.9, 0.3])
    expected = np.mean([min(chosen) for chosen in itertools.combinations(values, k)])
    assert best_of(values, k) == pytest.approx(expected)


def test_the_curve_falls_to_the_best() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 20)
    curve = best_of_curve(values)
    assert [e.value for e in curve] == sorted((e.value for e in curve), reverse=True)
    assert curve[0].value == pytest.approx(values.mean())
    assert curve[-1].value == values.min()


def test_groups_are_compared_at_equal_effort() -> None:
    draw = np.random.default_rng(0)
    # The first group is better by .05, the second has more trials to be lucky with.
    values = [*draw.normal(0.45, 0.01, 8), *draw.normal(0.50, 0.01, 40)]
    trials = [record(number, value=float(value)) for number, value in enumerate(values)]
    found = difference_of_best(trials, lambda trial: trial.number < 8)
    assert found is not None
    difference, k = found
    assert k == 8
    assert difference.value == pytest.approx(-0.05, abs=0.01)
    assert difference.high is not None
    assert difference.high < 0
    assert difference_of_best(trials, lambda trial: trial.number < 2) is None
