"""The cells of a study side by side, where their test days are folds or differ."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analysis.answers.selection_answer import selection_section
from analysis.cell_judgement import judge_study
from analysis.study_records import read_study
from study.errors import StudyError
from tests.analysis.records import fold, write_study


def test_a_winner_of_folds_is_judged_for_luck_on_the_days_of_the_first(tmp_path: Path) -> None:
    write_study(tmp_path, {1000: 0.02}, horizons=(1,), n_days=300)
    study = read_study(tmp_path, None)
    (cell,) = study.cells
    assert cell.final is not None
    # The test days are 2002-10-28 to 2003-08-23, of which the first fold has 120.
    folds = [fold("2002-10-28", "2003-02-24", 120), fold("2003-02-25", "2003-08-23", 180)]
    walked = dataclasses.replace(cell, final=dataclasses.replace(cell.final, folds=folds))
    (judged,) = judge_study(dataclasses.replace(study, cells=[walked]))
    (own,) = judged.cells
    assert own.optimism is not None
    lead = own.losses - own.test.losses("logistic")
    assert own.optimism.later.value == pytest.approx(lead[:, :120].mean())
    sentence = selection_section([judged]).sentences[0]
    assert "to the test days of the first fold (2002-10-28 to 2003-02-24) the winners" in sentence


def test_a_seed_without_the_answers_of_a_fold_is_counted(tmp_path: Path) -> None:
    write_study(tmp_path, {1000: 0.02}, horizons=(1,), n_days=300)
    study = read_study(tmp_path, None)
    (cell,) = study.cells
    assert cell.final is not None
    folds = [fold("2002-10-28", "2003-02-24", 120), fold("2003-02-25", "2003-08-23", 180)]
    whole, *_ = cell.final.runs
    broken = dataclasses.replace(whole, reason="error", is_rankable=False)
    final = dataclasses.replace(cell.final, folds=folds, runs=[whole, whole, whole, broken])
    walked = dataclasses.replace(cell, final=final)
    (judged,) = judge_study(dataclasses.replace(study, cells=[walked]))
    assert "1 of 2 seeds left out, for want of a fold's answers" in judged.cells[0].notes


def test_the_luck_of_all_winners_is_judged_on_the_same_samples_of_days(tmp_path: Path) -> None:
    # Horizon 10 has blocks of 40 days, and horizon 1 alone has blocks of 20.
    write_study(tmp_path, {1000: 0.02}, horizons=(1, 10), n_days=300)
    study = read_study(tmp_path, None)
    one, ten = (cell.optimism for each in judge_study(study) for cell in each.cells)
    assert one is not None
    assert ten is not None
    # Only the noise of the answers differs. With blocks of its own each has .55 here.
    assert np.corrcoef(one.spread, ten.spread)[0, 1] > 0.9


def test_cells_of_a_horizon_with_other_test_days_are_refused_in_one_line(tmp_path: Path) -> None:
    write_study(tmp_path, {1000: 0.02, 4000: 1.5}, horizons=(1,), n_days=50)
    study = read_study(tmp_path, None)
    table = study.cells[1].table
    assert table is not None
    table["date"] += np.timedelta64(1, "D")
    with pytest.raises(
        StudyError,
        match=r"^demo_4000_h1\S+: must have the days of demo_1000_h1\S+, but got other test days",
    ) as refused:
        judge_study(study)
    assert "\n" not in str(refused.value)
