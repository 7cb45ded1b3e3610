"""Files as vendors give them are read as they are: days, bars and the line that says how."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.data.__main__ import main
from study.data.reading.read_options import AS_WRITTEN, ReadOptions
from study.data.reading.tables import BarTable, read_table
from study.data.sources import load_prices
from study.data.vix_series import import_vix, load_vix
from study.errors import DataError

CASES = Path(__file__).parent
FIRST_DAY, LAST_DAY = "2014-11-25", "2016-02-04"


@pytest.fixture(scope="module")
def planted() -> pd.DataFrame:
    """Return the bars that every case was written from."""
    return load_prices("sp500").frame.loc[FIRST_DAY:LAST_DAY].round(2)


def days_of(frame: pd.DataFrame) -> list[str]:
    return [f"{day:%Y-%m-%d}" for day in frame.index]


def assert_holds(
    table: BarTable, bars: pd.DataFrame, volume_divisor: float = 1, volume_rtol: float = 1e-12
) -> None:
    assert table.days.astype(str).tolist() == days_of(bars)
    for at in (0, -1):
        expected = bars.iloc[at].to_numpy()
        np.testing.assert_array_equal(table.values[at, :4], expected[:4])
        np.testing.assert_allclose(
            table.values[at, 4], expected[4] / volume_divisor, rtol=volume_rtol
        )


@pytest.mark.parametrize(
    ("file", "n_cut", "volume", "words"),
    [
        (
            "data_alpha_vantage_newest_first/alpha_vantage.csv",
            0,
            (1, 1e-12),
            ["Date from 'timestamp'", "newest first, turned round"],
        ),
        (
            "data_binance_klines/binance_klines.csv",
            0,
            (1e6, 1e-12),
            ["epoch milliseconds, zone +00:00", "the file has no header"],
        ),
        (
            "data_binance_klines/binance_klines_header.csv",
            0,
            (1e6, 1e-12),
            ["Date from 'open_time', Open, High, Low, Close, Volume;"],
        ),
        (
            "data_cryptodatadownload/cryptodatadownload.csv",
            0,
            (1e6, 1e-12),
            [
                "Volume from 'Volume BTC' (not 'Volume USD')",
                "newest first, turned round",
                "symbol BTC/USD",
                "line 1 is a title",
            ],
        ),
        ("data_csv_gz/pandas_gz.csv.gz", 1, (1, 1e-12), ["299 bars, 2014-11-25 to 2016-02-03"]),
        ("data_day_month_dates/day_month_year.csv", 0, (1, 1e-12), ["dates DD-MM-YYYY"]),
        ("data_day_month_dates/iso_unpadded.csv", 0, (1, 1e-12), ["dates YYYY-MM-DD"]),
        (
            "data_excel_semicolon/excel_semicolon_de.csv",
            0,
            (1, 1e-12),
            ["dates DD.MM.YYYY", "decimal comma"],
        ),
        ("data_excel_trailing_commas/excel_trailing_commas.csv", 1, (1, 1e-12), ["299 bars"]),
        ("data_import_read_only/ok_stooq_d.csv", 0, (1, 1e-12), ["oldest first"]),
        (
            "data_investing_us/investing_us.csv",
            0,
            (1, 2e-3),
            ["Close from 'Price', Volume from 'Vol.'", "dates MM/DD/YYYY", "newest first"],
        ),
        (
            "data_metatrader5/mt5_daily.csv",
            0,
            (1e3, 1e-12),
            ["Volume from '<TICKVOL>' (not '<VOL>')", "dates YYYY.MM.DD"],
        ),
        (
            "data_nasdaq_old_spaces/nasdaq_old_spaces.csv",
            0,
            (1, 1e-12),
            ["Close from 'Close/Last'", "dates MM/DD/YYYY", "newest first"],
        ),
        ("data_nasdaq_web/nasdaq_web.csv", 0, (1, 1e-12), ["Close from 'Close/Last'"]),
        ("data_parquet_date_twice/pq_date_twice.parquet", 0, (1, 1e-12), ["Adj Close = Close"]),
        (
            "data_parquet_string_or_date_index/pq_date_object_index.parquet",
            0,
            (1, 1e-12),
            ["timestamps"],
        ),
        (
            "data_parquet_string_or_date_index/pq_string_index.parquet",
            0,
            (1, 1e-12),
            ["dates YYYY-MM-DD"],
        ),
        (
            "data_polygon_flat/polygon_flat.csv",
            0,
            (1, 1e-12),
            ["Date from 'window_start'", "epoch nanoseconds, zone +00:00", "symbol ABC"],
        ),
        ("data_slash_dates/asia_slash_iso.csv", 0, (1, 1e-12), ["dates YYYY/MM/DD"]),
        ("data_slash_dates/excel_slash_dates.csv", 0, (1, 1e-12), ["dates MM/DD/YYYY"]),
        ("data_title_line_and_footer/footer_note.csv", 1, (1, 1e-12), ["line 301 is a note"]),
        ("data_title_line_and_footer/title_line_first.csv", 1, (1, 1e-12), ["line 1 is a title"]),
        (
            "data_tradingview/tradingview_iso.csv",
            0,
            (1, 1e-12),
            ["Date from 'time'", "Volume;", "dates YYYY-MM-DD, zone -05:00"],
        ),
        (
            "data_tradingview/tradingview_unix.csv",
            0,
            (1, 1e-12),
            ["Date from 'time'", "epoch seconds, zone +00:00, at 14:00"],
        ),
        ("data_yfinance_multiindex_csv/yf_multiindex.csv", 0, (1, 1e-12), ["symbol ABC"]),
    ],
)
def test_a_vendors_file_is_read_as_it_is(
    planted: pd.DataFrame, file: str, n_cut: int, volume: tuple[float, float], words: list[str]
) -> None:
    table = read_table(CASES / file)
    assert_holds(table, planted.iloc[: len(planted) - n_cut], *volume)
    line = "; ".join(table.understood)
    assert line.startswith(f"{Path(file).name}: columns Date")
    for each in words:
        assert each in line


def test_a_row_of_null_is_left_out_and_named(planted: pd.DataFrame) -> None:
    table = read_table(CASES / "data_yahoo_null_row/yahoo_null_row.csv")
    assert_holds(table, planted.iloc[:-1].drop(pd.Timestamp("2015-02-09")))
    assert "1 row without prices left out (first 2015-02-09, line 52)" in table.understood


@pytest.mark.parametrize(
    ("name", "got"),
    [
        ("ib_index_minus1.csv", "Volume='-1' and none in 300 rows"),
        ("nasdaq_index_na.csv", "Volume='N/A' and none in 300 rows"),
        ("stooq_index_no_volume.csv", "missing=Volume; columns=Date, Open, High, Low, Close"),
    ],
)
def test_an_index_is_told_what_volume_is_for(name: str, got: str) -> None:
    with pytest.raises(
        DataError, match=r"needs a volume, .*obv.*An index or a pair of currencies"
    ) as caught:
        read_table(CASES / "data_index_without_volume" / name)
    assert f"but got {got}" in str(caught.value)


@pytest.mark.parametrize(
    ("file", "first", "second", "column"),
    [
        ("data_long_table_by_date/long_by_date.csv", "ABC", "XYZ", "Name"),
        (
            "data_two_instruments_in_sequence/contracts_in_sequence.csv",
            "ESH5",
            "CLH5",
            "symbol",
        ),
    ],
)
def test_one_of_several_instruments_is_chosen_and_never_guessed(
    planted: pd.DataFrame, file: str, first: str, second: str, column: str
) -> None:
    path = CASES / file
    several = f"one instrument, but got 2 in the column {column}: '{first}', '{second}'"
    with pytest.raises(DataError, match=several) as caught:
        read_table(path)
    assert f"study.data import FILE --symbol {first}" in str(caught.value)
    table = read_table(path, ReadOptions(symbol=first))
    assert_holds(table, planted.iloc[: len(table.days)])
    assert f"symbol {first}" in table.understood
    other = read_table(path, ReadOptions(symbol=second))
    # The second instrument is another market on other prices.
    assert other.days.astype(str).tolist() == days_of(planted.iloc[-len(other.days) :])
    assert other.values[-1].tolist() == [707.32, 713.12, 703.19, 708.72, 1921528400]
    with pytest.raises(DataError, match=f"symbol='none' and 2 in the column {column}"):
        read_table(path, ReadOptions(symbol="none"))


def test_a_split_is_adjusted_if_that_is_asked_for(planted: pd.DataFrame) -> None:
    path = CASES / "data_unadjusted_split/unadjusted_split.csv"
    traded, adjusted = (read_table(path, ReadOptions(adjust=each)) for each in (False, True))
    assert traded.values[0].tolist() == [8280.6, 8296.84, 8259.0, 8268.12, 848235000]
    assert "prices as traded; Adj Close ignored, --adjust uses it" in traded.understood
    assert "prices adjusted by Adj Close, Volume as traded" in adjusted.understood
    np.testing.assert_allclose(adjusted.values[:, :4], planted.to_numpy()[:, :4], rtol=1e-12)
    np.testing.assert_array_equal(adjusted.values[:, 3], planted["Close"])
    np.testing.assert_array_equal(adjusted.values[:, 4], traded.values[:, 4])
    with pytest.raises(DataError, match="--adjust needs a column Adj Close, but got columns="):
        read_table(CASES / "data_import_read_only/ok_stooq_d.csv", ReadOptions(adjust=True))


def test_stamps_of_utc_are_shown_in_the_markets_zone_if_it_is_named(
    planted: pd.DataFrame, tmp_path: Path
) -> None:
    midnights = pd.DatetimeIndex(planted.index).tz_localize("Europe/Berlin")
    path = tmp_path / "berlin.csv"
    planted.set_axis(midnights.tz_convert("UTC")).to_csv(path)
    as_written = read_table(path)
    assert (str(as_written.days[0]), as_written.seconds[0]) == ("2014-11-24", 23 * 3600)
    assert as_written.zones == {"+00:00"}
    assert "dates YYYY-MM-DD, zone +00:00, at 22:00 to 23:00" in as_written.understood
    table = read_table(path, ReadOptions(timezone="Europe/Berlin"))
    assert_holds(table, planted)
    assert not table.seconds.any()
    assert table.zones == {"+01:00", "+02:00"}
    assert "dates YYYY-MM-DD, zone +00:00, days of Europe/Berlin" in table.understood
    for zone in ("Europe", "Europe/Atlantis", "../etc", ""):
        with pytest.raises(DataError, match="--timezone: must be a zone's name, but got"):
            read_table(path, ReadOptions(timezone=zone))
    with pytest.raises(DataError, match=r"must hold stamps with their zone .*but got dates"):
        read_table(CASES / "data_import_read_only/ok_stooq_d.csv", ReadOptions(timezone="UTC"))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("vix_investing_and_newest_first/vix_investing.csv", "newest first, turned round"),
        ("vix_investing_and_newest_first/vix_newest_first.csv", "newest first, turned round"),
        ("vix_trailing_comma/vix_trailing_comma.csv", "dates MM/DD/YYYY"),
        ("vix_yfinance_multiindex/vix_yf_multiindex.csv", "symbol ^VIX"),
    ],
)
def test_a_vendors_vix_is_read_as_it_is(file: str, words: str, tmp_path: Path) -> None:
    vix = load_vix(str(CASES / file))
    assert vix.span == "2010-12-06 to 2012-02-13"
    assert vix.values[[0, 1, 2, -3, -2, -1]].tolist() == [14.77, 15.64, 15.68, 34.14, 34.1, 34.84]
    assert len(vix.values) == 300
    assert words in vix.understood
    imported = import_vix(CASES / file, "vix", tmp_path)
    loaded = load_vix("vix", tmp_path)
    assert loaded.fingerprint == imported.fingerprint == vix.fingerprint
    assert loaded.understood == vix.understood


def test_days_that_could_be_months_are_told_by_their_spacing() -> None:
    vix = load_vix(str(CASES / "vix_day_month_swapped/vix_dd_mm_short.csv"))
    assert vix.days.astype(str).tolist() == [
        f"2011-01-{day:02}" for day in (3, 4, 5, 6, 7, 10, 11, 12)
    ]
    assert vix.values[0] == 14.129999999999999


def test_import_says_what_check_says_and_later_loads_say_it_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(CASES / "data_import_swallows_warnings/holiday_filled.csv")
    folder = ["--import-folder", str(tmp_path)]
    assert main(["import", file, "--name", "mine", *folder]) == 0
    imported = capsys.readouterr().out
    assert main(["check", "mine", *folder]) == 0
    checked = capsys.readouterr().out
    line = "read holiday_filled.csv: columns Date, Open, High, Low, Close, Volume; "
    assert line in imported
    assert line in checked
    assert "warning: holiday_filled.csv: zero volume on 2 days" in imported


def test_options_of_an_import_stay_with_it(tmp_path: Path, planted: pd.DataFrame) -> None:
    file = str(CASES / "data_unadjusted_split/unadjusted_split.csv")
    arguments = ["--name", "mine", "--adjust", "--import-folder", str(tmp_path)]
    assert main(["import", file, *arguments]) == 0
    prices = load_prices("mine", tmp_path)
    np.testing.assert_allclose(prices.frame["Open"].iloc[0], planted["Open"].iloc[0], rtol=1e-12)
    assert prices.understood.startswith("unadjusted_split.csv: columns Date")
    assert "prices adjusted by Adj Close" in prices.understood
    assert read_table(tmp_path / "mine.parquet", AS_WRITTEN).understood == (prices.understood,)


def test_a_folder_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(CASES / "data_import_read_only/ok_stooq_d.csv")
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "folder" / "name.parquet").mkdir(parents=True)
    for name, folder in (
        ("name", "/proc/none"),
        ("name", str(tmp_path / "taken")),
        ("name", str(tmp_path / "taken" / "below")),
        ("name", str(tmp_path / "folder")),
        ("n" * 300, str(tmp_path / "long")),
    ):
        assert main(["import", file, "--name", name, "--import-folder", folder]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: import: must be able to write '")
        assert captured.err.count("\n") == 1
    left = [path.name for path in tmp_path.rglob("*") if not path.is_dir()]
    assert left == ["taken"]
