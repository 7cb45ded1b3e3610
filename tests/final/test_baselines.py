"""Baselines on the embedded market: known scores, closed forms, and no label of the future."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.data.embedded.synthetic import simulate_market
from study.data.holdout import Holdout, open_holdout
from study.data.labels import fall_labels_of, make_labels
from study.data.sources import load_prices
from study.final.answers.baseline_predictions import (
    BASELINES,
    TRAILING_DAYS,
    baselines_of,
    both_sides_probability,
    garch_variance,
    path_probability,
    predict_baselines,
)


@pytest.mark.parametrize(
    ("horizon", "expected_auc", "expected_loss"),
    [(1, 0.793, 0.3544), (3, 0.716, 0.6035), (5, 0.686, 0.6545)],
)
def test_garch_closed_form_has_its_known_scores(
    horizon: int, expected_auc: float, expected_loss: float
) -> None:
    # Scores that an earlier program measured: fitted on 1999-2012, judged on 2013-2018.
    bars = load_prices("sp500").frame
    config = DataConfig(horizon=horizon)
    n_fitted = int((bars.index < "2013-01-01").sum())
    labels = make_labels(bars, kind="high", horizon=horizon, threshold=0.01)
    variance = garch_variance(bars["Close"].to_numpy(), n_fitted=n_fitted, horizon=horizon)
    p = path_probability(config, variance)
    days = np.arange(n_fitted, len(bars) - horizon)
    assert roc_auc_score(labels[days], p[days]) == pytest.approx(expected_auc, abs=0.005)
    assert log_loss(labels[days], p[days]) == pytest.approx(expected_loss, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("horizon", "expected_mean", "base_rate"), [(3, 0.287, 0.273), (5, 0.405, 0.397)]
)
def test_any_close_of_the_path_is_asked_and_not_that_of_the_last_day(
    horizon: int, expected_mean: float, base_rate: float
) -> None:
    config = DataConfig(horizon=horizon, label_price="close")
    held = open_holdout(config, build_dataset(config))
    p = BASELINES["GJR-GARCH"](config, held)
    days = np.concatenate((held.validation_days, held.test_days))
    assert held.labels[days].mean() == pytest.approx(base_rate, abs=0.01)
    assert p[days].mean() == pytest.approx(expected_mean, abs=0.005)


@pytest.mark.parametrize("horizon", [1, 3, 5, 10])
def test_any_close_agrees_with_walks_that_are_drawn(horizon: int) -> None:
    config = DataConfig(horizon=horizon, label_price="close", purge_days=horizon)
    draw = np.random.default_rng(0)
    # From a calm market to a crash, rising and falling.
    first, last = np.array([[0.003, 0.01, 0.01, 0.05], [0.003, 0.005, 0.02, 0.02]])
    steps = np.linspace(first, last, horizon, axis=1)
    walks = draw.standard_normal((200_000, 1, horizon)) * steps
    drawn = (np.cumsum(walks, axis=2) >= np.log1p(config.threshold)).any(axis=2).mean(axis=0)
    found = path_probability(config, steps**2)
    assert found == pytest.approx(drawn, abs=4 * np.sqrt(0.25 / 200_000))


@pytest.mark.slow
def test_on_a_planted_gjr_process_any_close_is_as_probable_as_it_comes_true() -> None:
    # Variance of the next day: w + (a + g [r < 0]) r^2 + b v, 1 % a day on average.
    w, a, g, b = 2e-6, 0.03, 0.12, 0.89
    n_days, horizon, n_walks = 6_000, 5, 2_000
    draw = np.random.default_rng(4)

    def after(variance: np.ndarray, moved: np.ndarray) -> np.ndarray:
        return np.asarray(w + (a + g * (moved < 0)) * moved**2 + b * variance)

    returns, variances = np.empty(n_days), np.empty(n_days)
    variance = np.array(1e-4)
    for day, normal in enumerate(draw.standard_normal(n_days)):
        returns[day] = normal * np.sqrt(variance)
        variance = variances[day] = after(variance, returns[day])
    close = 100 * np.exp(np.cumsum(returns))
    config = DataConfig(horizon=horizon, label_price="close")
    found = path_probability(config, garch_variance(close, n_fitted=5_000, horizon=horizon)[1:])

    # What comes of a day's state, by walks of the planted process: days that were not fitted.
    days = np.arange(5_000, n_days - horizon, 5)
    place, ahead = np.zeros((len(days), n_walks)), np.repeat(variances[days, None], n_walks, axis=1)
    reached = np.zeros(place.shape, dtype=np.bool_)
    for _ in range(horizon):
        moved = draw.standard_normal(place.shape) * np.sqrt(ahead)
        place, ahead = place + moved, after(ahead, moved)
        reached |= place >= np.log1p(config.threshold)
    true = reached.mean(axis=1)
    # Where only the close of the last day is asked for, it is a quarter less probable.
    assert (place >= np.log1p(config.threshold)).mean() < 0.8 * true.mean()
    assert found[days - 1].mean() == pytest.approx(true.mean(), abs=0.02)
    assert np.abs(found[days - 1] - true).max() < 0.08
    labels = make_labels(
        pd.DataFrame({"High": close, "Close": close}), kind="close", horizon=horizon, threshold=0.01
    )
    assert labels[days].mean() == pytest.approx(true.mean(), abs=0.1)


def test_of_one_day_any_close_is_its_close() -> None:
    config = DataConfig(horizon=1, label_price="close")
    deviations = np.array([0.001, 0.01, 0.1])
    expected = norm.sf(np.log1p(config.threshold) / deviations)
    assert path_probability(config, deviations[:, None] ** 2) == pytest.approx(expected, abs=1e-12)


@pytest.fixture(scope="module")
def holdout() -> Holdout:
    config = DataConfig(horizon=3)
    return open_holdout(config, build_dataset(config))


@pytest.mark.slow
def test_every_baseline_says_a_probability_of_every_judged_day(holdout: Holdout) -> None:
    found = predict_baselines(DataConfig(horizon=3), holdout)
    assert list(found) == list(BASELINES)
    days = np.concatenate((holdout.validation_days, holdout.test_days))
    for name, p in found.items():
        assert np.isfinite(p[days]).all(), name
        assert ((p[days] > 0) & (p[days] < 1)).all(), name
    # On the test days the constant is the worst of them, and logistic regression the best.
    losses = {n: log_loss(holdout.labels[holdout.test_days], p[holdout.test_days])
              for n, p in found.items()}  # fmt: skip
    assert max(losses, key=lambda n: losses[n]) == "constant"
    assert min(losses, key=lambda n: losses[n]) in ("logistic", "logistic, both sides")


def test_falls_that_are_rarer_than_rises_leave_the_probability_of_a_rise_alone() -> None:
    draw = np.random.default_rng(0)
    features = draw.standard_normal((2000, 3)).astype(np.float32)
    rises, falls = ((draw.random(2000) < rate).astype(np.float32) for rate in (0.5, 0.1))
    p = both_sides_probability(features, rises, falls, np.arange(2000))
    # A constant of each kind lets probabilities of training days have the mean of their labels.
    assert p.mean() == pytest.approx(rises.mean(), abs=2e-3)


def test_both_sides_are_a_logistic_regression_with_a_constant_of_its_own_for_falls(
    holdout: Holdout,
) -> None:
    p = BASELINES["logistic, both sides"](DataConfig(horizon=3), holdout)
    logit = np.log(p) - np.log1p(-p)
    days = holdout.train_days
    # It is linear in the inputs.
    inputs = np.column_stack((holdout.features.astype(np.float64), np.ones(len(p))))
    weights, *_ = np.linalg.lstsq(inputs[days], logit[days], rcond=None)
    assert inputs @ weights == pytest.approx(logit, abs=1e-3)
    alone = BASELINES["logistic"](DataConfig(horizon=3), holdout)
    assert np.abs(p - alone).max() > 0.01


@pytest.mark.parametrize("config", [
    DataConfig(horizon=3), DataConfig(horizon=3, label_price="close"),
    DataConfig(horizon=3, task="direction"),
])  # fmt: skip
def test_a_task_without_a_label_of_falls_has_no_baseline_of_both_sides(config: DataConfig) -> None:
    bars = load_prices("sp500").frame[:50]
    has_falls = fall_labels_of(bars, config) is not None
    names = list(baselines_of(config))
    assert ("logistic, both sides" in names) == has_falls
    assert [name for name in BASELINES if name not in names] == (
        [] if has_falls else ["logistic, both sides"]
    )


def test_of_a_direction_no_baseline_of_both_sides_is_fitted(
    holdout: Holdout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in BASELINES if each not in ("constant", "logistic, both sides")]:
        monkeypatch.delitem(BASELINES, name)
    config = DataConfig(horizon=3, task="direction")
    assert list(predict_baselines(config, holdout)) == ["constant"]


def test_the_trailing_prior_knows_no_label_that_is_not_over(holdout: Holdout) -> None:
    p = BASELINES["trailing prior"](DataConfig(horizon=3), holdout)
    day = int(holdout.test_days[100])
    known = holdout.labels[day - 3 - TRAILING_DAYS + 1 : day - 3 + 1]
    assert p[day] == pytest.approx(known.mean())


def test_har_is_a_logistic_regression_on_the_realised_volatility_of_day_week_and_month(
    holdout: Holdout,
) -> None:
    p = BASELINES["HAR"](DataConfig(horizon=3), holdout)
    close = holdout.prices.frame["Close"].to_numpy()
    returns = np.append(np.nan, np.diff(np.log(close)))

    def terms(bar: int) -> list[float]:
        past = [returns[bar - days + 1 : bar + 1] for days in (1, 5, 22)]
        return [np.log(max(np.sqrt(np.mean(each**2)), 1e-4)) for each in past]

    inputs = np.array([terms(int(bar)) for bar in holdout.bars])
    train = holdout.train_days
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(inputs[train], holdout.labels[train])
    assert p == pytest.approx(model.predict_proba(inputs)[:, 1], abs=1e-9)


def test_garch_on_a_day_does_not_depend_on_later_days() -> None:
    close = load_prices("sp500").frame["Close"].to_numpy()[:1500]
    whole = garch_variance(close, n_fitted=1000, horizon=3)
    cut = garch_variance(close[:1200], n_fitted=1000, horizon=3)
    assert np.allclose(whole[1:1200], cut[1:], rtol=1e-6)


def test_garch_finds_the_variance_that_made_a_market() -> None:
    market = simulate_market(n_days=6000, seed=3)
    close = market.prices.frame["Close"].to_numpy()
    variance = garch_variance(close, n_fitted=5000, horizon=1)[:, 0]
    days = np.arange(5000, 6000)
    ratio = variance[days] / market.next_variance[days]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)
    assert np.corrcoef(variance[days], market.next_variance[days])[0, 1] > 0.97
