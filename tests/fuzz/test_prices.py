"""Damaged price files: they are read as they are written, or refused."""

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.data.__main__ import main
from study.data.reading.tables import BAR_COLUMNS
from study.data.sources import load_prices
from tests.fuzz.damage import damaged_bytes, damaged_text, fuzz
from tests.fuzz.judge import check_form, refuses, run
from tests.fuzz.second_reader import day, decoded, number

pytestmark = pytest.mark.slow

BARS = load_prices("sp500").frame.iloc[2000:2060]
STANDARD = BARS.to_csv()
NEWEST_FIRST = BARS.iloc[::-1].to_csv()
WITH_OTHERS = BARS.assign(Symbol="ABC", AdjClose=BARS["Close"]).to_csv()
PARQUETS = (
    BARS.to_parquet(),
    # Dates and symbols as text, which damage reaches because it is not compressed.
    BARS.set_index(BARS.index.astype(str)).assign(Symbol="ABC").to_parquet(compression=None),
)


@fuzz
@given(content=damaged_text((STANDARD, NEWEST_FIRST, WITH_OTHERS)))
def test_a_damaged_csv_is_read_as_it_stands_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "prices.csv"
    path.write_bytes(content)
    outcome = run(main, ["check", str(path)])
    check_form(outcome)
    if outcome.code == 0:
        assert_rows_of_the_file(load_prices(str(path)).frame, decoded(content))


@fuzz
@given(st.data())
def test_a_damaged_parquet_file_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    path = folder / "prices.parquet"
    path.write_bytes(data.draw(damaged_bytes(data.draw(st.sampled_from(PARQUETS)))))
    outcome = run(main, ["check", str(path)])
    check_form(outcome)


def assert_rows_of_the_file(frame: pd.DataFrame, text: str) -> None:
    """Check that a second and simpler reader finds every bar's numbers in the line of its day."""
    lines: dict[str, list[list[float | None]]] = {}
    for cells in csv.reader(io.StringIO(text, newline="")):
        if len(cells) >= 6:
            lines.setdefault(day(cells[0]), []).append([number(cell) for cell in cells[1:6]])
    assert set(frame.columns) == set(BAR_COLUMNS)
    for stamp, bar in zip(frame.index, frame.to_numpy(), strict=True):
        assert bar.tolist() in lines.get(str(stamp.date()), ()), stamp


def test_the_second_reader_can_disagree() -> None:
    frame = BARS.copy()
    frame["Low"] = frame["Low"].shift(fill_value=1.0)
    with pytest.raises(AssertionError):
        assert_rows_of_the_file(frame, STANDARD)


def test_the_whole_files_are_read(folder: Path) -> None:
    for name, text in (("a", STANDARD), ("b", NEWEST_FIRST), ("c", WITH_OTHERS)):
        path = folder / f"{name}.csv"
        path.write_text(text, encoding="utf-8")
        assert refuses(lambda path=path: load_prices(str(path))) is None  # type: ignore[misc]
        pd.testing.assert_frame_equal(load_prices(str(path)).frame, BARS, check_freq=False)
