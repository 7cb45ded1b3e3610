from pathlib import Path

import hypothesis.strategies as st
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from study.data.reading.read_options import ReadOptions
from study.data.reading.tables import BAR_COLUMNS, read_table, table_from_frame
from study.errors import DataError

HEADER = "Date,Open,High,Low,Close,Volume\n"


def write(folder: Path, text: str, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_match_in_any_order_and_case_and_others_are_ignored(tmp_path: Path) -> None:
    text = "CLOSE,adj close,timestamp,low,High,open,volume\n4,9,2020-01-02,2,5,3,100\n"
    table = read_table(write(tmp_path, text))
    assert table.values.tolist() == [[3, 5, 2, 4, 100]]
    assert str(table.days[0]) == "2020-01-02"


def test_byte_order_mark_and_blank_lines_do_not_move_rows(tmp_path: Path) -> None:
    text = "\ufeff" + HEADER + "2020-01-02,1,1,1,1,1\n\n2020-01-03,1,1,1,1,1\n\n"
    table = read_table(write(tmp_path, text))
    assert table.rows.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Date,Open,High,Close\n", "missing=Low, Volume; columns=Date, Open, High, Close"),
        ("when,Open,High,Low,Close,Volume\n", "missing=Date"),
        ("", "must have a header and rows, but got no text"),
        (HEADER + "2020-01-02,1,1,1,1\n", "prices.csv line 2: must have 6 cells like the header"),
        (HEADER + "2020-01-02,1,1,1,1,1,000\n", "but got 7"),
    ],
)
def test_a_file_without_the_six_columns_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=r"prices\.csv") as caught:
        read_table(write(tmp_path, text))
    assert words in str(caught.value)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a Parquet file"):
        read_table(write(tmp_path, "text", "prices.parquet"))


@pytest.mark.parametrize("content", [b"Date\0\0", b"PK\x03\x04\x81\x8d", b"\x1f\x8b\x08cut off"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prices.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"prices\.csv: must be a table of text"):
        read_table(path)


def test_an_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\.csv, \.txt, \.tsv .*\.parquet or \.pq"):
        read_table(write(tmp_path, HEADER, "prices.xlsx"))


def test_a_time_zone_never_moves_the_day(tmp_path: Path) -> None:
    text = HEADER + "2020-01-02 00:00:00+09:00,1,1,1,1,1\n"
    assert str(read_table(write(tmp_path, text)).days[0]) == "2020-01-02"
    index = pd.DatetimeIndex(["2020-01-02 06:00"]).tz_localize("Asia/Tokyo")
    frame = pd.DataFrame({name: [1.0] for name in BAR_COLUMNS}, index=index)
    assert str(table_from_frame(frame, "frame").days[0]) == "2020-01-02"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=6, max_size=6))
def test_any_cells_are_read_or_refused_in_words(cells: list[str]) -> None:
    rows = [["2020-01-02", "10", "12", "9", "11", "1"], cells]
    frame = pd.DataFrame(rows, columns=["Date", *BAR_COLUMNS], dtype=object)
    try:
        table = table_from_frame(frame, "frame")
    except DataError as error:
        refused = str(error)
    else:
        refused = "frame"
        assert table.values.shape == (len(table.days), 5)
    assert refused.startswith("frame")
    assert "\n" not in refused


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(1e-8, 1e12), min_size=5, max_size=5))
def test_csv_numbers_survive_bit_for_bit(
    values: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(
        tmp_path_factory.mktemp("csv"),
        HEADER + "2020-01-02," + ",".join(repr(value) for value in values) + "\n",
    )
    assert read_table(path).values[0].tolist() == values


GOOD = ["2020-01-02,10,12,9,11,100", "2020-01-03,11,12,10,11,100"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Date,Open,High,Low,Close,close,Volume\n2020-01-02,10,12,9,11,10.5,100\n",
            "column Close must occur once, or twice with the same cells, but got Close='11', "
            "close='10.5' in line 2",
        ),
        (
            "Date;Open;High;Low;Close;Volume\n2020-01-02;1,234;1,300;1,200;1,250;100\n",
            "must show its decimal mark, but got '1,234', which is 1234 or 1.234",
        ),
        (
            "Date;Open;High;Low;Close;Volume\n2020-01-02;1,5;1.300,5;1,2;1.5;100\n",
            "must write all numbers with one decimal mark, but got '1.5' and '1,5'",
        ),
        (
            "2020-01-02,10,12,9,11,10.5\n2020-01-03,10,12,9,11,10.5\n",
            "must name its columns in a header, but got ['2020-01-02', '10', '12'",
        ),
        # Adj Close stands where a file without a header has its volume.
        ("2020-01-02,10,12,9,11,5,3392940000\n", "must name its columns in a header"),
        # Close, Volume, Open, High, Low.
        ("2020-01-02,11,100,10,12,9\n2020-01-03,11,5,10,12,9\n", "must name its columns"),
        (
            HEADER + "2020-01-02,120'015,120'030,119'265,120'015,1\n",
            'column Open: prices must be decimal numbers, but got "120\'015" and the like in every '
            "cell, which looks like 32nds of a bond",
        ),
        (
            HEADER + "2020-01-02,$10,$12,$9,$11,1\n2020-01-03,$10,\u00a312,\u00a39,\u00a311,1\n",
            "prices.csv line 3: prices must be in one currency, but got '\u00a3' beside '$'",
        ),
        (
            "Date,Open,High,Low,Close,Volume (000s)\n2020-01-02,10,12,9,11,1\n",
            "needs a column Volume, in plain numbers, but got 'Volume (000s)', and it is not "
            "certain what that counts. If it is the volume of each day, multiply it by its unit",
        ),
        ("<!DOCTYPE html>\n<html></html>\n", "columns=<!DOCTYPE html>"),
        (HEADER + GOOD[0] + "\n2020-01-03,11,12\n", "line 3: must have 6 cells like the header"),
    ],
)
def test_what_is_not_certain_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=r"prices\.csv") as caught:
        read_table(write(tmp_path, text))
    assert words in str(caught.value)


def test_swiss_thousands_are_no_32nds(tmp_path: Path) -> None:
    text = HEADER + "2020-01-02,1'911.67,1'920,1'900,1'911,1'234\n"
    text += "2020-01-03,998,1'002.5,990.5,999,2'345\n"
    table = read_table(write(tmp_path, text))
    assert table.values[0].tolist() == [1911.67, 1920, 1900, 1911, 1234]


def test_two_columns_of_one_name_that_agree_are_one(tmp_path: Path) -> None:
    text = "Date,Open,High,Low,Close,close,Volume\n2020-01-02,10,12,9,11,11,100\n"
    table = read_table(write(tmp_path, text))
    assert table.values.tolist() == [[10, 12, 9, 11, 100]]
    assert "Close (not 'close'), Volume" in table.understood[0]


def test_of_two_volumes_the_one_that_is_not_zero_is_taken(tmp_path: Path) -> None:
    text = "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\n"
    for volumes, expected in (("7\t0", 7), ("7\t3", 3)):
        table = read_table(write(tmp_path, text + f"2020.01.02\t10\t12\t9\t11\t{volumes}\n"))
        assert table.values[0, 4] == expected


def test_rows_keep_their_lines_when_a_file_is_turned_round(tmp_path: Path) -> None:
    rows = ["2020-01-06,12,13,11,12,7", "2020-01-03,null,null,null,null,null", *GOOD[::-1]]
    table = read_table(write(tmp_path, "a title\n" + HEADER + "\n".join(rows)))
    assert table.rows.tolist() == [6, 5, 3]
    assert table.values[:, 4].tolist() == [100, 100, 7]
    assert table.cells["Date"] == ["2020-01-02", "2020-01-03", "2020-01-06"]
    assert "newest first, turned round" in table.understood
    assert "1 row without prices left out (first 2020-01-03, line 4)" in table.understood
    assert "line 1 is a title" in table.understood


def test_a_row_out_of_order_is_left_to_the_checks(tmp_path: Path) -> None:
    rows = [*GOOD, "2020-01-01,12,13,11,12,100", "2020-01-07,12,13,11,12,100"]
    table = read_table(write(tmp_path, HEADER + "\n".join(rows)))
    assert table.rows.tolist() == [2, 3, 4, 5]
    assert "oldest first, some rows out of order" in table.understood


def test_other_columns_are_kept_by_their_names(tmp_path: Path) -> None:
    text = "date,symbol,open,high,low,close,volume,Adj Close\n2020-01-02,SPY,10,12,9,11,100,5.5\n"
    assert read_table(write(tmp_path, text)).others == {"symbol": ["SPY"], "Adj Close": ["5.5"]}


def test_an_adjusted_close_that_cannot_divide_is_named(tmp_path: Path) -> None:
    text = "date,open,high,low,close,volume,Adj Close\n" + "".join(
        f"2020-01-0{day},10,12,9,11,100,{adjusted}\n" for day, adjusted in ((2, 5.5), (3, 0))
    )
    with pytest.raises(
        DataError, match=r"prices.csv line 3 column Adj Close: must be a number > 0"
    ):
        read_table(write(tmp_path, text), ReadOptions(adjust=True))


def test_an_adjusted_close_is_that_of_the_file_bit_for_bit(tmp_path: Path) -> None:
    text = "date,open,high,low,close,volume,Adj Close,Adj Volume\n2020-01-02,10,12,9,11,100,0.1,7\n"
    table = read_table(write(tmp_path, text), ReadOptions(adjust=True))
    assert table.values[0, 3:].tolist() == [0.1, 7]  # 11 * (0.1 / 11) is another float than 0.1
    assert table.values[0, :3] == pytest.approx([1 / 11, 1.2 / 11, 0.9 / 11])
    assert "prices adjusted by Adj Close, Volume is Adj Volume" in table.understood


def test_all_numbers_of_a_file_have_one_decimal_mark(tmp_path: Path) -> None:
    text = "Date;Open;High;Low;Close;Adj Close;Volume\n2020-01-02;10,5;12,5;9,5;11,5;2.067;5.000\n"
    table = read_table(write(tmp_path, text), ReadOptions(adjust=True))
    assert table.values[0, 3:].tolist() == [2067, 5000]
    assert "decimal comma" in table.understood


def test_an_index_and_a_column_of_dates_must_agree() -> None:
    days = pd.DatetimeIndex(["2020-01-02", "2020-01-03"], name="Date")
    frame = pd.DataFrame([[10.0, 12, 9, 11, 1]] * 2, columns=list(BAR_COLUMNS), index=days)
    same = table_from_frame(frame.assign(Date=["2020-01-02", "2020-01-03"]), "frame")
    assert same.days.astype(str).tolist() == ["2020-01-02", "2020-01-03"]
    with pytest.raises(DataError, match=r"two columns Date .* must hold the same days.*in row 3"):
        table_from_frame(frame.assign(Date=["2020-01-02", "2020-01-06"]), "frame")


def test_a_damaged_parquet_file_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    days = pd.DatetimeIndex(["2020-01-02", "2020-01-03"], name="Date")
    frame = pd.DataFrame([[10.0, 12, 9, 11, 1]] * 2, columns=list(BAR_COLUMNS), index=days)
    path = tmp_path / "prices.parquet"
    frame.to_parquet(path)
    whole = path.read_bytes()
    refused = 0
    for at in range(len(whole) // 3, len(whole), 41):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0b1000]) + whole[at + 1 :])
        try:
            read_table(path)
        except DataError as error:
            refused += "\n" not in str(error)
    assert refused > 30


def test_text_of_a_parquet_file_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    days = pd.DatetimeIndex(["2020-01-02", "2020-01-03"], name="Date")
    frame = pd.DataFrame([[10.0, 12, 9, 11, 1]] * 2, columns=list(BAR_COLUMNS), index=days)
    path = tmp_path / "prices.parquet"
    frame.assign(Symbol="CAFE").to_parquet(path, compression=None)
    path.write_bytes(path.read_bytes().replace(b"CAFE", b"CAF\xe9"))
    with pytest.raises(DataError, match=r"must be a Parquet file, but got .* UTF8"):
        read_table(path)


def test_cells_that_are_no_scalars_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame([[10.0, 12, 9, 11, 1]] * 2, columns=list(BAR_COLUMNS))
    frame.assign(Date=pd.Series([[1, 2], [3]])).to_parquet(tmp_path / "prices.parquet")
    with pytest.raises(DataError, match="must hold dates, but got array"):
        read_table(tmp_path / "prices.parquet")


@pytest.mark.parametrize("names", [(None, None), ("sym", "date"), ("a", "b")])
@pytest.mark.parametrize("as_text", [False, True])
def test_an_index_of_instruments_and_days_is_told_by_what_it_holds(
    tmp_path: Path, names: tuple[str | None, str | None], as_text: bool
) -> None:
    days = pd.DatetimeIndex(["2020-01-02", "2020-01-03"])
    index = pd.MultiIndex.from_product(
        [["SPY", "QQQ"], days.astype(str) if as_text else days], names=names
    )
    frame = pd.DataFrame({name: [3.0, 4, 5, 6] for name in BAR_COLUMNS}, index=index)
    for shape in (frame, frame.swaplevel().sort_index()):
        shape.to_parquet(tmp_path / "two.parquet")
        with pytest.raises(DataError, match=r"must hold one instrument.*--symbol"):
            read_table(tmp_path / "two.parquet")
        table = read_table(tmp_path / "two.parquet", ReadOptions(symbol="QQQ"))
        assert table.values[:, 0].tolist() == [5, 6]
        assert table.days.astype(str).tolist() == ["2020-01-02", "2020-01-03"]


def test_names_that_pandas_cannot_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "prices.parquet"
    columns = [pa.array([1.0])] * 3
    pq.write_table(pa.Table.from_arrays(columns, names=["date", "date", "close"]), path)
    with pytest.raises(DataError, match="must name each column once, but got 'date' more than"):
        read_table(path)
    frame = pd.DataFrame([[1.0, 2.0]], columns=pd.CategoricalIndex(["Open", "Close"]))
    frame.to_parquet(path)
    with pytest.raises(DataError, match="must name its columns by plain text, but got a categ"):
        read_table(path)
