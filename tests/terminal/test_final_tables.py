"""The table with which final runs end is read on a terminal of 120 columns."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from study.final.answers.scored_runs import panel_test_scores
from study.results.finals.final_records import ORACLE, read_final
from study.results.finals.panel_predictions import read_panel_predictions
from study.storage.layout import FINAL_FOLDER, PREDICTIONS_FILE
from study.terminal.final_tables import final_table
from study.terminal.panel_final_table import panel_final_table
from tests.analysis.panel.planted import cell_name, write_panel_study
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


@pytest.mark.parametrize(("metric", "shown"), [("rank_ic", "RankIC +0.0300"), ("loss", "0.9700")])
def test_a_panel_shows_test_ranks_beside_the_best_baseline_that_is_no_oracle(
    tmp_path: Path, metric: str, shown: str
) -> None:
    write_panel_study(tmp_path, {1000: 0.1}, n_days=60, oracle=0.9, metric=metric)
    folder = tmp_path / FINAL_FOLDER / cell_name(1000, 5)
    record = read_final(folder)
    assert record is not None
    table = read_panel_predictions(folder / PREDICTIONS_FILE)
    own = table[table["model"] == record.model]
    values = [panel_test_scores(own[own["seed"] == seed]).rank_ic for seed in range(3)]
    others = {
        str(model): panel_test_scores(rows).rank_ic
        for model, rows in table.groupby("model", observed=True)
        if model not in (record.model, ORACLE)
    }
    best = max(others, key=lambda name: others[name])
    console = Console(width=200, record=True)
    console.print(panel_final_table([record], tmp_path))
    text = console.export_text()
    assert f"{np.mean(values):+.4f} ±{np.std(values, ddof=1):.4f}" in text
    assert f"{others[best]:+.4f} {best}" in text
    assert shown in text
