"""The table of winners beside themselves with one setting changed."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import spearmanr, ttest_1samp

from study.results.finals.final_records import (
    FinalRecord,
    read_final,
    read_predictions,
    write_predictions,
)
from study.results.finals.panel_predictions import read_panel_predictions, write_panel_predictions
from study.results.finals.variant_records import VariantRecord, variant_folder, write_variant
from study.storage.layout import FINAL_FOLDER, PREDICTIONS_FILE
from study.terminal.variant_table import variant_notes, variant_table
from tests.analysis.panel.planted import cell_name, write_panel_study
from tests.analysis.records import write_study

NAME = "optimizer=adabelief"


def shown(results: Path, *, seeds_kept: int = 3) -> tuple[FinalRecord, list[str]]:
    """Return the final runs of the only cell and the words of its row.

    Args:
        results: the results folder.
        seeds_kept: seeds of the variant that answer.
    """
    (folder,) = (path for path in (results / FINAL_FOLDER).iterdir() if path.is_dir())
    record = read_final(folder)
    assert record is not None
    path = variant_folder(folder, NAME) / PREDICTIONS_FILE
    if record.is_panel:
        table = read_panel_predictions(path)
        write_panel_predictions(path, [table[table["seed"] < seeds_kept]])
    else:
        table = read_predictions(path)
        write_predictions(path, table[table["seed"] < seeds_kept])
    variant = VariantRecord(
        cell=record.cell, field="optimizer", value="adabelief", base_value="adamw",
        winner=record.winner, runs=record.runs, commit="0123456789ab",
    )  # fmt: skip
    write_variant(folder, variant)
    console = Console(width=200, record=True)
    console.print(variant_table([variant], [record], results))
    return record, console.export_text().splitlines()[1].split()


def test_rank_ics_of_a_panel_are_paired_by_seed(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.1}, n_days=60, variants={"adabelief": 0.3})
    folder = tmp_path / FINAL_FOLDER / cell_name(1000, 5)
    means = []
    for path in (variant_folder(folder, NAME), folder):
        table = read_panel_predictions(path / PREDICTIONS_FILE).query("part == 'test'")
        for seed in range(3):
            days = table[table["seed"] == seed].groupby("date")
            means.append(np.mean([spearmanr(day["score"], day["y"]).statistic for _, day in days]))
    own, base = np.array(means[:3]), np.array(means[3:])
    interval = ttest_1samp(own - base, 0).confidence_interval()
    record, row = shown(tmp_path)
    assert row[0] == record.cell
    assert row[1:] == [
        NAME, "adamw", "3", f"{own.mean():.4f}", f"{base.mean():.4f}",
        f"{np.mean(own - base):+.4f}", f"[{interval.low:+.4f},", f"{interval.high:+.4f}]",
    ]  # fmt: skip
    assert variant_notes([record])[0].endswith("above 0 the variant scores better")


@pytest.mark.parametrize("seeds_kept", [2, 0])
def test_losses_of_a_market_are_paired_and_fewer_than_three_seeds_have_no_interval(
    tmp_path: Path, seeds_kept: int
) -> None:
    write_study(tmp_path, {1000: 0.1}, horizons=(1,), n_days=100)
    (folder,) = (path for path in (tmp_path / FINAL_FOLDER).iterdir() if path.is_dir())
    table = read_predictions(folder / PREDICTIONS_FILE)
    # The variant is as sure as it can be on every day, right or wrong.
    own = table[table["seed"].notna()].assign(p=0.9)
    write_predictions(variant_folder(folder, NAME) / PREDICTIONS_FILE, own)
    record, row = shown(tmp_path, seeds_kept=seeds_kept)
    if not seeds_kept:
        assert row[3:] == ["0", "-", "-", "-", "-"]
        return
    test = own[own["part"] == "test"].query("seed < @seeds_kept")
    losses = -np.log(np.where(test["y"] == 1, 0.9, 0.1))
    assert row[3] == str(seeds_kept)
    assert row[4] == f"{losses.mean():.4f}"
    assert float(row[6]) == pytest.approx(float(row[4]) - float(row[5]), abs=1.01e-4)
    assert float(row[6]) > 0
    assert row[7] == "-"
    assert variant_notes([record])[0].endswith("below 0 the variant scores better")
