"""Bars that know the day after are reported, and bars of their own day are not."""

from collections.abc import Callable

import pandas as pd
import pytest

from study.data.embedded.synthetic import simulate_market
from tests.data.bars import embedded, results_of, stock, thin_stock

CHECK = "look ahead"


def coin() -> pd.DataFrame:
    bars = stock(5, n_days=2_000, sd=0.035)
    return bars.set_axis(pd.date_range("2015-01-01", periods=len(bars), name="Date"))


MARKETS: dict[str, Callable[[], pd.DataFrame]] = {
    "sp500": lambda: embedded("sp500"),
    "nasdaq": lambda: embedded("nasdaq"),
    "synthetic": lambda: embedded("synthetic"),
    "stock": lambda: stock(0),
    "coin": coin,
    "thin stock": lambda: thin_stock(0),
}


def with_range_of_the_day_after(bars: pd.DataFrame) -> pd.DataFrame:
    """Return bars whose High and Low are tomorrow's, and hold today's Open and Close too."""
    high = pd.concat([bars["High"].shift(-1), bars["Open"], bars["Close"]], axis=1).max(axis=1)
    low = pd.concat([bars["Low"].shift(-1), bars["Open"], bars["Close"]], axis=1).min(axis=1)
    return bars.assign(High=high, Low=low)


@pytest.mark.slow
@pytest.mark.parametrize("market", sorted(MARKETS))
def test_bars_that_know_the_day_after_are_told(market: str) -> None:
    bars = MARKETS[market]()
    assert results_of(bars)[CHECK].status == "ok"
    found = results_of(with_range_of_the_day_after(bars))[CHECK]
    assert found.status == "warning"
    assert "hold the Close of the day after" in found.messages[0]
    exchanged = bars.assign(Open=bars["Close"], Close=bars["Open"])
    assert "Open and Close seem to be exchanged" in results_of(exchanged)[CHECK].messages[0]


def test_a_close_of_the_day_before_is_told() -> None:
    bars = embedded("sp500")
    late = bars.assign(Close=bars["Close"].shift(1)).iloc[1:]
    late["High"] = late[["High", "Close"]].max(axis=1)
    late["Low"] = late[["Low", "Close"]].min(axis=1)
    assert results_of(late)[CHECK].status == "warning"


def test_two_years_among_others_that_know_the_day_after_are_told() -> None:
    bars = embedded("nasdaq")
    mixed = bars.copy()
    mixed.loc["2008":"2009"] = with_range_of_the_day_after(bars).loc["2008":"2009"]
    assert "% of the bars from 2008-" in results_of(mixed)[CHECK].messages[0]


@pytest.mark.parametrize("seed", range(3))
def test_markets_drawn_anew_are_not_told(seed: int) -> None:
    for bars in (
        simulate_market(n_days=3_000, seed=seed).prices.frame,
        stock(seed, sd=0.01),
        thin_stock(seed),
    ):
        assert results_of(bars)[CHECK].status == "ok"
