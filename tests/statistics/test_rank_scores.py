from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr

from study.statistics.rank_scores import (
    conflict,
    daily_hit_rate,
    daily_ic,
    daily_rank_ic,
    icir,
    long_short,
    sharpe,
    sharpe_influence,
)

Values = npt.NDArray[Any]

DAYS_3_SCORE = np.array(
    [[5.0, 4, 3, 2, 1], [1.0, 2, 3, 4, 5], [2.0, 2, 2, 1, 0]],
)
DAYS_3_RETURN = np.array(
    [[0.04, 0.02, 0.0, -0.02, -0.01], [0.03, 0.0, 0.01, 0.02, 0.01], [0.03, 0.0, 0.03, 0.01, -0.02]]
)
ALL_3 = np.ones((3, 5), dtype=bool)


def drawn_panel(seed: int, n_days: int = 40, n_assets: int = 9) -> tuple[Values, Values, Values]:
    """Return scores and returns with many ties, some days and assets missing."""
    draw = np.random.default_rng(seed)
    score = draw.integers(0, 6, (n_days, n_assets)) / 4.0
    earned = draw.integers(-5, 6, (n_days, n_assets)) / 100.0
    mask = draw.random((n_days, n_assets)) < 0.7
    score[~mask], earned[~mask] = np.nan, np.nan
    mask[0, 2:] = False
    score[1], earned[2] = np.where(mask[1], 3.0, np.nan), np.where(mask[2], 0.01, np.nan)
    return score, earned, mask


@pytest.mark.parametrize(
    ("ours", "theirs"), [(daily_ic, pearsonr), (daily_rank_ic, spearmanr)], ids=["ic", "rank"]
)
def test_correlations_are_those_of_scipy_with_ties_and_masks(
    ours: Callable[..., Values], theirs: Callable[..., Any]
) -> None:
    score, earned, mask = drawn_panel(1)
    expected = []
    for s, r, m in zip(score, earned, mask, strict=True):
        if m.sum() < 3 or np.ptp(r[m]) == 0:
            expected.append(np.nan)
        else:
            expected.append(0.0 if np.ptp(s[m]) == 0 else theirs(s[m], r[m]).statistic)
    found = ours(score, earned, mask)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == 0


def test_values_computed_by_hand() -> None:
    # Day 1: ranks 5 4 3 2 1 and 5 4 3 1 2: sum of squared differences 2, 1 - 6 * 2 / 120.
    assert daily_rank_ic(DAYS_3_SCORE, DAYS_3_RETURN, ALL_3)[0] == pytest.approx(0.9)
    # Medians of day 1: 3 and 0. Four assets on one side, the median itself counts one half.
    # Day 2: medians 3 and .01: opposite, same side, half, right, half (its return is the median).
    # Day 3: the three scores of 2 are the median; 1 and 0 lie below, of their returns .01 is the
    # median and -.02 below.
    rates = daily_hit_rate(DAYS_3_SCORE, DAYS_3_RETURN, ALL_3)
    np.testing.assert_allclose(rates, [4.5 / 5, (0 + 1 + 0.5 + 1 + 0.5) / 5, (4 * 0.5 + 1) / 5])


def test_a_portfolio_computed_by_hand() -> None:
    # 40 % of five assets: two on either side, each with one half; on day 3 the three best tie for
    # two places, so each has a third.
    found = long_short(DAYS_3_SCORE, DAYS_3_RETURN, ALL_3, horizon=1, share=0.4)
    returns = [0.03 + 0.015, 0.015 - 0.015, 0.02 + 0.005]
    np.testing.assert_allclose(found.returns_D, returns, atol=1e-15)
    # Bought whole; all turned round; -1/2 -1/2 0 1/2 1/2 becomes 1/3 1/3 1/3 -1/2 -1/2.
    np.testing.assert_allclose(found.turnover_D, [2, 4, 2 * 5 / 6 + 1 / 3 + 2])
    np.testing.assert_allclose(found.net_D(50), found.returns_D - 0.005 * found.turnover_D)
    mean = sum(returns) / 3
    sd = (sum((value - mean) ** 2 for value in returns) / 2) ** 0.5
    assert sharpe(found.returns_D, 1) == pytest.approx(mean / sd * 252**0.5)
    assert icir(found.returns_D) == pytest.approx(mean / sd)


def test_tranches_are_held_for_the_horizon() -> None:
    found = long_short(DAYS_3_SCORE, DAYS_3_RETURN, ALL_3, horizon=2, share=0.2)
    # One asset on either side; returns of two days, half of each per day of holding.
    np.testing.assert_allclose(found.returns_D, [0.025, -0.01, 0.02])
    # The second tranche is bought on day 2; day 3 replaces the tranche of day 1: 1 0 0 0 -1 becomes
    # 1/3 1/3 1/3 0 -1.
    np.testing.assert_allclose(found.turnover_D, [1, 1, 4 / 3 / 2])
    once = np.array([0.01, 0.02, -0.01, 0.03])
    ratio = sharpe(once, 1)
    assert ratio is not None
    assert sharpe(once, 5) == pytest.approx(ratio / 5**0.5)


def test_a_day_without_a_portfolio_keeps_the_tranche_for_its_next_day() -> None:
    score = np.tile([3.0, 2, 1], (5, 1))
    mask = np.ones((5, 3), dtype=bool)
    mask[2, 0] = False
    found = long_short(score, score / 100, mask, horizon=2, share=0.3)
    np.testing.assert_allclose(found.turnover_D, [1, 1, np.nan, 0, 0])
    assert np.isnan(found.returns_D[2])
    assert sharpe(np.append(found.returns_D[:2], np.nan), 2) is None


def test_equal_scores_hold_nothing_and_know_nothing() -> None:
    score, earned = np.ones((2, 7)), np.random.default_rng(0).normal(size=(2, 7))
    mask = np.ones((2, 7), dtype=bool)
    found = long_short(score, earned, mask, horizon=1, share=0.2)
    assert (found.returns_D.tolist(), found.turnover_D.tolist()) == ([0, 0], [0, 0])
    for measure, value in ((daily_ic, 0), (daily_rank_ic, 0), (daily_hit_rate, 0.5)):
        assert measure(score, earned, mask).tolist() == [value, value]


def test_a_score_that_is_not_finite_makes_its_day_unknown() -> None:
    score = DAYS_3_SCORE.copy()
    score[1, 2] = np.inf
    for measure in (daily_ic, daily_rank_ic, daily_hit_rate):
        found = measure(score, DAYS_3_RETURN, ALL_3)
        assert np.isnan(found).tolist() == [False, True, False]
    found = long_short(score, DAYS_3_RETURN, ALL_3, horizon=1, share=0.2).returns_D
    assert np.isnan(found).tolist() == [False, True, False]


def everything(score: Values, earned: Values, mask: Values) -> Values:
    portfolio = long_short(score, earned, mask, horizon=3, share=0.3)
    measures = (daily_ic, daily_rank_ic, daily_hit_rate)
    return np.stack(
        [
            *(measure(score, earned, mask) for measure in measures),
            portfolio.returns_D,
            portfolio.turnover_D,
        ]
    )


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_order_and_masked_assets_do_not_matter_and_values_are_in_range(seed: int) -> None:
    score, earned, mask = drawn_panel(seed)
    found = everything(score, earned, mask)
    # Masked scores and returns are NaN.
    assert not np.isnan(found[3:, mask.sum(axis=1) >= 3]).any()
    order = np.random.default_rng(seed).permutation(score.shape[1])
    shuffled = everything(score[:, order], earned[:, order], mask[:, order])
    np.testing.assert_allclose(shuffled, found, atol=1e-12)
    around = ((0, 0), (2, 3))
    wide_score, wide_earned = (np.pad(each, around, constant_values=9) for each in (score, earned))
    padded = everything(wide_score, wide_earned, np.pad(mask, around))
    np.testing.assert_allclose(padded, found, atol=1e-12)
    monotone = everything(np.exp(score) * 1e3, earned, mask)
    np.testing.assert_allclose(monotone[1:], found[1:], atol=1e-12)
    known = found[:, ~np.isnan(found).any(axis=0)]
    assert (np.abs(known[:2]) <= 1).all()
    assert ((known[2] >= 0) & (known[2] <= 1)).all()
    assert ((known[4] >= 0) & (known[4] <= 4 / 3 + 1e-12)).all()


def test_many_days_are_those_of_each_day_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = drawn_panel(3, n_days=23)
    whole = everything(*panel)
    monkeypatch.setattr("study.statistics.rank_scores._CHUNK_VALUES", 4 * panel[0].shape[1])
    np.testing.assert_array_equal(everything(*panel), whole)


def test_a_rank_ic_of_nothing_has_the_sd_of_its_formula() -> None:
    draw = np.random.default_rng(5)
    score, earned = draw.normal(size=(2, 4_000, 20))
    found = daily_rank_ic(score, earned, np.ones(score.shape, dtype=bool)).std()
    assert found == pytest.approx(1 / 19**0.5, rel=0.04)


def test_the_error_of_a_sharpe_ratio_is_that_of_its_draws() -> None:
    draw = np.random.default_rng(6)
    samples = draw.normal(0.2, 1, size=(2_000, 300))
    ratios = [sharpe(sample, 5) or 0.0 for sample in samples]
    influences = [sharpe_influence(sample, 5) for sample in samples[:50]]
    assert all(values is not None for values in influences)
    errors = [values.std() / 300**0.5 for values in influences if values is not None]
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.05)
    # Lo (2002): sqrt((1 + ratio^2 / 2) / n) of independent normal returns.
    assert np.mean(errors) == pytest.approx(((1 + 0.02) / 300 * 252 / 5) ** 0.5, rel=0.03)
    assert all(abs(values.mean()) < 1e-12 for values in influences if values is not None)
    assert sharpe_influence(np.full(9, 0.1), 1) is None


@pytest.mark.parametrize(
    ("rank_ics", "sharpes", "warns"),
    [
        ([0.03, 0.02, 0.01, 0.0, -0.01], [0.1, 0.2, 0.3, 0.4, 0.5], True),
        ([0.03, 0.02, 0.01, 0.0, 0.005], [0.1, 0.2, 0.3, 0.5, 0.4], True),
        ([0.03, 0.01, 0.02, 0.0, 0.005], [0.1, 0.2, 0.3, 0.4, 0.5], False),
        ([0.03, 0.02, 0.01, 0.0, -0.01], [0.1, 0.1, 0.2, 0.3, 0.3], True),
        ([0.01, 0.01, 0.01, 0.01, 0.01], [0.1, 0.2, 0.3, 0.4, 0.5], False),
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.1, 0.2, 0.3, 0.4, 0.5], False),
        ([0.03, 0.02, 0.01, 0.0, -0.01], [0.1, 0.2, None, 0.4, 0.5], False),
        ([0.03, 0.02, 0.01, 0.0], [0.1, 0.2, 0.3, 0.4], False),
        ([9.0, 0.03, 0.02, 0.01, 0.0, -0.01], [9.0, 0.1, 0.2, 0.3, 0.4, 0.5], True),
    ],
)
def test_a_ratio_that_rises_while_the_ranking_gets_worse_is_reported(
    rank_ics: list[float], sharpes: list[float | None], warns: bool
) -> None:
    assert (conflict(rank_ics, sharpes) is not None) == warns


def test_the_warning_names_both_scores() -> None:
    found = conflict([0.03, 0.02, 0.01, 0.0, -0.01], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert found is not None
    assert "rose from 0.10 to 0.50 while RankIC fell from 0.0300 to -0.0100" in found
