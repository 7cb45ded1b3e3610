"""The table with which final runs end is read on a terminal of 120 columns."""

from pathlib import Path

import pytest
from rich.console import Console

from study.results.finals.final_records import read_final
from study.storage.layout import FINAL_FOLDER
from study.terminal.final_tables import final_table
from tests.analysis.records import write_study


@pytest.mark.parametrize("market", ["", "sp500-long_walk-forward"])
def test_numbers_have_their_columns_however_long_a_name_is(tmp_path: Path, market: str) -> None:
    write_study(tmp_path, {1000: 0.1}, horizons=(1,), n_days=200, market=market)
    (folder,) = (path for path in (tmp_path / FINAL_FOLDER).iterdir() if path.is_dir())
    record = read_final(folder)
    assert record is not None
    console = Console(width=120, record=True)
    console.print(final_table([record], tmp_path))
    text = console.export_text()
    assert all(number in text for number in ("0.5000", "0.5150", "±", "logistic"))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 120
    name = folder.name
    assert (name in text) == (not market)
    assert name in "".join(line[1:30].strip() for line in text.splitlines())
