"""The long S&P 500: which days, of which package, and what stops the join."""

import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.data.embedded.long_history import REQUIREMENT, join_bars, read_long_history
from study.data.prices import Prices
from study.data.reading.tables import BAR_COLUMNS
from study.data.sources import load_prices
from study.errors import DataError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def older() -> pd.DataFrame:
    file = Path(str(distribution("great_tables").locate_file("great_tables/data/04-sp500.csv")))
    bars = pd.read_csv(file, index_col="date", parse_dates=["date"]).sort_index()
    return bars.rename(columns=str.title)[list(BAR_COLUMNS)]


@pytest.fixture(scope="module")
def long() -> Prices:
    return load_prices("sp500-long")


def test_it_begins_on_the_first_day_of_right_ranges_and_ends_with_2018(
    long: Prices, older: pd.DataFrame, sp500: Prices
) -> None:
    assert (len(older), f"{older.index[0]:%Y-%m-%d}") == (16_607, "1950-01-03")
    days = pd.DatetimeIndex(long.frame.index)
    assert (f"{days[0]:%Y-%m-%d}", f"{days[-1]:%Y-%m-%d}") == ("1982-04-21", "2018-12-31")
    assert (len(days), (days < pd.Timestamp("1999-01-01")).sum()) == (9_254, 4_223)
    for bars, part in (
        (older.loc["1982-04-21":"1998-12-31"], long.frame.loc[:"1998-12-31"]),
        (sp500.frame, long.frame.loc["1999-01-01":]),
    ):
        assert bars.index.equals(part.index)
        assert np.array_equal(bars.to_numpy(), part.to_numpy())


def test_a_line_says_how_many_days_were_compared_and_whose_volumes_are_used(long: Prices) -> None:
    assert long.understood == (
        "sp500-long: great_tables 1982-04-21 to 1998-12-31, arch 1999-01-04 to 2018-12-31; prices "
        "equal to 4 decimals on all 4277 days of both; volumes differ on 52 of them, those of arch "
        "are used; 9254 bars"
    )


def test_volumes_that_differ_are_400_shares_off_or_have_another_digit(
    older: pd.DataFrame, long: Prices
) -> None:
    volumes, used = older["Volume"].align(long.frame.loc["1999-01-04":, "Volume"], join="inner")
    off = (volumes - used).abs()
    assert len(off) == 4_277
    assert ((off == 400).sum(), (off > 400).sum(), (off > 0).sum()) == (45, 7, 52)
    day = pd.Timestamp("2015-04-10")
    assert (volumes[day], used[day]) == (536_200_000, 3_156_200_000)


def test_the_package_is_read_and_not_imported(long: Prices) -> None:
    assert "great_tables" not in sys.modules


@pytest.mark.parametrize("column", ["Open", "High", "Low", "Close"])
def test_one_price_that_differs_in_the_fourth_decimal_stops_the_join(
    older: pd.DataFrame, sp500: Prices, column: str
) -> None:
    changed = older.copy()
    changed[column] += np.where(older.index == pd.Timestamp("2007-03-13"), 1e-4, 0.0)
    with pytest.raises(DataError, match="other ones on 1 of 4277 days: 2007-03-13"):
        join_bars(changed, sp500.frame, "sp500-long")


@pytest.mark.parametrize("day", ["1999-01-04", "2007-03-13"])
def test_a_day_that_the_older_bars_lack_stops_the_join(
    older: pd.DataFrame, sp500: Prices, day: str
) -> None:
    with pytest.raises(DataError, match=f"got 1 that one lacks, the first {day}"):
        join_bars(older.drop(pd.Timestamp(day)), sp500.frame, "sp500-long")


@pytest.mark.parametrize("day", ["2007-03-13", "2015-12-31"])
def test_a_day_that_the_newer_bars_lack_stops_the_join(
    older: pd.DataFrame, sp500: Prices, day: str
) -> None:
    with pytest.raises(DataError, match=f"got 1 that one lacks, the first {day}"):
        join_bars(older, sp500.frame.drop(pd.Timestamp(day)), "sp500-long")


def test_bars_that_do_not_meet_stop_the_join(older: pd.DataFrame, sp500: Prices) -> None:
    with pytest.raises(DataError, match="but got none in common"):
        join_bars(older.loc[:"1998-12-31"], sp500.frame, "sp500-long")


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(DataError) as caught:
        read_long_history("sp500-long")
    message = str(caught.value)
    assert message.startswith("sp500-long: the package great_tables must be installed")
    assert f"pip install '{REQUIREMENT}'" in message
    assert "make install" in message
    assert "\n" not in message


def test_a_release_without_the_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "great_tables-9.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: great-tables\nVersion: 9.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(DataError, match=r"must hold 04-sp500\.csv, but got great_tables 9\.0 "):
        read_long_history("sp500-long")


def test_the_extra_asks_for_the_release_that_the_message_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["history"] == [REQUIREMENT]
    assert ".[dev,history,panel,lightgbm]" in (ROOT / "Makefile").read_text()


def test_labels_of_the_long_market_are_as_frequent_before_the_join_as_after(long: Prices) -> None:
    # The base rate of 1980, whose highs are too wide, is 0.58.
    bars = long.frame
    hit = bars["High"].shift(-1).to_numpy() >= 1.01 * bars["Close"].to_numpy()
    years = pd.DatetimeIndex(bars.index).year
    rates = np.array([hit[years == year].mean() for year in range(1983, 2018)])
    assert rates.max() < 0.45
