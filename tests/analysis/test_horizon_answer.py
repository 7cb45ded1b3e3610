"""Whether horizons differ: never because ranks are noisy."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from analysis.answers.horizon_answer import Pair, rank_agreement
from tests.results.conftest import record

N = 40
NOISE = 0.3


def pairs(*, same: bool, noise: float = NOISE, seed: int = 0) -> list[Pair]:
    """Return configurations of which one horizon prefers the same ones as the other, or not."""
    draw = np.random.default_rng(seed)
    first = draw.standard_normal(N)
    second = first if same else draw.standard_normal(N)
    halves = np.stack([first, second], axis=1)[:, :, None] + noise * draw.standard_normal((N, 2, 2))
    return [
        (record(i, half_values=list(one)), record(i, half_values=list(two)))
        for i, (one, two) in enumerate(halves)
    ]


@pytest.mark.slow
def test_noisy_ranks_of_equal_horizons_are_no_difference() -> None:
    noisy = []
    for seed in range(8):
        found = rank_agreement(pairs(same=True, noise=1.0, seed=seed))
        assert found is not None
        across, within, difference = found
        assert across.value < 0.7
        assert difference.value == pytest.approx(across.value - within.value)
        assert difference.high is not None
        noisy.append(difference.high < 0)
    assert sum(noisy) <= 1


@pytest.mark.slow
def test_horizons_that_prefer_other_configurations_are_told_apart() -> None:
    found = rank_agreement(pairs(same=False))
    assert found is not None
    across, within, difference = found
    assert abs(across.value) < 0.3
    assert within.value > 0.6
    assert difference.high is not None
    assert difference.high < 0


def test_the_agreement_is_kendalls_tau_with_ties_too() -> None:
    tied = np.random.default_rng(1).integers(0, 4, size=(12, 2, 2)).astype(float)
    one, two = ([record(i, half_values=list(v)) for i, v in enumerate(tied[:, h])] for h in (0, 1))
    found = rank_agreement(list(zip(one, two, strict=True)))
    assert found is not None
    taus = [kendalltau(tied[:, 0, a], tied[:, 1, 1 - a]).statistic for a in (0, 1)]
    assert found[0].value == pytest.approx(np.mean(taus), abs=1e-12)


def test_nothing_is_said_of_few_configurations_or_of_unknown_halves() -> None:
    known = pairs(same=True)
    assert rank_agreement(known[:4]) is None
    unknown = [(record(0, half_values=None), two) for _, two in known]
    assert rank_agreement(unknown) is None
