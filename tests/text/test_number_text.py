import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from study.text.number_text import DecimalMark, decimal_mark, is_missing, read_number, two_readings


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1911.67", 1911.67),
        (" 1,911.67 ", 1911.67),
        ("$1,911.67", 1911.67),
        ("-$0.5", -0.5),
        ("1'911.67", 1911.67),
        ("1\u00a0911.67", 1911.67),
        ("12,34,56,789.5", 123456789.5),
        ("5.19B", 5_190_000_000),
        ("70m", 70e6),
        ("2.35K", 2350),
        ("1.5t", 1.5e12),
        ("1e-3", 1e-3),
        (".5", 0.5),
        ("1.", 1.0),
        ("+3", 3.0),
        ("1,234,567", 1234567),
        (7, 7.0),
        (np.float32(0.5), 0.5),
    ],
)
def test_numbers_with_a_decimal_point(cell: object, number: float) -> None:
    assert read_number(cell) == number


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("2067,03", 2067.03),
        ("1.911,67", 1911.67),
        ("1.911", 1911),
        ("5,19B", 5_190_000_000),
        ("3,39294E+09", 3_392_940_000),
        ("1 911,67 \u20ac", 1911.67),
        ("1.234.567,8", 1234567.8),
        ("12", 12),
    ],
)
def test_numbers_with_a_decimal_comma(cell: str, number: float) -> None:
    assert read_number(cell, ",") == number


@pytest.mark.parametrize(
    "cell",
    ["", "abc", "1_000", "1,23", "1,2345", "12,34", "inf", "nan", "1.2.3", "1-2", "N/A",
     "25.11.2014", "1,,234", "1 2", "--1", "1e", "5.19BB", True,
     np.True_, None, "1\n2", [1], 10**400, "52 %", "52%",
     "-0.16%", "1K%", "52,5%", "%", "1409.3\u0661\u06626", "\u0661\u0662"],
)  # fmt: skip
def test_what_is_no_number_is_none(cell: object) -> None:
    assert np.isnan(read_number(cell))


@pytest.mark.parametrize("cell", ["1.5", "2,067.03", "1,911.6"])
def test_a_point_is_no_fraction_where_the_comma_is(cell: str) -> None:
    assert np.isnan(read_number(cell, ","))


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["1,911.67"], "."),
        (["1,234", "1911.67"], "."),
        (["2067,03", "text", ""], ","),
        (["1.911,67"], ","),
        (["1,234,567", "1,234"], "."),
        (["1.234.567", "12"], ","),
        (["1 234,567"], ","),
        (["0,123"], ","),
        (["1234,567"], ","),
        (["5,19B"], ","),
        (["1,234", "1.234", "7", "25.11.2014", "1,2,3"], None),
        ([], None),
    ],
)
def test_the_decimal_mark_is_that_of_all_cells(cells: list[str], mark: str | None) -> None:
    assert decimal_mark(cells) == mark


def test_two_marks_are_refused_with_one_of_each() -> None:
    with pytest.raises(ValueError, match=r"'1\.5' and '2,25'"):
        decimal_mark(["1,234", "1.5", "2,25"])


def test_only_a_comma_before_three_digits_has_two_readings() -> None:
    assert two_readings("1,234") == (1234.0, 1.234)
    assert two_readings("1,234K") == (1234000.0, 1234.0)
    for cell in ("1.234", "1,23", "1234", "0,123", "abc", "1,234,567", "1,234.5", "a,bcd"):
        assert two_readings(cell) is None


def test_words_for_a_missing_value() -> None:
    assert all(map(is_missing, ["", " ", ".", "-", "N/A", "null", "NaN", None, float("nan")]))
    assert not any(map(is_missing, ["0", 0, 0.0, "x", "-1"]))


@given(value=st.integers(-(10**14), 10**14), mark=st.sampled_from([".", ","]))
def test_grouped_numbers_are_read_back(value: int, mark: DecimalMark) -> None:
    number = value / 100
    text = f"{number:,.2f}"
    if mark == ",":
        text = text.translate(str.maketrans(",.", ".,"))
    assert read_number(text, mark) == number
    assert decimal_mark([text]) == mark


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_python_writes_is_read_bit_for_bit(value: float) -> None:
    assert read_number(repr(value)) == value
    assert read_number(value) == value


@given(st.text())
def test_any_text_is_read_or_is_none(text: str) -> None:
    assert isinstance(read_number(text), float)
    assert isinstance(read_number(text, ","), float)
    assert decimal_mark([text]) in (".", ",", None)
    two_readings(text)
