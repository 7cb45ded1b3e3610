"""What is said of winners and baselines on test days counts those that are there."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analysis.answers.final_answers import baselines_section, standing_sentence, winners_section
from analysis.cell_judgement import JudgedHorizon, judge_study
from analysis.statistics.comparison import Difference, Standing
from analysis.statistics.interval import Estimate
from analysis.study_records import read_study
from study.results.finals.final_records import LOGISTIC, ORACLE
from study.results.records import BEYOND
from tests.analysis.records import N_TRIALS, write_study

BETTER = Estimate(value=-0.1, low=-0.12, high=-0.08, se=0.01)


@pytest.mark.parametrize("n", [9, 10])
def test_a_winner_is_better_than_as_many_baselines_as_it_was_compared_with(n: int) -> None:
    differences = [
        Difference(
            model="2M", other=f"baseline {i}", difference=BETTER, excludes_zero=True, survives=True
        )
        for i in range(n)
    ]
    sentence = standing_sentence("2M", 1, Standing(differences=differences))
    assert sentence.startswith(f"2M, 1 day ahead: better than each of {n} baselines; ")


@pytest.fixture(scope="module")
def horizon(tmp_path_factory: pytest.TempPathFactory) -> JudgedHorizon:
    path: Path = tmp_path_factory.mktemp("study")
    write_study(path, {10_000: 0.3, 20_000: 0.2}, horizons=(1,), n_days=60)
    (horizon,) = judge_study(read_study(path, None))
    return horizon


def test_each_winner_stands_beside_the_number_of_trials_of_its_search(
    horizon: JudgedHorizon,
) -> None:
    before = winners_section([horizon])
    first, second = horizon.cells
    beyond = [
        dataclasses.replace(trial, number=N_TRIALS + trial.number, source=BEYOND)
        for trial in first.records.trials[:3]
    ]
    records = dataclasses.replace(first.records, trials=[*first.records.trials, *beyond])
    cells = [dataclasses.replace(first, records=records), second]
    after = winners_section([dataclasses.replace(horizon, cells=cells)])
    place = list(after.tables[0].columns).index("trials searched")
    assert [row[place] for row in before.tables[0].rows] == [12, 12]
    assert [row[place] for row in after.tables[0].rows] == [15, 12]
    said = "Each winner is the best of 12 to 15 trials, those beyond an edge of the file among them"
    assert said in after.sentences[0]
    assert "trials" not in before.sentences[0]


def test_the_mean_of_the_seeds_probabilities_stands_beside_the_baselines(
    horizon: JudgedHorizon,
) -> None:
    section = baselines_section([horizon])
    (means,) = [table for table in section.tables if table.columns[0] == "mean of probabilities"]
    cell, test = horizon.cells[0], horizon.cells[0].test
    seeds, logistic = test.p[cell.final.model], test.p[LOGISTIC][0]
    mean = seeds.mean(axis=0)
    name = f"10000, mean of {len(seeds)} seeds"
    for row_name, p in ((name, mean), (f"{name} and {LOGISTIC}", (mean + logistic) / 2)):
        (found,) = [row for row in means.rows if row[:2] == [row_name, LOGISTIC]]
        difference = found[2]
        assert isinstance(difference, Estimate)
        said, theirs = (np.where(test.y == 1, each, 1 - each) for each in (p, logistic))
        assert difference.value == pytest.approx(np.log(theirs / said).mean())
        assert difference.low is not None
        assert difference.high is not None
        assert difference.low < difference.value < difference.high
    # They are a family of their own: with or without them the winners have the same claims.
    assert len(cell.standing.differences) == len(test.p) - 1 - (ORACLE in test.p)
    own = section.numbers[cell.name]
    assert isinstance(own, dict)
    assert list(own["means_of_seeds"]) == [name, f"{name} and {LOGISTIC}"]


def test_one_seed_has_no_mean(tmp_path: Path) -> None:
    write_study(tmp_path, {10_000: 0.3}, horizons=(1,), n_days=60)
    study = read_study(tmp_path, None)
    (cell,) = study.cells
    assert cell.table is not None
    table = cell.table[cell.table["seed"].isna() | (cell.table["seed"] == cell.table["seed"].min())]
    one = dataclasses.replace(study, cells=[dataclasses.replace(cell, table=table)])
    (found,) = judge_study(one)
    assert found.cells[0].means == {}
    assert "mean of probabilities" not in {
        table.columns[0] for table in baselines_section([found]).tables
    }
