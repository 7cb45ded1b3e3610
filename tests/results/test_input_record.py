import dataclasses

import pytest

from study.results.plans.input_record import InputRecord, SearchFoldsRecord
from study.results.status_files import Description

FOLDS = SearchFoldsRecord(
    kind="combinatorial_purged", n_folds=15, groups=6, validation_groups=2,
    train_rows=(1077,) * 14 + (1099,), rows=1661, base_rate=0.17, first_day="1983-05-25",
    last_day="1989-12-14",
)  # fmt: skip
INPUTS = InputRecord(
    n_rows=9035, fold_train_rows=(1144,), n_features=25, features=(), splits={}, understood="",
    warnings=(),
)  # fmt: skip


def test_the_folds_of_a_search_say_what_they_cost_and_what_they_break() -> None:
    assert FOLDS.sentence == (
        "15 purged folds of 1983-05-25 to 1989-12-14: each trial trains 15 networks, on 1,077 to "
        "1,099 days; a day is judged 5 times by networks that learned from later days too, so its "
        "loss is no forecast: only the test days show that. The parts shown are those of the final "
        "runs"
    )
    k_fold = dataclasses.replace(FOLDS, n_folds=5, groups=5, validation_groups=1, train_rows=(9,))
    assert "each trial trains 5 networks, on 9 days; a day is judged by networks" in k_fold.sentence
    of_panel = dataclasses.replace(FOLDS, base_rate=None)
    assert "so its score is no forecast" in of_panel.sentence


def test_a_search_without_folds_is_described_as_before_there_were_any() -> None:
    assert "search_folds" not in INPUTS.to_json()
    folded = dataclasses.replace(INPUTS, search_folds=FOLDS).to_json()
    assert SearchFoldsRecord.of(folded) == FOLDS
    assert SearchFoldsRecord.of(INPUTS.to_json()) is None


@pytest.mark.parametrize(
    ("folds", "n_train"),
    [({}, 3304), ({"search_folds": {"train_rows": [3206, 3215]}}, 6421), ({"splits": {}}, None)],
)
def test_the_samples_of_an_epoch_are_those_of_all_folds(
    folds: dict[str, object], n_train: int | None
) -> None:
    described = {"splits": {"train": {"rows": 3304}}, **folds}
    assert Description.from_json(described).n_train == n_train
