"""The section of a panel's report on shares of the training days."""

from pathlib import Path

import pytest

from analysis.panel.answers.shares_answer import shares_section
from analysis.panel.panel_judgement import judge_panel, risen
from analysis.panel.panel_records import read_panel
from analysis.panel.panel_report import build_panel
from analysis.study_records import read_study
from study.storage.layout import FINAL_FOLDER
from tests.analysis.panel.planted import (
    N_SEEDS,
    cell_name,
    returns,
    rows,
    scores,
    write_panel_study,
    write_planted_share,
)
from tests.analysis.records import FAMILY


def test_less_data_is_compared_with_all_of_it_seed_by_seed(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, n_days=120, rivals={"ridge": 0.0})
    name = cell_name(1000, 5)
    folder, y = tmp_path / FINAL_FOLDER / name, returns(120, 20, 2)
    # A quarter ranks worse, and half as well: the same answers but for seeds.
    for share, correlation in ((0.25, 0.05), (0.5, 0.3)):
        runs = [scores(y, correlation, 100_000 + k) for k in range(N_SEEDS)]
        write_planted_share(folder, name, share, rows({FAMILY: runs}, y))
    # Runs of another winner are named, and not judged.
    write_planted_share(folder, name, 0.75, rows({FAMILY: runs}, y), winner=2)
    panel = judge_panel(read_panel(tmp_path, read_study(tmp_path, None)))
    quarter, half = panel.shares
    own = panel.cells[0].cell.own.rank_ic
    lead = risen(quarter.difference.difference)
    assert lead.value == pytest.approx(quarter.share.test.rank_ic.mean() - own.mean())
    assert (quarter.n_seeds, half.n_seeds) == (N_SEEDS, N_SEEDS)
    assert (quarter.difference.claim, half.difference.claim) == ("worse", "not told apart")
    section = shares_section(panel)
    assert section is not None
    assert section.sentences[0].startswith(
        "1000, 5 days ahead: RankIC on 0.25 of the training days (the latest days) less that on "
        "all, 3 seeds: -0.2"
    )
    found = build_panel(panel)
    assert section in found.sections
    assert any("must hold test days of trial 1" in line for line in found.missing)


def test_without_shares_there_is_no_section(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, n_days=60, rivals={"ridge": 0.0})
    assert shares_section(judge_panel(read_panel(tmp_path, read_study(tmp_path, None)))) is None
