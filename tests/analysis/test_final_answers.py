"""What is said of winners and baselines on test days counts those that are there."""

import dataclasses
from pathlib import Path

import pytest

from analysis.answers.final_answers import standing_sentence, winners_section
from analysis.cell_judgement import JudgedHorizon, judge_study
from analysis.statistics.comparison import Difference, Standing
from analysis.statistics.interval import Estimate
from analysis.study_records import read_study
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
