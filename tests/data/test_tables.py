from pathlib import Path

import hypothesis.strategies as st
import pandas as pd
import pytest
from hypothesis import given, settings

from study.data.tables import BAR_COLUMNS, read_table, table_from_frame
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
