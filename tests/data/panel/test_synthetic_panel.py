import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import rankdata

from study.data.embedded.synthetic_panel import (
    HORIZONS,
    PanelLaw,
    SyntheticPanel,
    bayes_ic,
    oracle_scores,
    simulate_panel,
)
from study.data.panel.panel_sources import load_panel
from study.errors import DataError

Values = npt.NDArray[np.float64]

STRONG = PanelLaw(n_days=4_000, n_assets=20, n_sectors=4, signal_ic=0.2, seed=5)
SILENT_DAYS = 60
"""Days after which the signal has begun."""


@pytest.fixture(scope="module")
def strong() -> SyntheticPanel:
    return simulate_panel(STRONG)


def returns_of(close: Values, horizon: int) -> Values:
    return close[horizon:] / close[:-horizon] - 1


def correlations(one: Values, other: Values) -> Values:
    a, b = (each - each.mean(axis=1, keepdims=True) for each in (one, other))
    return np.asarray((a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))


@pytest.mark.parametrize("horizon", [1, 2, 5, 21])
def test_the_oracle_scores_what_is_expected_of_it(strong: SyntheticPanel, horizon: int) -> None:
    returns = returns_of(strong.panel.close, horizon)[SILENT_DAYS:]
    oracle = strong.panel.oracle[horizon][SILENT_DAYS:-horizon]
    expected = bayes_ic(strong, horizon)
    for measured, of_day in (
        (correlations(oracle, returns), expected.ic),
        (correlations(rankdata(oracle, axis=1), rankdata(returns, axis=1)), expected.rank_ic),
    ):
        excess = (measured - of_day[SILENT_DAYS:-horizon])[::horizon]
        assert abs(excess.mean()) < 3 * excess.std() / np.sqrt(len(excess))
        # A tenth of the signal less would be seen.
        assert measured.mean() > 20 * excess.std() / np.sqrt(len(excess)) / np.sqrt(horizon)


def test_the_expected_correlations_are_means_over_what_may_follow() -> None:
    law = PanelLaw(n_days=4_000, n_assets=8, n_sectors=2, signal_ic=0.6, seed=1)
    market, generator = simulate_panel(law), np.random.default_rng(0)
    # The day before a regime ends shows whether the volatility is that of the days that follow, and
    # a signal that sectors share whether it is held against their own volatility.
    changes = np.flatnonzero(np.diff(market.volatility))
    signals = np.log1p(market.panel.oracle[1][changes])
    signals -= signals.mean(axis=1, keepdims=True)
    shared = signals[:, :4].mean(axis=1) ** 2 / (signals**2).mean(axis=1)
    day = int(changes[np.argmax(np.where(changes > SILENT_DAYS, shared, 0))])
    assert shared.max() > 0.5
    expected = bayes_ic(market, 1)
    signal = np.log1p(market.panel.oracle[1][day])
    factor = market.volatility[day + 1]
    own, sectors = generator.standard_normal((40_000, 8)), generator.standard_normal((40_000, 2))
    drawn = signal + factor * (0.015 * own + 0.005 * np.repeat(sectors, 4, axis=1))
    signals = np.broadcast_to(signal, drawn.shape)
    for values, found in (
        (correlations(signals, drawn), expected.ic),
        (correlations(rankdata(signals, axis=1), rankdata(drawn, axis=1)), expected.rank_ic),
    ):
        assert abs(values.mean() - found[day]) < 3 * values.std() / np.sqrt(len(values))


def test_the_oracle_is_the_mean_of_what_follows(strong: SyntheticPanel) -> None:
    # Pooled over the assets the market's noise remains: compared are assets of one sector.
    for horizon in (1, 20):
        returns = returns_of(strong.panel.close, horizon)[SILENT_DAYS:]
        oracle = strong.panel.oracle[horizon][SILENT_DAYS:-horizon]
        a, b = (each - each.mean(axis=1, keepdims=True) for each in (oracle, returns))
        slopes = (a * b).sum(axis=1)[::horizon] / (a**2).sum(axis=1).mean()
        assert abs(slopes.mean() - 1) < 3 * slopes.std() / np.sqrt(len(slopes))


def test_no_oracle_sees_what_comes_later(strong: SyntheticPanel) -> None:
    changed = strong.panel.close.copy()
    day = 1_000
    changed[day + 1 :] *= np.random.default_rng(0).uniform(0.5, 2, changed[day + 1 :].shape)
    for horizon, scores in oracle_scores(changed, STRONG).items():
        np.testing.assert_array_equal(scores[: day + 1], strong.panel.oracle[horizon][: day + 1])
        assert not np.array_equal(scores[day + 21 :], strong.panel.oracle[horizon][day + 21 :])


def test_without_a_signal_nothing_is_expected_and_no_asset_is_preferred() -> None:
    market = simulate_panel(dataclasses.replace(STRONG, n_days=300, signal_ic=0.0))
    for horizon in (1, 5, 21):
        expected = bayes_ic(market, horizon)
        assert not expected.ic[:-horizon].any()
        assert not expected.rank_ic[:-horizon].any()
        assert np.isnan(expected.ic[-horizon:]).all()
        assert np.isnan(expected.rank_ic[-horizon:]).all()
        assert np.ptp(market.panel.oracle[horizon]) == 0


def test_a_seed_gives_one_panel_and_another_seed_another() -> None:
    law = PanelLaw(n_days=100)
    first, again, other = (
        simulate_panel(each).panel for each in (law, law, dataclasses.replace(law, seed=8))
    )
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_embedded_panel_has_the_usual_law() -> None:
    panel = load_panel("synthetic-panel")
    assert panel.close.shape == (5_000, 50)
    assert len(set(panel.sectors or ())) == 5
    assert list(panel.oracle) == list(HORIZONS) == list(range(1, 22))
    assert panel.warnings == ()
    daily = np.diff(np.log(panel.close), axis=0)
    # The mean square of the regimes' factors is 1 over a long time, and near it over this one.
    assert daily.std() == pytest.approx(np.sqrt(0.008**2 + 0.005**2 + 0.015**2), rel=0.15)


@pytest.mark.parametrize(
    ("field", "value"), [("n_days", 1), ("n_assets", 7), ("n_assets", 5), ("signal_ic", 1.0)]
)
def test_a_law_that_cannot_be_drawn_is_refused(field: str, value: float) -> None:
    with pytest.raises(DataError, match=f"PanelLaw: {field} must"):
        dataclasses.replace(PanelLaw(), **{field: value})  # type: ignore[arg-type]
