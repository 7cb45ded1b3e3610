"""A file in a vendor's shape reads as the bars it was written from, or is refused in words."""

from collections.abc import Sequence
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from study.data.reading.read_options import ReadOptions
from study.data.reading.tables import BarTable, read_table
from study.errors import DataError
from tests.cases.vendors import ONE, SEVERAL, bars_of

SPY = ReadOptions(symbol="SPY")
ROUNDED = {"Investing": 2e-3, "Investing, German": 2e-3, "Investing, Spanish": 2e-3}
"""Relative error of a volume that its vendor writes with three digits."""


def days_from(first: pd.Timestamp, steps: Sequence[int]) -> pd.DatetimeIndex:
    """Return days that lie 1 to 4 apart, as those of any market do."""
    days = first + pd.to_timedelta(np.cumsum([0, *steps]), unit="D")
    return pd.DatetimeIndex(days, dtype="datetime64[us]", name="Date")


def assert_equal(table: BarTable, bars: pd.DataFrame, volume_rtol: float) -> None:
    assert table.days.astype(str).tolist() == [f"{day:%Y-%m-%d}" for day in bars.index]
    np.testing.assert_array_equal(table.values[:, :4], bars.to_numpy()[:, :4])
    np.testing.assert_allclose(table.values[:, 4], bars["Volume"], rtol=volume_rtol)


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE)
def test_a_year_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    bars = bars_of(days_from(pd.Timestamp("2023-04-03"), [1, 1, 1, 1, 3] * 50))
    table = read_table(ONE[name](bars, tmp_path))
    assert_equal(table, bars, ROUNDED.get(name, 1e-12))
    assert len(table.understood) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    first=st.datetimes(pd.Timestamp("1973-06-01"), pd.Timestamp("2040-01-01")),
    steps=st.lists(st.integers(1, 4), max_size=12),
)
def test_any_days_are_read_as_they_were_written_or_refused(
    name: str, tmp_path: Path, first: pd.Timestamp, steps: list[int]
) -> None:
    bars = bars_of(days_from(pd.Timestamp(first).normalize(), steps))
    path = ONE[name](bars, tmp_path)
    try:
        table = read_table(path)
    except DataError as error:
        refused = str(error)
    else:
        refused = path.name
        assert_equal(table, bars, ROUNDED.get(name, 1e-12))
    assert refused.startswith(path.name)
    assert "\n" not in refused


@pytest.mark.parametrize("name", SEVERAL)
def test_one_of_several_instruments_is_read(name: str, tmp_path: Path) -> None:
    bars = bars_of(days_from(pd.Timestamp("2023-04-03"), [1, 1, 1, 1, 3] * 5))
    path = SEVERAL[name](bars, tmp_path)
    assert_equal(read_table(path, SPY), bars, 1e-12)
    with pytest.raises(DataError, match=r"must hold one instrument, but got 2 in .*'QQQ', 'SPY'"):
        read_table(path)
