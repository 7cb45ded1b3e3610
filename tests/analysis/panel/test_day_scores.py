"""Daily scores of a table of predictions, against values that are worked out by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from analysis.panel.day_scores import Portfolio, day_scores
from study.errors import StudyError
from study.results.finals.panel_predictions import panel_rows
from tests.analysis.panel.planted import concatenated, returns, rows, scores
from tests.analysis.records import FAMILY

WEEK = Portfolio(horizon=5, share=0.2, cost_basis_points=10)


def test_ties_and_assets_that_are_not_there_count_as_in_scipy() -> None:
    y = returns(30, 6).round(2)
    score = scores(y, 0.3, 1).round(1)
    ranked = np.random.default_rng(2).random(y.shape) < 0.8
    ranked[:, :4] = True
    dates = np.datetime64("2020-01-01") + np.arange(30)
    table = panel_rows(
        "ridge", None, "test", dates, tuple("ABCDEF"), score.astype(np.float32),
        y.astype(np.float32), ranked,
    )  # fmt: skip
    found = day_scores(concatenated([table]), "test", "demo", WEEK)
    assert found is not None
    expected = [spearmanr(score[d][ranked[d]], y[d][ranked[d]]).statistic for d in range(30)]
    assert found.models["ridge"].rank_ic[0] == pytest.approx(expected)
    assert found.assets_mean == pytest.approx(ranked.sum(axis=1).mean())
    assert found.n_assets == 6


def test_a_ranking_that_is_worked_out_by_hand() -> None:
    y = np.array([[0.01, 0.02, 0.03, 0.04]] * 2)
    # Two neighbours changed places on the first day: 1 - 6 * 2 / (4 * 15) = .8.
    score = np.array([[1.0, 2.0, 4.0, 3.0], [4.0, 3.0, 2.0, 1.0]])
    portfolio = Portfolio(horizon=1, share=0.25, cost_basis_points=10)
    found = day_scores(concatenated(rows({FAMILY: [score]}, y)), "test", "demo", portfolio)
    assert found is not None
    own = found.models[FAMILY]
    assert own.rank_ic == pytest.approx(np.array([[0.8, -1.0]]))
    assert own.losses == pytest.approx(np.array([[0.2, 2.0]]))
    # Long the third and short the first asset, then long the first and short the fourth.
    assert own.earned == pytest.approx(np.array([[0.02, -0.03]]), abs=1e-7)
    # The first day buys 1 and sells 1; the second sells the third and the fourth, and buys 2.
    assert own.turnover == pytest.approx(np.array([[2.0, 4.0]]))
    assert own.net == pytest.approx(np.array([[0.018, -0.034]]), abs=1e-7)


def test_runs_keep_their_seeds_and_a_baseline_has_none() -> None:
    y = returns(10, 5)
    models = {FAMILY: [scores(y, 0.9, 1), scores(y, 0.1, 2)], "ridge": [y], "zero": [0 * y]}
    table = concatenated(rows(models, y))
    found = day_scores(table.sample(frac=1, random_state=0), "test", "demo", WEEK)
    assert found is not None
    assert found.models[FAMILY].seeds == (0, 1)
    assert found.models[FAMILY].rank_ic[0].mean() > found.models[FAMILY].rank_ic[1].mean()
    assert found.models["ridge"].seeds == (None,)
    assert found.models["ridge"].rank_ic == pytest.approx(np.ones((1, 10)))
    # Equal scores rank nothing.
    assert not found.models["zero"].rank_ic.any()
    only = day_scores(table, "test", "demo", WEEK, models=[FAMILY])
    assert only is not None
    assert list(only.models) == [FAMILY]
    assert day_scores(table, "validation", "demo", WEEK) is None


def test_a_day_of_equal_returns_is_left_out_of_all_models() -> None:
    y = returns(10, 5)
    y[3] = 0.01
    models = {FAMILY: [scores(y, 0.5, 1)], "zero": [0 * y]}
    found = day_scores(concatenated(rows(models, y)), "test", "demo", WEEK)
    assert found is not None
    assert len(found.dates) == 9
    assert np.datetime64("2014-01-04") not in found.dates
    assert np.isfinite(found.models["zero"].rank_ic).all()
    assert dataclasses.astuple(WEEK) == (5, 0.2, 10.0)


def test_models_of_other_asset_days_are_refused() -> None:
    y = returns(10, 5)
    table = concatenated(rows({FAMILY: [y], "ridge": [y]}, y))
    rule = "every model must have been asked about the same asset-days"
    with pytest.raises(StudyError, match=f"{rule}, but got other test days, .* of 'ridge'"):
        day_scores(table.iloc[:-1], "test", "demo", WEEK)
    other = concatenated([*rows({FAMILY: [y]}, y), *rows({"ridge": [y]}, y + 0.01)])
    with pytest.raises(StudyError, match=rule):
        day_scores(other, "test", "demo", WEEK)


def test_an_asset_day_that_is_there_twice_is_refused() -> None:
    y = returns(10, 5)
    table = concatenated(rows({FAMILY: [y]}, y))
    with pytest.raises(StudyError, match=f"must have one score .* got 1 twice of '{FAMILY}'"):
        day_scores(pd.concat([table, table.iloc[:1]]), "test", "demo", WEEK)


def test_two_assets_a_day_cannot_be_judged() -> None:
    y = returns(10, 2)
    with pytest.raises(StudyError, match="have three ranked assets"):
        day_scores(concatenated(rows({FAMILY: [y]}, y)), "test", "demo", WEEK)
