import math

import numpy as np
import pytest

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.data.evaluation.power import Power, measure_power, sentences
from study.statistics.block_length import block_days
from study.statistics.detectable import smallest_difference
from study.statistics.mean_error import standard_error


@pytest.fixture(scope="module")
def powers() -> dict[int, Power]:
    return {h: measure_power(build_dataset(DataConfig(horizon=h))) for h in (1, 5)}


def test_independent_losses_give_the_textbook_size() -> None:
    sd, n = 0.2, 20_000
    losses = np.random.default_rng(3).normal(0.01, sd, n)
    error = standard_error(losses, block_days(1))
    assert error is not None
    assert smallest_difference(error) == pytest.approx(2.80 * sd / math.sqrt(n), rel=0.05)


@pytest.mark.slow
def test_longer_horizons_show_less(powers: dict[int, Power]) -> None:
    assert powers[5].log_loss_test > 1.3 * powers[1].log_loss_test


@pytest.mark.slow
def test_two_plausible_models_differ_as_much_as_was_measured_before(
    powers: dict[int, Power],
) -> None:
    # .11 between logistic regression and GARCH, .31 between logistic regression and boosting.
    for power in powers.values():
        assert 0.11 <= power.difference_sd <= 0.31
        assert power.log_loss_validation == pytest.approx(2.80 * power.log_loss_se, rel=0.01)
        # Two networks differ by less than half as much: tests/bench/test_network_difference.py.
        simple = power.log_loss_se / power.share
        assert 0.0045 <= simple <= 0.011
        assert 0 < power.share_low < power.share < power.share_high < 1
        assert 0 < power.auc_share_low < power.auc_share < power.auc_share_high < 1
        assert power.auc_validation is not None
        assert 0.01 < power.auc_validation < 0.05
        # Each score has a share of its own.
        assert power.auc_se is not None
        assert 0.015 <= power.auc_se / power.auc_share <= 0.024
        # Parts of equal length, and no test label read.
        assert power.log_loss_test == pytest.approx(power.log_loss_validation)


def test_a_study_that_cannot_answer_says_so() -> None:
    (said,) = sentences(0.03, 0.03, gain=0.08, horizon=5)
    assert said.startswith("h5: cannot say which budget is better")
    assert "0.0840" in said
    assert "0.0800" in said


def test_an_exponent_needs_an_error_of_a_hundredth_of_the_gain() -> None:
    coarse = sentences(0.005, 0.004, gain=0.08, horizon=1)
    assert any("cannot identify a scaling exponent" in said for said in coarse)
    assert "0.0112 nat on the test days (0.0140 on validation)" in coarse[0]
    fine = sentences(0.0005, 0.0005, gain=0.08, horizon=1)
    assert len(fine) == 1
    assert "cannot" not in fine[0]
