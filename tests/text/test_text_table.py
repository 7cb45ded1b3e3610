import csv
import gzip
import io
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from study.errors import DataError, StudyError
from study.text.text_table import DELIMITERS, TextTable, read_text_table


def read(folder: Path, text: str | bytes, name: str = "table.csv") -> TextTable:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_text_table(path)


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_every_delimiter_is_recognised_by_the_rows(tmp_path: Path, delimiter: str) -> None:
    rows = [["n", "loss", "name"], ["1", "2.5", "a b"], ["3", "4.5", "c"]]
    table = read(tmp_path, "\n".join(delimiter.join(row) for row in rows))
    assert [list(table.header), *map(list, table.rows)] == rows
    assert table.delimiter == delimiter
    assert table.lines == (2, 3)
    assert table.column(1) == ("2.5", "4.5")


@pytest.mark.parametrize(
    ("text", "delimiter", "row"),
    [
        # Decimal commas occur as regularly as the semicolons between the cells.
        ("a;b;c\n1,5;2,5;3,5\n1,5;2,5;3,5\n", ";", ("1,5", "2,5", "3,5")),
        ("a title\na;b\n1,5;2,5\n1,5;2,5\n", ";", ("1,5", "2,5")),
        ("day\tvalue\nJan 2, 2020\t1,5\nJan 3, 2020\t1,5\n", "\t", ("Jan 3, 2020", "1,5")),
        ("sep=;\na;b\n1,5;2\n", ";", ("1,5", "2")),
        ("a\n1\n", ",", ("1",)),
    ],
)
def test_a_comma_inside_cells_separates_none(
    tmp_path: Path, text: str, delimiter: str, row: tuple[str, ...]
) -> None:
    table = read(tmp_path, text)
    assert table.delimiter == delimiter
    assert table.rows[-1] == row


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    text = 'A title\n\nn,loss\n1,"two\nlines"\n\n,,\n3,4\n\nSource: somebody\n"a note, of words"\n'
    table = read(tmp_path, text)
    assert (table.header, table.header_line) == (("n", "loss"), 3)
    assert table.rows == (("1", "two\nlines"), ("3", "4"))
    assert table.lines == (4, 8)
    assert table.skipped == ("line 1 is a title", "line 10 is a note", "line 11 is a note")


def test_a_declared_delimiter_and_old_line_ends_do_not_move_lines(tmp_path: Path) -> None:
    assert read(tmp_path, "sep=,\r\na,b\r\n1,2\r\n").lines == (3,)
    assert read(tmp_path, "a,b\r1,2\r3,4\r").lines == (2, 3)


def test_keys_and_comments_above_the_header_are_titles(tmp_path: Path) -> None:
    table = read(tmp_path, "Symbol:,ABC\n# made by x, y\nn,d,loss\n1,2,3\n")
    assert table.header == ("n", "d", "loss")
    assert table.skipped == ("line 1 is a title", "line 2 is a title")


def test_lines_of_two_cells_above_a_wider_header_are_titles(tmp_path: Path) -> None:
    rows = "1/4/2016,2,3\n1/5/2016,3,4\n1/6/2016,3,4\n"
    table = read(tmp_path, f"Security,SPX\nStart,1/1/2016\n\nDate,Open,Last\n{rows}")
    assert table.header == ("Date", "Open", "Last")
    assert table.lines == (5, 6, 7)
    assert table.skipped == ("line 1 is a title", "line 2 is a title")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Title: x, y\n\nDATE   VALUE\n2014-01-03   13.76\n2014-01-06   13.55\n",
            r"line 5: must separate cells by tabs, .*'2014-01-06 +13\.55', with spaces between",
        ),
        ("n,loss\n1,2,3\n4,5,6\n", r"table.csv line 2: must have 2 cells .*but got 3"),
        (
            "n,d,loss\n1,2,3\n4,5\n",
            r"table.csv line 3: must have 3 cells .*but got 2: \['4', '5'\]",
        ),
        ('n,d,loss\n1,2,3\n"Jan 3, 2020",5\n', r"line 3: must have 3 cells"),
        ("", "must have a header and rows, but got no text"),
        ("\n,,\n", "must have a header and rows, but got no text"),
        (b"a,b\0", "got a NUL byte"),
        (b"\x1f\x8b\x08\0cut", "must be a table of text, but got"),
        (gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9] + b"123456789", "must be a table of text"),
        (b"\x81\x8d", "must be a table of text, but got"),
    ],
)
def test_a_broken_table_is_refused_in_one_line(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    with pytest.raises(StudyError, match=words) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_missing_file_raises_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.csv: must be a file that can be read"):
        read_text_table(tmp_path / "none.csv", DataError)
    with pytest.raises(DataError, match="must be a file that can be read"):
        read_text_table(tmp_path, DataError)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_spreadsheets_are_recognised(tmp_path: Path, encoding: str) -> None:
    text = "Er\u00f6ffnung,b\n1,2\n"
    for content in (text.encode(encoding), gzip.compress(text.encode(encoding))):
        assert read(tmp_path, content).header == ("Er\u00f6ffnung", "b")


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(2, 5),
    delimiter=st.sampled_from(sorted(DELIMITERS)),
    numbers=st.lists(st.integers(0, 10**6), min_size=5, max_size=40),
)
def test_what_csv_writes_is_read_back(
    width: int, delimiter: str, numbers: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    header = [f"column {at}" for at in range(width)]
    cells = [f"{number / 100:,.2f}" if number % 2 else f"'{number}" for number in numbers]
    rows = [cells[at : at + width] for at in range(0, len(cells) - width + 1, width)]
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    table = read(tmp_path_factory.mktemp("csv"), file.getvalue())
    assert list(table.header) == header
    assert list(map(list, table.rows)) == rows
