"""Damaged files of the volatility index: each value read is that of its day, or all are refused."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given

from study.data.__main__ import main
from study.data.vix_series import load_vix
from tests.fuzz.damage import damaged_text, fuzz
from tests.fuzz.judge import check_form, run
from tests.fuzz.second_reader import day, decoded, number

pytestmark = pytest.mark.slow

VIX = load_vix("embedded")
LINES = [f"{day},{value}" for day, value in zip(VIX.days[:80], VIX.values[:80], strict=True)]
STANDARD = "\n".join(["Date,Close", *LINES]) + "\n"
NEWEST_FIRST = "\n".join(["Date,VIX", *reversed(LINES)]) + "\n"


@fuzz
@given(content=damaged_text((STANDARD, NEWEST_FIRST)))
def test_a_damaged_series_is_read_as_it_stands_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "vix.csv"
    path.write_bytes(content)
    flags = ["--series", "vix", "--name", "one", "--import-folder", str(folder / "imported")]
    outcome = run(main, ["import", str(path), *flags])
    check_form(outcome)
    if outcome.code != 0:
        return
    rows = list(csv.reader(io.StringIO(decoded(content), newline="")))
    held = {(day(row[0]), number(row[1])) for row in rows if len(row) > 1}
    found = load_vix("one", folder / "imported")
    for each, value in zip(found.days, found.values, strict=True):
        assert (str(each), value) in held, each
