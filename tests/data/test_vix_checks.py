"""A volatility index that is shifted, filled, interpolated or in another unit is refused."""

from collections.abc import Callable
from datetime import date

import numpy as np
import pandas as pd
import pytest

from study.data.checks.vix_checks import check_vix
from study.data.checks.vix_timing import check_vix_timing
from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.data.prices import Prices
from study.data.sources import load_prices
from study.data.vix_series import load_vix
from study.errors import DataError

VIX = load_vix("embedded")
SERIES = pd.Series(VIX.values, index=pd.DatetimeIndex(VIX.days, name="Date"), name="VIX")


def refused(series: pd.Series) -> dict[str, str]:
    days = series.index.to_numpy().astype("datetime64[D]")
    results = check_vix("v.csv", days, series.to_numpy())
    return {each.name: each.messages[0] for each in results if each.status == "error"}


def spiked(series: pd.Series, factor: float) -> pd.Series:
    changed = series.copy()
    changed.iloc[400] *= factor
    return changed


def fractions_from(series: pd.Series, at: int) -> pd.Series:
    changed = series.copy()
    changed.iloc[at:] /= 100
    return changed


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (lambda vix: vix.resample("W-FRI").last(), "vix-spacing", "rows 7 days apart"),
        (
            lambda vix: vix.set_axis(vix.index - pd.Timedelta(days=1)),
            "vix-weekdays",
            "no Fridays and Sundays in their place",
        ),
        (lambda vix: vix.asfreq("D").ffill(), "vix-filled-values", "on weekends that repeat"),
        (
            lambda vix: vix.resample("MS").first().asfreq("B").ffill(),
            "vix-filled-values",
            "5 equal ones in a row or more on 2014-01-01 to 2014-03-31",
        ),
        (
            lambda vix: vix.resample("W-FRI").last().asfreq("B").interpolate(),
            "vix-filled-values",
            "knows what comes after",
        ),
        (lambda vix: spiked(vix, 10), "vix-broken-value", "2015-08-0"),
        (lambda vix: spiked(vix, 0.1), "vix-broken-value", "times off"),
        (lambda vix: vix / 100, "vix-level", "percent a year, but got a median of 0.1374"),
        (lambda vix: vix * 100, "vix-level", "got a median of 1374, and the highest close so far"),
        (lambda vix: vix + 2000, "vix-level", "if these are prices, give the index itself"),
        (lambda vix: fractions_from(vix, 800), "vix-level", "must stay on one level"),
    ],
)
def test_a_wrong_series_is_refused(
    change: Callable[[pd.Series], pd.Series], check: str, words: str
) -> None:
    assert refused(SERIES) == {}
    found = refused(change(SERIES))
    assert set(found) == {check}
    assert words in found[check]
    assert f"--accept {check} lets it pass, and is recorded." in found[check]


def test_no_value_may_be_of_a_day_to_come() -> None:
    """The last is of 2019-01-03."""
    for day, status in ((2, "ok"), (1, "error")):
        results = check_vix("v.csv", VIX.days, VIX.values, today=date(2019, 1, day))
        assert {each.name: each.status for each in results}["vix-future-days"] == status


def test_the_jumps_of_2018_and_1987_pass() -> None:
    """17.31, 37.32, 29.98 in February 2018; 36.37, 150.19, 140.00 in October 1987."""
    assert str(VIX.days[np.argmax(np.diff(np.log(VIX.values))) + 1]) == "2018-02-05"
    values = SERIES.to_numpy(dtype=np.float64) + 20
    values[400:403] = [36.37, 150.19, 140.0]
    assert refused(pd.Series(values, index=SERIES.index)) == {}


@pytest.mark.parametrize("market", ["sp500", "nasdaq"])
def test_the_index_moves_on_the_day_of_the_market_or_is_refused(market: str) -> None:
    bars = load_prices(market).frame
    days, close = bars.index.to_numpy().astype("datetime64[D]"), bars["Close"].to_numpy()
    common = np.isin(VIX.days, days)
    series, own_days = VIX.values[common], VIX.days[common]

    def result(moved: int) -> tuple[str, str]:
        vix = load_vix("embedded")
        shifted = np.roll(series, -moved)
        found = check_vix_timing(
            type(vix)(name="v", days=own_days, values=shifted, fingerprint="", origin="v.csv"),
            days,
            close,
        )
        return found.status, found.messages[0] if found.messages else ""

    assert result(0) == ("ok", "")
    status, message = result(1)
    assert status == "error"
    assert "with the returns 1 day later and of" in message
    assert "dated 1 day early: it knows prices that come after it" in message
    assert "in 2014, 2015, 2016, 2017, 2018" in message
    assert "dated 1 day late" in result(-1)[1]


def test_an_early_index_stops_a_study_unless_it_is_accepted(
    sp500: Prices, tmp_path: pytest.TempPathFactory
) -> None:
    file = f"{tmp_path}/vix.csv"
    bars = sp500.frame.index
    early = SERIES[SERIES.index.isin(bars)].shift(-1).dropna()
    early.to_csv(file)
    config = {"horizon": 1, "tier": "c", "vix": file, "task": "direction"}
    with pytest.raises(DataError, match=r"vix: the index must move on the same day as the prices"):
        build_dataset(DataConfig(**config), sp500)  # type: ignore[arg-type]
    dataset = build_dataset(DataConfig(**config, accept=("vix-timing",)), sp500)  # type: ignore[arg-type]
    assert any(each.startswith("accepted (vix-timing): ") for each in dataset.warnings)
