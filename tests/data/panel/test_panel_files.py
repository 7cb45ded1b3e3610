import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.data.panel.panel import Panel
from study.data.panel.panel_sources import import_panel, is_panel_source, load_panel
from study.data.sources import import_prices, load_prices
from study.errors import DataError

N_DAYS = 30


def closes(n_days: int = N_DAYS, names: tuple[str, ...] = ("AA", "BB", "COIN")) -> pd.DataFrame:
    """Closes of assets on weekdays, with a fraction of four digits."""
    steps = np.random.default_rng(0).normal(0, 0.02, (n_days, len(names)))
    days = pd.bdate_range("2020-01-01", periods=n_days, name="Date")
    prices = np.round(50 * np.exp(np.cumsum(steps, axis=0)), 4)
    return pd.DataFrame(prices, index=days, columns=list(names))


def long(wide: pd.DataFrame, name: str = "Ticker") -> pd.DataFrame:
    return wide.reset_index().melt("Date", var_name=name, value_name="Close").dropna()


def written(frame: pd.DataFrame, path: Path, **options: object) -> Panel:
    frame.to_csv(path, **options)  # type: ignore[call-overload]
    return load_panel(str(path))


def test_a_long_table_equals_a_wide_one(tmp_path: Path) -> None:
    frame = closes(names=("AA", "C", "COIN"))  # two of them are names of columns of a long table
    wide = written(frame, tmp_path / "wide.csv")
    tall = written(long(frame), tmp_path / "long.csv", index=False)
    assert tall.fingerprint == wide.fingerprint
    assert wide.assets == ("AA", "C", "COIN")
    np.testing.assert_array_equal(wide.close, frame.to_numpy())
    np.testing.assert_array_equal(wide.dates, frame.index.to_numpy().astype("datetime64[D]"))


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_neither_the_order_of_rows_nor_the_notation_matters(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    frame = closes()
    missing = data.draw(
        st.lists(st.tuples(st.integers(0, N_DAYS - 1), st.integers(0, 2)), max_size=4)
    )
    for day, asset in missing:
        frame.iloc[day, asset] = np.nan
    few = frame.notna().sum(axis=1) < 3
    expected = frame[~few].to_numpy()
    table = long(frame)
    table = table.iloc[data.draw(st.permutations(range(len(table))))]
    folder = tmp_path_factory.mktemp("panel")
    tall = written(
        table,
        folder / "long.csv",
        index=False,
        sep=data.draw(st.sampled_from([";", "\t"])),
        decimal=data.draw(st.sampled_from([",", "."])),
        encoding=data.draw(st.sampled_from(["utf-8", "utf-8-sig"])),
        date_format=data.draw(st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%Y%m%d", "%d %b %Y"])),
    )
    np.testing.assert_array_equal(tall.close, expected)
    assert written(frame, folder / "wide.csv").fingerprint == tall.fingerprint


@pytest.mark.parametrize(
    "name", ["ticker", "Symbol", "code", "Asset", "instrument", "permno", "sid", "name"]
)
def test_any_usual_name_of_the_assets_is_known(tmp_path: Path, name: str) -> None:
    frame = closes(names=("101", "102", "103"))
    assert written(long(frame, name), tmp_path / "x.csv", index=False).assets == tuple(frame)


def test_parquet_of_any_shape_is_read(tmp_path: Path) -> None:
    frame = closes()
    expected = written(frame, tmp_path / "wide.csv").fingerprint
    two_levels = pd.concat({"Close": frame}, axis=1)
    for number, each in enumerate((frame, long(frame), long(frame).set_index(["Date", "Ticker"]))):
        each.to_parquet(tmp_path / f"{number}.parquet")
        assert load_panel(str(tmp_path / f"{number}.parquet")).fingerprint == expected
    assert written(two_levels, tmp_path / "levels.csv").fingerprint == expected
    (tmp_path / "wide.csv.gz").write_bytes(gzip.compress((tmp_path / "wide.csv").read_bytes()))
    assert load_panel(str(tmp_path / "wide.csv.gz")).fingerprint == expected


def test_assets_may_begin_and_end_on_other_days(tmp_path: Path) -> None:
    frame = closes(names=("A", "B", "C", "D", "E"))
    frame.iloc[:10, 0] = np.nan
    frame.iloc[20:, 1] = np.nan
    panel = written(frame, tmp_path / "wide.csv")
    np.testing.assert_array_equal(np.isnan(panel.close), frame.isna())
    assert panel.warnings == ()


def test_adjusted_closes_come_first_and_the_note_says_so(tmp_path: Path) -> None:
    frame = closes()
    table = long(frame)
    table.insert(2, "Adj Close", table["Close"] / 2)
    panel = written(table, tmp_path / "x.csv", index=False)
    np.testing.assert_allclose(panel.close, frame / 2)
    assert "adjusted by Adj Close" in panel.understood


def with_bars(frame: pd.DataFrame) -> pd.DataFrame:
    table = long(frame)
    table["Open"] = table["Close"] * 0.99
    table["High"], table["Low"] = table["Close"] * 1.02, table["Close"] * 0.98
    table["Volume"] = 1000.0
    return table


def test_bars_are_kept_and_adjusted_as_the_close(tmp_path: Path) -> None:
    table = with_bars(closes())
    table["Adj Close"] = table["Close"] / 2
    panel = written(table, tmp_path / "x.csv", index=False)
    assert tuple(panel.bars) == ("Open", "High", "Low", "Volume")
    np.testing.assert_allclose(panel.bars["High"], panel.close * 1.02)
    assert (panel.bars["Volume"] == 1000).all()


def test_sectors_come_from_a_column_or_from_a_file(tmp_path: Path) -> None:
    table = long(closes())
    table["Sector"] = np.where(table["Ticker"] == "AA", "Energy", "Health")
    assert written(table, tmp_path / "x.csv", index=False).sectors == ("Energy", "Health", "Health")
    for header in ("asset,sector\n", ""):
        (tmp_path / "s.csv").write_text(f"{header}BB,Tools\nAA,Energy\nCOIN,Banks\nZZ,Other\n")
        panel = import_panel(tmp_path / "x.csv", "p", tmp_path / "data", sectors=tmp_path / "s.csv")
        assert panel.sectors == ("Energy", "Tools", "Banks")


def test_a_sector_that_changes_is_the_latest_and_named(tmp_path: Path) -> None:
    table = long(closes())
    table["Sector"] = np.where(table["Date"] < "2020-01-15", "Old", "New")
    panel = written(table.iloc[::-1], tmp_path / "x.csv", index=False)
    assert panel.sectors == ("New", "New", "New")
    assert panel.warnings == ("x.csv: the sector changes of AA, BB, COIN; the latest is used",)


def test_an_import_is_the_same_content_with_its_notes(tmp_path: Path) -> None:
    table = with_bars(closes())
    table["Sector"] = table["Ticker"].str.lower()
    table.to_csv(tmp_path / "x.csv", index=False)
    folder = tmp_path / "data"
    kept = import_panel(tmp_path / "x.csv", "mine", folder)
    loaded = load_panel("mine", folder)
    assert loaded.fingerprint == kept.fingerprint == load_panel(str(tmp_path / "x.csv")).fingerprint
    assert loaded.understood == kept.understood
    assert loaded.sectors == ("aa", "bb", "coin")
    assert loaded.name == "mine"
    assert [path.name for path in (folder / "panels").iterdir()] == ["mine.parquet"]
    assert is_panel_source("mine", folder)
    assert not is_panel_source("mine", tmp_path)


def test_what_an_import_accepted_holds_for_its_data_alone(tmp_path: Path) -> None:
    frame = closes(60)
    frame.iloc[10:35, 0] = 50.0
    frame.to_csv(tmp_path / "x.csv")
    folder = tmp_path / "data"
    with pytest.raises(DataError, match="--accept panel-constant-prices"):
        import_panel(tmp_path / "x.csv", folder=folder)
    import_panel(tmp_path / "x.csv", folder=folder, accept=["panel-constant-prices"])
    assert "accepted (panel-constant-prices)" in load_panel("x", folder).warnings[0]
    path = folder / "panels" / "x.parquet"
    edited = pd.read_parquet(path)
    edited["Close"] *= 1.01
    edited.to_parquet(path)
    with pytest.raises(DataError, match="--accept panel-constant-prices"):
        load_panel("x", folder)


def test_a_panel_and_a_market_cannot_have_one_name(tmp_path: Path) -> None:
    closes().to_csv(tmp_path / "x.csv")
    import_panel(tmp_path / "x.csv", folder=tmp_path)
    for name in ("stocks20", "sp500"):
        with pytest.raises(DataError, match="the name must not be that of an embedded"):
            import_panel(tmp_path / "x.csv", name, tmp_path)
    with pytest.raises(DataError, match="the name must not be that of an imported panel"):
        import_prices(tmp_path / "x.csv", "x", tmp_path)
    with pytest.raises(DataError, match="must be a market of one asset, but got source=x"):
        load_prices("x", tmp_path)
    with pytest.raises(DataError, match="must be a panel of many assets, but got source=sp500"):
        load_panel("sp500", tmp_path)
    with pytest.raises(DataError, match="embedded stocks20, synthetic-panel; imported x"):
        load_panel("missing", tmp_path)


ROWS = "Date,Ticker,Close\n2020-01-01,A,1.5\n2020-01-01,B,2.5\n2020-01-01,C,3.5\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Date,Ticker,Close\n2020-01-01,A,1.5\n2020-01-02,A,1.6\n",
            "x.csv: a panel must have at least 3 assets to rank, but got 1: A. Add assets",
        ),
        (
            "Date,Open,High,Low,Close,Volume\n2020-01-01,1,1,1,1,1\n",
            "x.csv: a panel has three assets or more, but got the columns Open, High, Low, Close",
        ),
        (
            ROWS + "2020-01-01,B,2.6\n",
            r"x.csv line 5 \(B, 2020-01-01\): an asset must have one price a day, but got "
            r"Close=2.6 beside Close=2.5 of line 3. Remove one",
        ),
        (ROWS + "2020-01-02,B,0\n", r"line 5 \(B, 2020-01-02\) column Close: must be > 0"),
        (ROWS + "2020-01-02,B,-1\n", r"line 5 \(B, 2020-01-02\) column Close: must be > 0"),
        (ROWS + "2020-01-02,B,x\n", "line 5 column Close: must be a number, or empty, but got 'x'"),
        (ROWS + "soon,B,2\n", "line 5 column Date: must be a day, but got 'soon'"),
        (ROWS + "2020-01-02,,2\n", "line 5 column Ticker: must name the asset, but got ''"),
        (
            "Date,Ticker,Close\n2020-01-01,A,1.5\n2020-01-02,B,1.6\n2020-01-03,C,1.6\n",
            "x.csv: a day must have at least 3 assets to rank, but got none of 3 days",
        ),
        (
            "Date,A,B,C\n2020-01-01,1,2,3\n2020-01-02,1,high,3\n",
            "line 3 column B: must be a number, or empty, but got 'high'",
        ),
        (
            "Date,A,B,C\n2020-01-01,1,2,low\n",
            "column C: without a column Symbol and a column Close, every column beside the date",
        ),
        ("A,B,C\n1,2,3\n4,5,6\n", "x.csv: needs the columns Date, Symbol and Close"),
        (
            "Date,Ticker,Close,Sector\n2020-01-01,A,1,X\n2020-01-01,B,1,Y\n2020-01-01,C,2,\n",
            "x.csv column Sector: every asset of the panel must have a sector, but got none of 'C'",
        ),
        (
            "Date,Ticker,Close\n2999-01-01,A,1.5\n2999-01-01,B,2.5\n2999-01-01,C,3.5\n",
            "must be no day to come, but got 2999-01-01, .*--accept panel-future-days",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load_panel(str(tmp_path / "x.csv"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("asset,sector\nAA,X\nCOIN,Y\n", "s.csv: every asset .* but got none of 'BB'. Add it"),
        ("asset,sector\nAA,X\nBB,\nCOIN,Y\n", "but got none of 'BB'"),
        ("asset,sector\nAA,X\nBB,X\nCOIN,Y\nAA,Y\n", "an asset has one sector, but got two of 'A"),
        ("asset,sector,more\nAA,X,1\n", "two columns, the asset and its sector, but got columns="),
    ],
)
def test_a_file_of_sectors_that_does_not_fit_is_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    closes().to_csv(tmp_path / "x.csv")
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        import_panel(tmp_path / "x.csv", folder=tmp_path, sectors=tmp_path / "s.csv")
    assert "\n" not in str(caught.value)


def test_days_of_fewer_than_three_assets_are_left_out_with_a_line(tmp_path: Path) -> None:
    frame = closes()
    frame.iloc[[3, 7], 0] = np.nan
    panel = written(frame, tmp_path / "x.csv")
    assert len(panel.dates) == N_DAYS - 2
    assert panel.warnings == (
        "x.csv: 2 of 30 days have fewer than 3 assets and are left out: 2020-01-06, 2020-01-10",
    )
