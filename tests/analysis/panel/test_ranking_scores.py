"""Scores of a ranking with their intervals."""

import numpy as np
import pytest

from analysis.panel.day_scores import DailyScores
from analysis.panel.ranking_scores import mean_score, score_ranking
from analysis.statistics.day_resampling import DaySamples, resampled_days
from study.statistics.rank_scores import sharpe, sharpe_influence

N_DAYS = 800


def daily(rank_ic: np.ndarray, earned: np.ndarray | None = None) -> DailyScores:
    """Return daily scores whose other arrays are zero."""
    zeros = np.zeros(rank_ic.shape)
    held = zeros if earned is None else earned
    return DailyScores(
        seeds=tuple(range(len(rank_ic))), rank_ic=rank_ic, ic=zeros, hit_rate=zeros,
        earned=held, net=held - 0.001, turnover=zeros,
    )  # fmt: skip


def test_ratios_and_their_errors_are_those_of_the_formulas() -> None:
    draw = np.random.default_rng(0)
    earned = 0.0005 + 0.01 * draw.standard_normal((1, N_DAYS))
    days = resampled_days(N_DAYS, 5)
    found = score_ranking(daily(0.02 + 0.1 * earned, earned), days, 5)
    assert found.sharpe is not None
    assert found.sharpe.value == pytest.approx(sharpe(earned[0], 5))
    assert found.sharpe.value == pytest.approx(
        earned.mean() / earned.std(ddof=1) * np.sqrt(252 / 5)
    )
    influence = sharpe_influence(earned[0], 5)
    assert influence is not None
    # Of independent days; blocks of 20 of 800 days know their own spread to about a sixth.
    assert found.sharpe.se == pytest.approx(influence.std() / np.sqrt(N_DAYS), rel=0.25)
    assert found.sharpe_net is not None
    assert found.sharpe_net.value == pytest.approx(sharpe(earned[0] - 0.001, 5))
    assert found.icir is not None
    own = 0.02 + 0.1 * earned
    assert found.icir.value == pytest.approx(own.mean() / own.std(ddof=1))


def test_samples_in_which_every_day_is_once_give_the_ratio_itself() -> None:
    earned = 0.0005 + 0.01 * np.random.default_rng(0).standard_normal((1, 50))
    every_day = DaySamples(counts=np.ones((10, 50)), stretch=np.ones(10), shown=1.0)
    found = score_ranking(daily(earned, earned), every_day, 5)
    for ratio in (found.icir, found.sharpe, found.sharpe_net):
        assert ratio is not None
        assert ratio.low == pytest.approx(ratio.value, rel=1e-9)


def test_what_never_varies_has_no_ratio() -> None:
    found = score_ranking(daily(np.zeros((2, 60))), resampled_days(60, 1), 1)
    assert found.icir is None
    assert found.sharpe is None


def test_an_interval_holds_days_and_seeds() -> None:
    draw = np.random.default_rng(1)
    noise = 0.2 * draw.standard_normal(N_DAYS)
    days = resampled_days(N_DAYS, 5)
    alike, apart = (
        mean_score(np.stack([noise + seed for seed in seeds]), days)
        for seeds in ((0.02, 0.02, 0.02), (-0.03, 0.02, 0.07))
    )
    assert alike.value == pytest.approx(apart.value)
    assert alike.se is not None
    assert apart.se is not None
    # The error of a mean of three seeds whose standard deviation is .05 is .029.
    assert alike.se == pytest.approx(0.2 / np.sqrt(N_DAYS), rel=0.25)
    assert apart.se > 0.025


def test_each_seed_has_an_interval_of_its_days() -> None:
    draw = np.random.default_rng(2)
    rank_ic = np.array([[0.0], [0.1]]) + 0.2 * draw.standard_normal((2, N_DAYS))
    found = score_ranking(daily(rank_ic), resampled_days(N_DAYS, 1), 1)
    assert list(found.by_seed) == [0, 1]
    assert found.by_seed[1].value == pytest.approx(rank_ic[1].mean())
    for each in found.by_seed.values():
        assert each.se == pytest.approx(0.2 / np.sqrt(N_DAYS), rel=0.3)
