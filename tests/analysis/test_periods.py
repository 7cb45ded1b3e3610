"""The section of a report on decades and drift."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analysis.answers.final_answers import baselines_section, blocks_sentence
from analysis.answers.period_answer import periods_section
from analysis.cell_judgement import JudgedHorizon, judge_study
from analysis.statistics.comparison import paired_difference
from analysis.statistics.day_resampling import resampled_days
from analysis.statistics.interval import Estimate
from analysis.study_records import read_study
from tests.analysis.records import FORETOLD, fold, write_study


def test_test_days_of_one_decade_have_no_section(tmp_path: Path) -> None:
    write_study(tmp_path, {1000: 0.2}, horizons=(1,), n_days=300)
    assert periods_section(judge_study(read_study(tmp_path, None))) is None


def test_folds_whose_inputs_drift_are_named_with_the_input_that_moved_most(tmp_path: Path) -> None:
    write_study(tmp_path, {1000: 0.2, 2000: 0.2}, horizons=(1,), n_days=300)
    (judged,) = judge_study(read_study(tmp_path, None))

    def walked(*shifts: float | None) -> JudgedHorizon:
        """Return the cells with a fold for each shift, the second cell's half as large."""
        cells = []
        for cell, factor in zip(judged.cells, (1.0, 0.5), strict=True):
            folds = [
                dataclasses.replace(
                    fold(f"200{year}-01-02", f"200{year}-12-31", 250),
                    largest_shift=shift and factor * shift,
                    largest_shift_input="Volume",
                    max_shift=3.0,
                )
                for year, shift in enumerate(shifts)
            ]
            cells.append(
                dataclasses.replace(cell, final=dataclasses.replace(cell.final, folds=folds))
            )
        return dataclasses.replace(judged, cells=cells)

    section = periods_section([walked(1.0, -4.0, None, 3.6)])
    assert section is not None
    assert section.title == "Do the inputs drift?"
    assert section.sentences == [
        "In 2 of 4 folds of test days the inputs drift more than a search may begin with, from the "
        "mean of the training days to that of the validation days, in training standard "
        "deviations: 2001-01-02 to 2001-12-31 (Volume by -4.0, above 3); 2003-01-02 to 2003-12-31 "
        "(Volume by +3.6, above 3)."
    ]
    assert periods_section([walked(1.0, -3.0, None)]) is None


@pytest.mark.slow
def test_every_decade_is_judged_by_its_own_days(tmp_path: Path) -> None:
    write_study(tmp_path, {1000: 0.02, 4000: 1.5}, horizons=(1,), n_days=660)
    study = read_study(tmp_path, None)
    for cell in study.cells:
        assert cell.table is not None
        # Every tenth day, so that the test days are 1999-10-30 to 2017-11-14.
        age = cell.table["date"] - cell.table["date"].min()
        cell.table["date"] = np.datetime64("1981-10-04") + 10 * age
    (judged,) = judge_study(study)
    section = periods_section([judged])
    assert section is not None
    losses, leads = section.tables
    assert losses.columns == (
        "model", "2000s (365 days)", "2010s (288 days)", "all days (660 days)",
    )  # fmt: skip
    assert losses.caption.endswith("Too few days for a decade of their own: 1990s (7 days).")
    test = judged.cells[0].test
    rows = {str(row[0]): row[1:] for row in losses.rows}
    assert rows["share of positives"] == pytest.approx(
        [test.y[7:372].mean(), test.y[372:].mean(), test.y.mean()]
    )
    for name, days in ((0, slice(7, 372)), (1, slice(372, None)), (2, slice(None))):
        found = rows["logistic"][name]
        assert isinstance(found, Estimate)
        assert found.value == pytest.approx(test.losses("logistic")[:, days].mean())
        lead = leads.rows[0][1 + name]
        assert isinstance(lead, Estimate)
        own = judged.cells[0].losses[:, days] - test.losses("logistic")[:, days]
        assert lead.value == pytest.approx(own.mean())
    near, far = section.sentences
    rest = "not corrected for the number of decades (2)."
    assert near.endswith(f"by decade its interval lies below zero in the 2010s, {rest}")
    assert far.endswith(f"by decade its interval lies above zero in the 2000s, 2010s, {rest}")

    one, two = (cell.losses for cell in judged.cells)
    reached = paired_difference(one, two, resampled_days(660, 1)).se
    said = (
        f"the standard error of one is {reached:.4f} nats ({reached:.4f} to {reached:.4f} over 1 "
        "pair) between means of 5 runs"
    )
    *_, text = baselines_section([judged]).sentences
    assert "Blocks have 20 days on average. " in text
    assert text.endswith(f"{said}; the plan foretold {FORETOLD:.4f} between single runs.")
    # Plans of before foretold the difference of two simple models, without a share.
    for winner in judged.cells:
        del winner.records.searched["power"]["share"]
    assert baselines_section([judged]).sentences[-1].endswith(f"{said}.")


def test_blocks_of_a_year_are_said_with_how_much_more_windows_of_years_differ() -> None:
    assert blocks_sentence(5, 712) == "Blocks have 20 days on average."
    said = blocks_sentence(1, 7_302)
    assert said.startswith("Blocks have 250 days on average; even so, means of windows of 712 days")


@pytest.mark.slow
def test_the_skill_of_a_walk_is_against_the_base_rate_of_each_fold(tmp_path: Path) -> None:
    write_study(tmp_path, {1000: 0.02}, horizons=(1,), n_days=300)
    study = read_study(tmp_path, None)
    table = study.cells[0].table
    assert table is not None
    folds = table["date"] < "2003-01-15"
    is_constant = table["model"] == "constant"
    table.loc[is_constant & folds, "p"] = 0.2
    table.loc[is_constant & ~folds, "p"] = 0.6
    (judged,) = judge_study(study)
    own = judged.cells[0]
    constant, mean = own.test.losses("constant").mean(), own.losses.mean()
    assert len(np.unique(own.test.p["constant"])) == 2
    assert own.own.skill_train_prior.value == pytest.approx(1 - mean / constant)
