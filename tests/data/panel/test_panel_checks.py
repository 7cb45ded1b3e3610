import numpy as np
import numpy.typing as npt
import pytest

from study.data.checks.check_result import CheckResult
from study.data.checks.panel_checks import check_grid
from study.data.checks.panel_series_checks import PanelGrid, missing_share

N_DAYS, N_ASSETS = 300, 6
DAY = 150


def walk(seed: int = 0, sd: float = 0.015) -> npt.NDArray[np.float64]:
    steps = np.random.default_rng(seed).normal(0, sd, (N_DAYS, N_ASSETS))
    return np.asarray(40 * np.exp(np.cumsum(steps, axis=0)))


def checked(close: npt.NDArray[np.float64]) -> dict[str, CheckResult]:
    days = np.busday_offset(np.full(N_DAYS, "2015-01-01", "datetime64[D]"), np.arange(N_DAYS))
    grid = PanelGrid(where="x", dates=days, assets=tuple("ABCDEF"), close=close, bars={})
    return {result.name: result for result in check_grid(grid)}


def statuses(close: npt.NDArray[np.float64]) -> set[str]:
    return {name for name, result in checked(close).items() if result.status != "ok"}


def test_plain_prices_pass_every_check() -> None:
    for seed in range(10):
        assert statuses(walk(seed)) == set()


@pytest.mark.parametrize("ratio", [1 / 2, 1 / 3, 1 / 10, 2, 10, 1 / 100])
def test_a_split_that_is_not_adjusted_is_refused(ratio: float) -> None:
    close = walk()
    close[DAY:, 2] = close[DAY:, 2] / close[DAY, 2] * close[DAY - 1, 2] * ratio * 1.01
    result = checked(close)["panel-splits"]
    assert result.status == "error"
    assert "C 2015-07-30 to" in result.messages[0]
    assert "--accept panel-splits" in result.messages[0]


def test_a_fall_that_all_assets_share_is_no_split() -> None:
    close = walk()
    close[DAY:] /= 2
    assert "panel-splits" not in statuses(close)


def test_a_fall_that_is_made_up_for_is_no_split_but_a_broken_price() -> None:
    close = walk()
    close[DAY, 2] /= 3
    assert statuses(close) == {"panel-broken-price", "large moves"}
    assert "C 2015-07-30 Close=" in checked(close)["panel-broken-price"].messages[0]


def test_a_fall_of_a_third_is_a_large_move_alone() -> None:
    close = walk()
    close[DAY:, 2] *= 0.62
    assert statuses(close) == {"large moves"}


def test_a_price_that_stands_still_for_weeks_is_refused() -> None:
    close = walk()
    close[100:119, 4] = 40.0
    assert "panel-constant-prices" not in statuses(close)
    close[100:120, 4] = 40.0
    message = checked(close)["panel-constant-prices"].messages[0]
    assert "of E 2015-05-21 to 2015-06-17 (20 days)" in message
    close[:, 4] = 40.0
    assert "(300 days)" in checked(close)["panel-constant-prices"].messages[0]


def test_one_asset_under_two_names_is_refused_on_its_common_days() -> None:
    close = walk()
    close[:, 5] = close[:, 1]
    close[:120, 5] = np.nan
    message = checked(close)["panel-same-prices"].messages[0]
    assert "on all common days of 'B' and 'F'. Keep one" in message
    close[200, 5] *= 1.001
    assert "panel-same-prices" not in statuses(close)


def test_an_asset_that_is_mostly_missing_in_its_life_is_named() -> None:
    close = walk()
    close[:50, 0] = np.nan
    close[250:, 0] = np.nan
    assert statuses(close) == set()
    close[60:240, 0] = np.nan
    assert statuses(close) >= {"gaps"}
    assert "A 90% of 200" in checked(close)["gaps"].messages[0]
    assert missing_share(close) == pytest.approx(180 / (200 + 5 * 300))
