"""Statistics of trials, against counting and simulation."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from analysis.trial_statistics import best_of, best_of_curve, correlations, difference_of_best
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


def test_the_correlation_with_the_loss_is_spearmans_with_ties_too() -> None:
    draw = np.random.default_rng(0)
    depths, losses = draw.integers(1, 5, 12), draw.normal(0.5, 0.1, 12).round(1)
    trials = [
        record(i, params={"n_layers": int(depth), "d_model": 64}, value=float(loss))
        for i, (depth, loss) in enumerate(zip(depths, losses, strict=True))
    ]
    found = correlations(trials, ["n_layers", "d_model"])
    assert list(found) == ["n_layers"]
    assert found["n_layers"].value == pytest.approx(spearmanr(depths, losses).statistic, abs=1e-12)


def test_groups_are_compared_at_equal_effort() -> None:
    draw = np.random.default_rng(0)
    # The first group is better by .05, the second has more trials to be lucky with.
    values = [*draw.normal(0.45, 0.01, 8), *draw.normal(0.50, 0.01, 40)]
    trials = [record(number, value=float(value)) for number, value in enumerate(values)]
    found = difference_of_best(trials, lambda trial: trial.number < 8)
    assert found is not None
    assert found.k == 8
    assert found.value == pytest.approx(-0.05, abs=0.01)
    assert found.value < found.low
    assert found.is_told
    assert difference_of_best(trials, lambda trial: trial.number < 2) is None


@pytest.mark.slow
def test_groups_dealt_out_by_chance_are_told_apart_in_a_twentieth_of_cases() -> None:
    draw = np.random.default_rng(1)
    told = 0
    for _ in range(400):
        values = draw.normal(0.5, 0.01, 40)
        trials = [record(number, value=float(value)) for number, value in enumerate(values)]
        found = difference_of_best(trials, lambda trial: trial.number < 10)
        assert found is not None
        told += found.is_told
    # A share of 5 % is known to 1.1 by 400 studies; a bootstrap of the minimum has 14 to 16 %.
    assert 0.03 <= told / 400 <= 0.07


def test_equal_losses_tell_nothing_of_groups() -> None:
    trials = [record(number, value=0.5) for number in range(20)]
    found = difference_of_best(trials, lambda trial: trial.number < 7)
    assert found is not None
    assert found.p == 1
    assert [found.value, found.low, found.high] == pytest.approx([0, 0, 0], abs=1e-12)
