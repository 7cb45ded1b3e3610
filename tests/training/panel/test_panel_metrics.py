import math
from typing import Any, get_args

import numpy as np
import pytest
from scipy import stats

from study.statistics.mean_error import standard_error
from study.training.panel.panel_metrics import (
    DailyScores,
    PanelMetric,
    PanelMetrics,
    panel_metrics,
)

N_DAYS, N_ASSETS = 90, 12
draw = np.random.default_rng(0)
SCORES = draw.standard_normal((N_DAYS, N_ASSETS)).astype(np.float32)
RETURNS = (0.01 * (draw.standard_normal((N_DAYS, N_ASSETS)) + 0.3 * SCORES)).astype(np.float32)
MASK = draw.random((N_DAYS, N_ASSETS)) < 0.8
MASK[:, :3] = True
TARGETS = 100 * RETURNS


def daily(scores: Any = SCORES, returns: Any = RETURNS, horizon: int = 1) -> DailyScores | None:
    return DailyScores.of(
        scores,
        return_DA=np.where(MASK, returns, np.nan).astype(np.float32),
        target_DA=np.where(MASK, TARGETS, np.nan).astype(np.float32),
        mask_DA=MASK,
        horizon=horizon,
        share=0.2,
        cost_bps=10.0,
    )


def judged(found: DailyScores | None, metric: PanelMetric = "rank_ic") -> PanelMetrics:
    assert found is not None
    return panel_metrics(found, horizon=1, metric=metric, baseline_rank_ics=None)


def test_scores_are_means_over_all_days_of_what_scipy_gives_for_each() -> None:
    found = judged(daily())
    rank, pearson, squares = [], [], []
    for score, earned, target, mask in zip(SCORES, RETURNS, TARGETS, MASK, strict=True):
        rank.append(stats.spearmanr(score[mask], earned[mask]).statistic)
        pearson.append(stats.pearsonr(score[mask], earned[mask]).statistic)
        squares.append(float(np.mean((score[mask] - target[mask]) ** 2)))
    assert found.rank_ic == pytest.approx(np.mean(rank))
    assert found.rank_ic_se == pytest.approx(standard_error(np.array(rank), 20))
    assert found.icir == pytest.approx(np.mean(rank) / np.std(rank, ddof=1))
    assert found.ic == pytest.approx(np.mean(pearson))
    assert found.base_loss == pytest.approx(np.mean(squares), rel=1e-5)
    spread = np.mean([SCORES[d][MASK[d]].std() for d in range(N_DAYS)])
    own = np.mean([TARGETS[d][MASK[d]].std() for d in range(N_DAYS)])
    assert found.spread == pytest.approx(spread / own, rel=1e-5)
    assert found.sharpe is not None
    assert found.sharpe_net is not None
    assert found.sharpe_net < found.sharpe


@pytest.mark.parametrize("metric", get_args(PanelMetric))
def test_the_loss_is_one_less_the_score_that_is_searched_for(metric: PanelMetric) -> None:
    found = judged(daily(), metric)
    expected = {
        "rank_ic": 1 - found.rank_ic,
        "ic": 1 - found.ic,
        "loss": found.base_loss,
        "sharpe": 1 - (found.sharpe or math.nan),
    }[metric]
    assert found.loss == pytest.approx(expected)
    assert found.loss_se is not None
    assert found.half_losses is not None
    # Five blocks of 20 days, the last of ten: three even ones.
    if metric != "sharpe":
        assert np.average(found.half_losses, weights=[50, 40]) == pytest.approx(found.loss)


def test_a_day_of_equal_returns_counts_for_no_rank_and_a_score_out_of_the_mask_for_nothing() -> (
    None
):
    returns = RETURNS.copy()
    returns[7] = 0.01
    with_flat, without = daily(returns=returns), daily()
    assert with_flat is not None
    assert without is not None
    assert math.isnan(with_flat.rank_ic[7])
    kept = np.delete(without.rank_ic, 7)
    assert judged(with_flat).rank_ic == pytest.approx(kept.mean())
    scores = np.where(MASK, SCORES, np.nan).astype(np.float32)
    assert judged(daily(scores)) == judged(without)


def test_scores_that_are_all_equal_rank_nothing_and_earn_nothing() -> None:
    found = judged(daily(np.ones_like(SCORES)))
    assert (found.rank_ic, found.ic, found.long_short, found.spread) == (0, 0, 0, 0)
    assert (found.icir, found.sharpe, found.sharpe_se) == (None, None, None)


def test_an_undefined_ratio_is_no_loss_and_one_of_a_half_no_half() -> None:
    found = judged(daily(np.ones_like(SCORES)), "sharpe")
    assert (found.loss, found.loss_se, found.half_losses) == (None, None, None)
    # The scores rank nothing on the days of the odd blocks alone.
    is_odd = np.arange(N_DAYS) // 20 % 2 == 1
    found = judged(daily(np.where(is_odd[:, None], 1, SCORES).astype(np.float32)), "sharpe")
    assert found.loss is not None
    assert found.half_losses is None
    assert found.best(3).loss == found.loss


def test_a_score_that_is_not_finite_has_no_metrics() -> None:
    broken = SCORES.copy()
    broken[3, 0] = np.inf
    assert daily(broken) is None
