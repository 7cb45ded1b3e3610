"""Sections of a panel's report on walks forward, and on winners that saw validation days."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.answers.report_parts import Table
from analysis.panel.answers.refit_answer import refit_section
from analysis.panel.answers.walk_answer import walk_section
from analysis.panel.panel_judgement import JudgedPanel, judge_panel, risen
from analysis.panel.panel_records import read_panel
from analysis.panel.panel_report import build_panel
from analysis.study_records import read_study
from study.storage.layout import CELL_FILE
from tests.analysis.panel.planted import cell_name, write_panel_study
from tests.analysis.records import fold

DAYS = 300


def walked() -> list[Any]:
    """Return the records of two folds of the test days, which begin on 2014-01-01."""
    return [
        dataclasses.replace(fold("2014-01-01", "2014-07-19", 200), n_train=700),
        dataclasses.replace(fold("2014-07-20", "2014-10-27", 100), n_train=900),
    ]


def by_period(table: Table) -> dict[str, Any]:
    """Return the rows of a table by their first value, without it."""
    return {str(name): values for name, *values in table.rows}


def judged(results: Path) -> JudgedPanel:
    return judge_panel(read_panel(results, read_study(results, None)))


def with_cell(panel: JudgedPanel, folds: list[Any], **test: Any) -> JudgedPanel:
    """Return a panel of one cell with other folds, and other values of its test days."""
    (horizon,) = panel.horizons
    (cell,) = horizon.cells
    own = dataclasses.replace(
        cell.cell,
        test=dataclasses.replace(cell.cell.test, **test),
        final=dataclasses.replace(cell.cell.final, folds=folds),
    )
    changed = dataclasses.replace(horizon, cells=[dataclasses.replace(cell, cell=own)])
    return dataclasses.replace(panel, horizons=[changed])


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> JudgedPanel:
    """Return a winner that walked forward through two folds, beside ridge, boosting and zero."""
    path = tmp_path_factory.mktemp("walk")
    rivals = {"zero": 0.0, "ridge": 0.05, "boosting": 0.3}
    write_panel_study(path, {1000: 0.3}, n_days=DAYS, rivals=rivals, folds=walked())
    return judged(path)


def test_every_fold_is_judged_by_its_own_days_beside_ridge_and_boosting(walk: JudgedPanel) -> None:
    (cell,), section = walk.cells, walk_section(walk)
    assert section is not None
    scores, leads = by_period(section.tables[0]), by_period(section.tables[1])
    assert list(scores) == list(leads) == ["fold 1", "fold 2", "all days"]
    own = cell.cell.own.rank_ic
    for name, days, n_train in (("fold 1", slice(200), 700), ("fold 2", slice(200, None), 900)):
        _, trained, n_days, rank_ic, _ = scores[name]
        assert (trained, n_days) == (n_train, own[:, days].shape[1])
        assert rank_ic.value == pytest.approx(own[:, days].mean())
        assert rank_ic.low < rank_ic.value < rank_ic.high
        for number, rival in enumerate(("ridge", "boosting")):
            theirs, lead = leads[name][2 * number : 2 * number + 2]
            other = cell.cell.test.models[rival].rank_ic[:, days]
            assert theirs.value == pytest.approx(other.mean())
            assert lead.value == pytest.approx(own[:, days].mean() - other.mean())
    # Those of all days are the comparisons of the other sections, with the same draws.
    against = cell.against("ridge")
    assert against is not None
    assert leads["all days"][1] == risen(against.difference)


def test_a_lead_is_said_fold_by_fold(walk: JudgedPanel) -> None:
    section = walk_section(walk)
    assert section is not None
    ridge, boosting = section.sentences
    assert ridge.startswith("1000, 5 days ahead: RankIC less that of ridge is +0.2")
    assert "on all 300 test days; by fold its interval lies above zero in fold 1, fold 2" in ridge
    assert boosting.endswith(
        "lies around zero in each, not corrected for the number of folds that have one (2)."
    )
    assert [each.name for each in build_panel(walk).sections][:4] == [
        "baselines", "scores", "size", "walk",
    ]  # fmt: skip


def test_decades_and_folds_whose_inputs_drift_are_named(walk: JudgedPanel) -> None:
    (cell,) = walk.cells
    # Every tenth day: 2014 to 2022, with both folds as long as before.
    dates = cell.cell.test.dates[0] + 10 * np.arange(DAYS)
    drifting = {"largest_shift": -4.0, "largest_shift_input": "return_1d", "max_shift": 3.0}
    folds = [
        dataclasses.replace(
            each, first_test_day=str(dates[first]), last_test_day=str(dates[last]), **drifting
        )
        for each, first, last in zip(walked(), (0, 200), (199, 299), strict=True)
    ]
    section = walk_section(with_cell(walk, folds=folds, dates=dates))
    assert section is not None
    rows = by_period(section.tables[0])
    assert list(rows) == ["fold 1", "fold 2", "2010s", "2020s", "all days"]
    in_2020s = dates >= np.datetime64("2020-01-01")
    assert rows["2020s"][2] == in_2020s.sum()
    assert rows["2020s"][3].value == pytest.approx(cell.cell.own.rank_ic[:, in_2020s].mean())
    # Fewer than five blocks of twenty days have no interval.
    assert rows["2020s"][3].low is None
    assert section.sentences[2].endswith(
        "not corrected for the number of decades that have one (1)."
    )
    assert section.sentences[-1].startswith("In 2 of 2 folds of test days the inputs drift more")


@pytest.fixture(scope="module")
def long_walk(tmp_path_factory: pytest.TempPathFactory) -> JudgedPanel:
    """Return a winner on ten years of test days, which are resampled in blocks of a year."""
    path = tmp_path_factory.mktemp("long")
    write_panel_study(
        path, {1000: 0.6}, n_days=2_500, n_assets=4, rivals={"ridge": 0.0}, folds=walked()
    )
    return judged(path)


@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        ((1_250, 1_250), "lies above zero in fold 1, fold 2, not corrected for the number of folds "
         "that have one (2)."),
        ((1_260, 1_240), "lies above zero in fold 1, not corrected for the number of folds that "
         "have one (1)."),
        ((1_249, 1_249), "test days; no fold has days enough for an interval."),
    ],
)  # fmt: skip
def test_folds_of_a_long_part_have_its_blocks_of_a_year(
    long_walk: JudgedPanel, lengths: tuple[int, int], said: str
) -> None:
    (cell,) = long_walk.cells
    dates = cell.cell.test.dates
    folds = [
        fold(str(dates[first]), str(dates[first + length - 1]), length)
        for first, length in zip((0, lengths[0]), lengths, strict=True)
    ]
    section = walk_section(with_cell(long_walk, folds=folds))
    assert section is not None
    # Five blocks of 250 days, where a fold by itself would be resampled in blocks of 20.
    assert section.sentences[0].endswith(said)
    rows = by_period(section.tables[0])
    has_interval = [rows[f"fold {number}"][3].low is not None for number in (1, 2)]
    assert has_interval == [length >= 1_250 for length in lengths]


def test_a_seed_that_lacks_a_fold_is_named(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, n_days=100, rivals={"ridge": 0.0}, folds=walked())
    # Three runs are one seed of both folds, and another of one.
    (cell,) = judged(tmp_path).cells
    assert "1 of 2 seeds left out, for want of a fold's answers" in cell.notes


def test_without_folds_or_a_refit_there_is_no_section(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, n_days=60, rivals={"ridge": 0.0})
    panel = judged(tmp_path)
    assert walk_section(panel) is None
    assert refit_section(panel) is None


def test_a_refit_says_from_how_many_days_and_epochs(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, n_days=60, rivals={"ridge": 0.0}, with_validation=True)
    panel = judged(tmp_path)
    section = refit_section(panel)
    assert section is not None
    assert section.sentences[0] == (
        "1000, 5 days ahead: the runs learn from 600 days up to 2002-06-01, the validation days "
        "among them, where those of the search had 300; their schedules have 8 epochs, the median "
        "of the best epochs with fresh seeds, where those of the search had 20."
    )
    assert section in build_panel(panel).sections


def test_a_search_on_folds_says_that_its_scores_are_no_forecasts(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, n_days=60, rivals={"ridge": 0.0}, with_validation=True)
    file = tmp_path / cell_name(1000, 5) / CELL_FILE
    folds = {
        "kind": "purged_k_fold", "n_folds": 5, "groups": 5, "validation_groups": 1,
        "train_rows": [200, 210], "rows": 600, "base_rate": None, "first_day": "2000-01-03",
        "last_day": "2002-06-01",
    }  # fmt: skip
    file.write_text(file.read_text() + f"search_folds: {folds}\n".replace("None", "null"))
    panel = judged(tmp_path)
    found = build_panel(panel)
    assert any(
        fact.startswith("Searched on 600 days of 5 purged folds of 2000-01-03")
        for fact in found.facts
    )
    section = refit_section(panel)
    assert section is not None
    assert "where those of the search had 200 to 210 by fold;" in section.sentences[0]
