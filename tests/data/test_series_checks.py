"""Faults between rows are found wherever they lie, and unusual markets are let through."""

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from study.data.checks.acceptable import ACCEPTABLE
from study.data.embedded.synthetic import simulate_market
from study.data.prices import Prices, prices_from_frame
from study.errors import DataError
from tests.data.bars import (
    EMBEDDED,
    embedded,
    every_calendar_day,
    refused,
    resampled,
    rescaled_before,
    results_of,
    stock,
    thin_stock,
    with_bar,
    with_cell,
)

STRETCH = 400

Plant = Callable[[pd.DataFrame, int], pd.DataFrame]

PLANTED: dict[str, tuple[str, Plant]] = {
    "split 2:1": ("level-shift", lambda bars, at: rescaled_before(bars, at, 2)),
    "split 4:1": ("level-shift", lambda bars, at: rescaled_before(bars, at, 4)),
    "split 3:2": ("level-shift", lambda bars, at: rescaled_before(bars, at, 1.5)),
    "reverse split 1:10": ("level-shift", lambda bars, at: rescaled_before(bars, at, 0.1)),
    "pence, then pounds": ("level-shift", lambda bars, at: rescaled_before(bars, at, 100)),
    "another instrument": ("level-shift", lambda bars, at: rescaled_before(bars, at, 0.37)),
    "bar x10": ("broken-bar", lambda bars, at: with_bar(bars, at, 10)),
    "bar / 10": ("broken-bar", lambda bars, at: with_bar(bars, at, 0.1)),
    "High x100": ("broken-bar", lambda bars, at: with_cell(bars, at, "High", 100)),
    "Low / 100": ("broken-bar", lambda bars, at: with_cell(bars, at, "Low", 0.01)),
    "Volume x1e6": ("broken-volume", lambda bars, at: with_cell(bars, at, "Volume", 1e6)),
}


def weekdays_of(bars: pd.DataFrame) -> np.ndarray:
    """Return 0 on Mondays, 6 on Sundays."""
    return (bars.index.to_numpy().astype("datetime64[D]").astype(int) + 3) % 7


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    market=st.sampled_from(EMBEDDED),
    start=st.integers(0, 5031 - STRETCH),
    at=st.integers(20, STRETCH - 20),
    fault=st.sampled_from(sorted(PLANTED)),
)
def test_a_fault_is_told_at_any_day_of_any_stretch_and_nothing_is_refused_without_it(
    market: str, start: int, at: int, fault: str
) -> None:
    bars = embedded(market).iloc[start : start + STRETCH]
    assert refused(bars) == set()
    check, plant = PLANTED[fault]
    found = results_of(plant(bars, at))
    day = f"{bars.index[at]:%Y-%m-%d}"
    assert any(day in message for each in found.values() for message in each.messages)
    assert {name for name, each in found.items() if each.status == "error"} <= {check}
    assert results_of(plant(bars, at), accept=[check])[check].status != "error"


@pytest.mark.slow
@pytest.mark.parametrize("fault", sorted(PLANTED))
def test_how_often_a_fault_is_refused(fault: str) -> None:
    """How often is a fault refused on all days but those of a crash, whose range and volume hide a
    split?"""
    check, plant = PLANTED[fault]
    generator = np.random.default_rng(1)
    hits = 0
    for market in map(embedded, ("sp500", "nasdaq", "synthetic")):
        for start in generator.integers(0, len(market) - STRETCH, 20):
            bars = market.iloc[start : start + STRETCH]
            at = int(generator.integers(20, STRETCH - 20))
            result = results_of(plant(bars, at))[check]
            hits += result.status == "error" and f"{bars.index[at]:%Y-%m-%d}" in result.messages[0]
    assert hits >= 58, "of 60"


@settings(max_examples=20, deadline=None)
@given(
    market=st.sampled_from(EMBEDDED),
    start=st.integers(0, 5031 - STRETCH),
    at=st.integers(20, STRETCH - 20),
)
def test_a_volume_of_100_times_is_refused_or_told(market: str, start: int, at: int) -> None:
    bars = embedded(market).iloc[start : start + STRETCH]
    day = f"{bars.index[at]:%Y-%m-%d}"
    if bars["Volume"].iloc[at] == 0:
        return
    found = results_of(with_cell(bars, at, "Volume", 100))["broken-volume"]
    assert any(day in message for message in found.messages)


@pytest.mark.slow
def test_how_often_stocks_of_fat_tails_are_refused_and_splits_of_them_found() -> None:
    """2, 3 and 4 % a day, t law of 3 degrees, 150 years in all."""
    series = [stock(seed, sd=sd) for sd in (0.02, 0.03, 0.04) for seed in range(5)]
    assert sum(bool(refused(each)) for each in series) <= 1
    generator = np.random.default_rng(0)
    planted = [
        (rescaled_before(bars, at, factor), f"{bars.index[at]:%Y-%m-%d}")
        for bars in series
        for factor, at in zip((2, 10), generator.integers(50, 2_450, 2), strict=True)
    ]
    found = [results_of(bars)["level-shift"].messages for bars, _ in planted]
    hits = sum(
        any(day in message for message in messages)
        for messages, (_, day) in zip(found, planted, strict=True)
    )
    # A day of news by chance, with thrice the usual range or volume, makes a crash of a split.
    assert hits >= 0.8 * len(planted)
    told = [
        any(day in message for each in results_of(bars).values() for message in each.messages)
        for bars, day in planted
    ]
    assert all(told)


@pytest.mark.parametrize("seed", range(3))
def test_markets_drawn_anew_pass(seed: int) -> None:
    assert refused(simulate_market(n_days=3_000, seed=seed).prices.frame) == set()


def test_ratio_and_day_of_a_split_are_told(sp500: Prices) -> None:
    bars = sp500.frame.iloc[:800]
    for factor, words in (
        (4, "1999-10-18 to 0.25"),
        (4, "which looks like an unadjusted split 4:1"),
        (1.5, "an unadjusted split 3:2"),
        (0.1, "an unadjusted reverse split 1:10"),
        (100, "another unit (1 to 100, as pence and pounds)"),
    ):
        with pytest.raises(DataError) as caught:
            prices_from_frame("spx", rescaled_before(bars, 199, factor))
        assert words in str(caught.value), factor
        assert "--accept level-shift lets it pass, and is recorded." in str(caught.value)


def test_a_crash_is_no_split(sp500: Prices) -> None:
    """AAPL fell to half on 2000-09-29 with 12 times its volume; earnings move prices by 25 %."""
    bars = sp500.frame.iloc[:800].astype(float)
    for factor in (2.0, 1.25):
        crash = with_cell(rescaled_before(bars, 400, factor), 400, "Volume", 12)
        assert refused(crash) == set()
        warning = results_of(crash)["large moves"].messages[0]
        assert f"{bars.index[400]:%Y-%m-%d} -" in warning
        quiet = rescaled_before(bars, 400, 1.25)
        assert refused(quiet) == set()


def test_a_split_behind_a_filled_open_is_found(sp500: Prices) -> None:
    bars = rescaled_before(sp500.frame.iloc[:800], 400, 2)
    filler = bars["Close"].iloc[399]
    bars["Open"] = bars["Open"].where(bars.index != bars.index[400], filler)
    bars["High"] = bars["High"].where(bars.index != bars.index[400], filler)
    assert refused(bars) == {"level-shift"}


def test_weeks_and_months_are_no_days(sp500: Prices) -> None:
    for rule, apart in (("W-FRI", 7), ("MS", 31)):
        weekly = resampled(sp500.frame, rule)
        message = results_of(weekly)["spacing"].messages[0]
        assert f"rows {apart} days apart from {weekly.index[0]:%Y-%m-%d}" in message
    old, new = resampled(sp500.frame.iloc[:300], "W-MON"), sp500.frame.iloc[310:]
    message = results_of(pd.concat([old, new]))["spacing"].messages[0]
    assert f"{len(old)} of {len(old) + len(new)} rows" in message


@pytest.mark.slow
def test_most_days_of_every_year_must_be_there(sp500: Prices) -> None:
    bars = sp500.frame
    weekday = weekdays_of(bars)
    at = np.arange(len(bars))
    for kept, share in (
        (np.isin(weekday, (0, 2, 4)), 56),
        (np.isin(weekday, (1, 3)), 38),
        (at % 2 == 0, 48),
        (at % 3 == 0, 32),
    ):
        message = results_of(bars[kept])["spacing"].messages[0]
        assert f"got rows on {share}% of the days of trade, 5 a week, from " in message
        assert results_of(bars[kept], accept=["spacing"])["spacing"].status == "accepted"
    year = pd.DatetimeIndex(bars.index).year
    two_years = np.isin(weekday, (0, 2, 4)) | (year < 2010) | (year > 2011)
    assert " from 2009-12-30 to 2010-" in results_of(bars[two_years])["spacing"].messages[0]
    coin = stock(5, n_days=2_000).set_axis(pd.date_range("2015-01-01", periods=2_000))
    assert results_of(coin[::2])["spacing"].status == "error"


def test_weeks_of_four_or_five_days_of_any_name_are_whole(sp500: Prices) -> None:
    bars = sp500.frame
    assert results_of(bars[weekdays_of(bars) != 2])["spacing"].status == "ok"
    for days_later in (-1, -2, 1):  # Sunday to Thursday, Saturday to Wednesday, Tuesday to Saturday
        moved = bars.set_axis(bars.index + pd.Timedelta(days=days_later))
        assert results_of(moved)["spacing"].status == "ok"


@pytest.mark.slow
def test_a_dropped_zone_is_seen_by_the_weekdays(sp500: Prices) -> None:
    bars = sp500.frame
    early, late = (bars.set_axis(bars.index + pd.Timedelta(days=each)) for each in (-1, 1))
    message = results_of(early)["weekdays"].messages[0]
    assert "no Fridays and Sundays in their place from 1999-01-03" in message
    assert "Saudi Arabia" in message
    assert "no Mondays and Saturdays in their place" in results_of(late)["weekdays"].messages[0]
    without_sundays = early[weekdays_of(early) < 5]
    assert (
        "or the market was closed on Fridays"
        in (results_of(without_sundays)["weekdays"].messages[0])
    )
    months = bars.index.to_numpy().astype("datetime64[M]").astype(int) % 12 + 1
    summer = (months >= 4) & (months <= 10)
    partly = bars.set_axis(bars.index - pd.to_timedelta(summer.astype(int), unit="D"))
    assert results_of(partly[~partly.index.duplicated()])["weekdays"].status == "error"
    # Saudi Arabia and Israel trade so by right.
    assert results_of(early, accept=["weekdays"])["weekdays"].status == "accepted"


def test_weekend_sessions_are_told_and_pass(sp500: Prices) -> None:
    bars = sp500.frame.iloc[:800].copy()
    sunday = bars.iloc[[300]].set_axis(pd.DatetimeIndex(["2000-11-05"]))
    bars = pd.concat([bars, sunday * 1.001]).sort_index()
    found = results_of(bars)["weekdays"]
    assert (found.status, found.messages) == (
        "warning",
        ("bars: 1 rows lie on a weekend: 2000-11-05",),
    )
    assert refused(bars) == set()


@pytest.mark.parametrize("how", ["copy", "flat", "line"])
def test_days_without_trade_must_not_be_filled(sp500: Prices, how: str) -> None:
    bars = every_calendar_day(sp500.frame.iloc[:800], how)  # type: ignore[arg-type]
    found = results_of(bars)["filled-bars"]
    assert found.status == "error"
    assert "1999-01-09, 1999-01-10, 1999-01-16" in found.messages[0]
    assert "lie on a weekend and repeat their neighbours" in found.messages[0]


def test_filled_holidays_are_found_and_a_single_copy_is_told(sp500: Prices) -> None:
    bars = every_calendar_day(sp500.frame.iloc[:800], "copy")
    holidays = bars[weekdays_of(bars) < 5]
    found = results_of(holidays)["filled-bars"]
    assert found.status == "error"
    assert (
        "bars that repeat the bar before, in every cell: 1999-01-18, 1999-02-15"
        in (found.messages[0])
    )
    single = sp500.frame.iloc[:800].copy()
    single.iloc[500] = single.iloc[499]
    found = results_of(single)["filled-bars"]
    assert (found.status, found.messages) == (
        "warning",
        (f"bars: 1 bars repeat the bar before, in every cell: {single.index[500]:%Y-%m-%d}",),
    )


def test_a_stretch_that_is_there_twice_is_refused(sp500: Prices) -> None:
    bars = sp500.frame.iloc[:800]
    again = bars.iloc[100:150].set_axis(bars.index[400:450])
    twice = pd.concat([bars.iloc[:400], again, bars.iloc[450:]])
    message = results_of(twice)["repeated-stretch"].messages[0]
    first, last, of_first, of_last = (f"{bars.index[at]:%Y-%m-%d}" for at in (400, 449, 100, 149))
    assert f"50 bars from {first} to {last} that are those of {of_first} to {of_last}." in message


def test_years_without_high_and_low_are_told(sp500: Prices) -> None:
    bars = sp500.frame.iloc[:800].copy()
    for column in ("Open", "High", "Low"):
        bars[column] = bars[column].where(bars.index >= "2001-01-01", bars["Close"])
    assert results_of(bars)["High equals Low"].messages == (
        "bars: High equals Low on many days of trade: 1999 100%, 2000 100%",
    )


def test_every_check_that_can_be_accepted_is_one(sp500: Prices) -> None:
    of_prices = {name for name in ACCEPTABLE if not name.startswith(("vix-", "panel-"))}
    assert of_prices <= set(results_of(sp500.frame))


def test_prices_that_stand_still_for_weeks_are_refused(sp500: Prices) -> None:
    bars = sp500.frame.iloc[:800].astype(float)
    still = bars.copy()
    still.iloc[300:320, :4] = float(bars["Close"].iloc[300])
    message = results_of(still)["constant-prices"].messages[0]
    assert f"the same Open, High, Low, Close on 20 bars, {bars.index[300]:%Y-%m-%d}" in message
    opens = bars.copy()
    opens.iloc[300:320, 0] = opens.iloc[300:320]["Low"].max()
    opens["High"], opens["Low"] = opens.iloc[:, :4].max(axis=1), opens.iloc[:, :4].min(axis=1)
    assert "the same Open on 20 bars" in results_of(opens)["constant-prices"].messages[0]


def test_alternating_instruments_are_told_as_such(sp500: Prices) -> None:
    bars = sp500.frame.iloc[:800].astype(float)
    bars.iloc[::2, :4] *= 0.37
    found = results_of(bars)["broken-bar"]
    assert found.status == "error"
    assert "rows of several instruments seem to alternate" in found.messages[0]


def test_another_unit_of_volume_is_told(sp500: Prices) -> None:
    bars = sp500.frame.iloc[:800].astype(float)
    bars.iloc[400:, 4] /= 1000
    found = results_of(bars)["broken-volume"]
    assert found.status == "warning"
    assert "the usual volume changes near 2000-0" in found.messages[0]


@pytest.mark.parametrize("market", EMBEDDED)
def test_a_volume_that_is_a_running_total_or_a_constant_is_refused(market: str) -> None:
    bars = embedded(market).iloc[:800].astype(float)
    volume = bars["Volume"]
    within_months = volume.groupby(pd.DatetimeIndex(bars.index).to_period("M")).cumsum()
    later = volume.where(volume.index < volume.index[300], volume.iloc[300:].cumsum())
    for total in (volume.cumsum(), volume[::-1].cumsum()[::-1], within_months, later):
        found = results_of(bars.assign(Volume=total))["broken-volume"]
        assert found.status == "error"
        assert "it looks like a running total" in found.messages[-1] + found.messages[0]
    constant = results_of(bars.assign(Volume=1e6))["broken-volume"]
    assert "got 1e+06 on 800 bars of trade in a row" in constant.messages[0]
    assert results_of(bars.assign(Volume=1e6), accept=["broken-volume"])[
        "broken-volume"
    ].status == ("accepted")
    part = bars.assign(Volume=volume.where(volume.index >= volume.index[300], 1.0))
    assert "got 1 on 300 bars of trade in a row" in results_of(part)["broken-volume"].messages[0]


@pytest.mark.parametrize("seed", range(4))
def test_a_stock_that_hardly_trades_is_let_through(seed: int) -> None:
    bars = thin_stock(seed)
    assert (bars["Volume"] == 0).mean() > 0.4
    assert refused(bars) == set()


def test_a_market_of_all_days_is_let_through() -> None:
    bars = stock(5, n_days=2_000, sd=0.035)
    bars.index = pd.date_range("2015-01-01", periods=len(bars), name="Date")
    assert refused(bars) == set()
    assert results_of(bars)["weekdays"].status == "ok"


def test_a_market_that_was_closed_for_months_is_let_through(sp500: Prices) -> None:
    bars = pd.concat([sp500.frame.iloc[:400], sp500.frame.iloc[480:900]])
    assert refused(bars) == set()
    assert results_of(bars)["gaps over 7 days"].status == "warning"


def test_the_embedded_markets_have_no_new_warning() -> None:
    odd = {
        name: {check for check, each in results_of(bars).items() if each.status != "ok"}
        for name, bars in ((each, embedded(each)) for each in EMBEDDED)
    }
    assert odd == {
        "sp500": {"Open equals previous Close"},
        "nasdaq": {"zero volume"},
        "synthetic": {"Open equals previous Close"},
    }


def test_a_move_among_prices_that_stand_still_is_told_without_dividing_by_nothing() -> None:
    prices = np.repeat([50.0, 60.0], 15)
    frame = pd.DataFrame(
        {name: prices for name in ("Open", "High", "Low", "Close")} | {"Volume": np.ones(30)},
        index=pd.bdate_range("2005-01-03", periods=30, name="Date"),
    )
    (told,) = results_of(frame)["large moves"].messages
    assert "2005-01-24 +20.0% (where prices stood still)" in told
