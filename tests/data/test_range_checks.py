"""A lasting change in how wide bars are is found on its day, and none where there is none."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.data.__main__ import main
from study.data.checks.range_checks import ranges_stay_of_one_kind
from study.data.checks.series_checks import levels_hold
from study.data.embedded.synthetic import simulate_market
from study.data.reading.tables import table_from_frame
from study.data.sources import load_prices
from tests.data.bars import rescaled_before, stock, thin_stock, with_cell

MARKETS = {name: load_prices(name).frame for name in ("sp500", "sp500-long", "nasdaq", "synthetic")}
FULL = Path(str(distribution("great_tables").locate_file("great_tables/data/04-sp500.csv")))


def widened_before(frame: pd.DataFrame, at: int, power: float) -> pd.DataFrame:
    """Return bars whose log range before a row is a multiple, as far as Open and Close allow."""
    powers = np.where(np.arange(len(frame)) < at, power, 1.0)
    middle = np.sqrt(frame["High"] * frame["Low"])
    ends = frame[["Open", "Close"]]
    return frame.assign(
        High=np.maximum(middle * (frame["High"] / middle) ** powers, ends.max(axis=1)),
        Low=np.minimum(middle * (frame["Low"] / middle) ** powers, ends.min(axis=1)),
    )


def found(bars: pd.DataFrame) -> str:
    """Return what the check of ranges says of bars, and nothing where it is content."""
    return "".join(each.message for each in ranges_stay_of_one_kind(table_from_frame(bars, "bars")))


def days_near(bars: pd.DataFrame, at: int) -> list[str]:
    """Return how a message names a change on the days of two weeks on either side."""
    return [f"{day:%Y-%m-%d} from" for day in bars.index[at - 10 : at + 11]]


@pytest.mark.slow
def test_the_break_of_1982_is_found_in_the_bars_of_1950_to_2015() -> None:
    bars = pd.read_csv(FULL)
    (finding,) = ranges_stay_of_one_kind(table_from_frame(bars, "bars"))
    assert finding.severity == "error"
    assert "(1982-04-21): High and Low must be of one kind" in finding.message
    assert "1982-04-21 from 3.02 to 1.51 (last bar before 1982-04-20)" in finding.message
    # Until 1961 the bars have no range at all.
    assert "1962-01-02 from 0.00 to 2.47 (last bar before 1961-12-29)" in finding.message


@pytest.mark.slow
def test_the_command_refuses_the_break_in_one_line_and_it_can_be_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *lines = FULL.read_text().splitlines()
    file = tmp_path / "around.csv"
    file.write_text("\n".join([header, *(line for line in lines if "1980" <= line < "1985")]))
    assert main(["check", str(file)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "last bar before 1982-04-20" in message
    assert "--accept range-shift" in message
    assert main(["check", str(file), "--accept", "range-shift"]) == 0


@pytest.mark.parametrize("market", sorted(MARKETS))
def test_markets_of_one_kind_are_let_through(market: str) -> None:
    assert not found(MARKETS[market])


@pytest.mark.slow
def test_no_stock_of_one_kind_is_refused() -> None:
    for seed in range(3):
        assert not found(stock(seed))
        assert not found(thin_stock(seed, 2_500))
        assert not found(simulate_market(n_days=2_500, seed=seed).prices.frame)


@pytest.mark.slow
def test_ranges_of_another_kind_are_refused_wherever_they_end() -> None:
    generator = np.random.default_rng(0)
    hits = []
    for bars in MARKETS.values():
        for at in generator.integers(300, len(bars) - 300, 3).tolist():
            message = found(widened_before(bars, at, 2.0))
            hits.append(any(day in message for day in days_near(bars, at)))
    assert sum(hits) >= 11, "of 12"


def test_narrow_ranges_are_refused_as_wide_ones_are() -> None:
    bars = MARKETS["synthetic"]
    message = found(widened_before(bars, 2_000, 0.4))
    assert any(day in message for day in days_near(bars, 2_000))


def test_a_crash_a_split_and_a_broken_bar_are_no_change_of_kind() -> None:
    bars = MARKETS["sp500"].astype(float)
    for changed in (rescaled_before(bars, 2_500, 10), bars):
        assert not found(with_cell(changed, 4_000, "High", 50))
    assert not found(MARKETS["sp500-long"].loc["1985":"1990"])


@pytest.mark.parametrize("factor", [1.5, 2.0, 0.1])
def test_another_level_before_the_join_of_the_long_market_is_refused(factor: float) -> None:
    bars = MARKETS["sp500-long"].loc["1998":"1999"]
    at = int(np.argmax(bars.index >= pd.Timestamp("1999-01-04")))
    (finding,) = levels_hold(table_from_frame(rescaled_before(bars, at, factor), "bars"))
    assert "1999-01-04" in finding.message


def test_bars_that_stand_still_divide_by_nothing() -> None:
    still = MARKETS["synthetic"].iloc[:1_500].astype(float)
    still.iloc[:700, :4] = still.iloc[0]["Close"]
    assert "High and Low must be of one kind" in found(still)
    # With ranges and without returns.
    still.iloc[:700, 1] *= 1.01
    assert "High and Low must be of one kind" in found(still)


def test_too_few_bars_are_not_judged() -> None:
    bars = MARKETS["synthetic"]
    assert not found(widened_before(bars.iloc[:499], 250, 3.0))
    assert found(widened_before(bars.iloc[:500], 250, 3.0))
