"""A new search imports the trials of an old one, and keeps them after a restart."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest

from study.data.dataset import Dataset, build_dataset
from study.errors import SpecError, StudyError
from study.results.records import TrialRecord
from study.results.store import CellIdentity, CellStore, write_cell
from study.search.cell_folder import identity
from study.search.known.earlier_trials import import_trials
from study.search.space import SampleShape, TrialConfig, build_space
from study.spec.dimension import Fixed
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from tests.results.conftest import record
from tests.search.simulated_search import CELL, SPACE, SPACES, known, new_ledger, play, reopened

CONFIGS = list(SPACE.configs())
FOLDER_OF = CellIdentity(
    name="old",
    study="smoke",
    budget="50k",
    phase=None,
    metric="log_loss",
    horizon=1,
    task="t",
    data_sha256="",
    versions={},
)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return build_dataset(CELL.data)


def trial(number: int, **changes: Any) -> TrialRecord:
    params = CONFIGS[number].flat()
    fields = {
        "params": params,
        "epochs_trained": params["epochs"],
        "value": round(0.5 + 0.01 * number, 2),
    }
    return record(number, **{**fields, **changes})


@pytest.fixture
def old(tmp_path: Path, data: Dataset) -> Path:
    """Return the folder of a search with a trial of every kind of end."""
    folder = tmp_path / "old"
    folder.mkdir()
    write(folder, [
        trial(0, value=0.58),
        trial(1, reason="asha", epochs_trained=1, value=0.51),
        trial(2, reason="collapsed", value=0.1),
        trial(3, reason="diverged", value=None),
        trial(4, reason="early_stopping", value=0.55),
        trial(5), trial(6), trial(7), trial(8),
    ])  # fmt: skip
    write_cell(folder, described(folder, data))
    return folder


def write(folder: Path, records: list[TrialRecord]) -> None:
    CellStore(folder, FOLDER_OF).write_trials(records)


def described(folder: Path, data: Dataset) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(identity(CELL, data, folder)))
    return {**plain, "metric": CELL.search.metric}


def test_trials_of_the_same_question_are_known(old: Path, data: Dataset) -> None:
    found = import_trials(old, CELL, data, SPACE)
    assert found.incomparable is None
    assert found.n_outside == 0
    assert [(row.state, row.value, row.percent) for row in found.known] == [
        ("COMPLETE", 0.58, 100), ("PRUNED", 0.51, 50), ("FAIL", 0.1, 100), ("FAIL", None, 100),
        ("COMPLETE", 0.55, 100), ("COMPLETE", 0.55, 100), ("COMPLETE", 0.56, 100),
        ("COMPLETE", 0.57, 100), ("COMPLETE", 0.58, 100),
    ]  # fmt: skip
    assert [TrialConfig.from_flat(row.params) for row in found.known] == CONFIGS[:9]
    assert found.describe() == "the sampler knows 9 old trials; the best 5 are trained again"


def test_the_best_usable_trials_are_trained_again_in_order(old: Path, data: Dataset) -> None:
    found = import_trials(old, CELL, data, SPACE)
    sources = [row.source for row in found.again]
    assert sources == [f"imported:{number}" for number in (1, 4, 5, 6, 7)]
    configs = [TrialConfig.from_flat(row.params) for row in found.again]
    assert configs == [CONFIGS[number] for number in (1, 4, 5, 6, 7)]


def test_the_best_trials_are_trained_again_with_a_longer_schedule(old: Path, data: Dataset) -> None:
    longer = dataclasses.replace(CELL, train={**CELL.train, "epochs": Fixed(30)})
    space = build_space(longer, n_features=25)
    found = import_trials(old, longer, data, space)
    # Losses of schedules of another length are no evidence.
    assert (found.known, found.n_rescheduled, found.n_outside) == ([], 9, 0)
    assert [row.source for row in found.again] == [f"imported:{n}" for n in (1, 4, 5, 6, 7)]
    for row, number in zip(found.again, (1, 4, 5, 6, 7), strict=True):
        assert row.params == {**CONFIGS[number].flat(), "epochs": 30}
        assert space.contains(TrialConfig.from_flat(row.params))
    assert found.describe() == (
        "the sampler knows 0 old trials, 9 had schedules of other lengths; the best 5 are trained "
        "again"
    )


@pytest.mark.parametrize(
    ("overrides", "horizon", "changes", "reason"),
    [
        ({}, 3, {}, "horizon"),
        ({"task": "threshold_2pct"}, 3, {}, "horizon, task"),
        ({}, 1, {"fingerprint": "0000"}, "data_sha256"),
        ({}, 1, {"feature_hash": "1111"}, "feature_hash"),
        ({"task": "direction"}, 1, {"fingerprint": "0000"}, "task, data_sha256"),
    ],
)
def test_losses_of_another_question_are_not_known(
    old: Path,
    data: Dataset,
    overrides: dict[str, Any],
    horizon: int,
    changes: dict[str, Any],
    reason: str,
) -> None:
    study = load_study(SPACES / "smoke.yaml")
    cell = study.cell("50k", horizon, Overrides(data=overrides))
    found = import_trials(old, cell, dataclasses.replace(data, **changes), SPACE)
    assert found.incomparable == reason
    assert found.known == []
    assert len(found.again) == 5
    assert found.describe() == (
        f"the sampler does not know the old losses: other {reason}; the best 5 are trained again"
    )


def test_scores_by_another_metric_are_not_known(old: Path, data: Dataset) -> None:
    search = dataclasses.replace(CELL.search, metric="auc")
    found = import_trials(old, dataclasses.replace(CELL, search=search), data, SPACE)
    assert (found.incomparable, found.known) == ("metric", [])


def test_another_search_of_the_same_question_is_comparable(old: Path, data: Dataset) -> None:
    search = dataclasses.replace(CELL.search, seed=7, trials=99)
    found = import_trials(old, dataclasses.replace(CELL, search=search), data, SPACE)
    assert found.incomparable is None


def test_trials_outside_of_the_space_are_counted_and_left_out(old: Path, data: Dataset) -> None:
    width = SPACE.shapes[-1].d_model
    narrower = dataclasses.replace(
        SPACE, shapes=tuple(row for row in SPACE.shapes if row.d_model != width)
    )
    inside = [n for n in range(9) if narrower.contains(CONFIGS[n])]
    write(old, [trial(n) for n in inside] + [trial(len(CONFIGS) - 1, value=0.1)])
    found = import_trials(old, CELL, data, narrower)
    assert found.n_outside == 1
    assert len(found.known) == len(inside) > 0
    assert found.again[0].source != f"imported:{len(CONFIGS) - 1}"
    assert ", 1 lie outside of the space;" in found.describe()


def test_a_search_without_a_trial_inside_is_refused(old: Path, data: Dataset) -> None:
    other = dataclasses.replace(SPACE, sample_shape=SampleShape(n_features=26))
    with pytest.raises(StudyError, match=r"got 9 trials in .*, none of them inside"):
        import_trials(old, CELL, data, other)
    (old / "all_trials.json").unlink()
    with pytest.raises(StudyError, match="must be the folder of a cell, with its all_trials"):
        import_trials(old, CELL, data, SPACE)


def test_a_folder_that_cannot_be_read_is_refused(old: Path, data: Dataset) -> None:
    with pytest.raises(StudyError, match="must be the folder of a cell, with its all_trials"):
        import_trials(old / "absent", CELL, data, SPACE)
    text = (old / "all_trials.json").read_text()
    (old / "all_trials.json").write_text(text.replace('"d_model"', '"width"'))
    with pytest.raises(
        StudyError, match=r"\[0\]: params: must be a mapping with the field d_model"
    ):
        import_trials(old, CELL, data, SPACE)
    (old / "all_trials.json").write_text(text[:-20])
    with pytest.raises(StudyError, match=r"all_trials\.json: must be JSON"):
        import_trials(old, CELL, data, SPACE)
    (old / "all_trials.json").write_text(text)
    (old / "cell.yaml").write_text("search: [")
    # The data of the losses are then unknown, but the configurations can be read.
    found = import_trials(old, CELL, data, SPACE)
    assert found.known == []
    assert len(found.again) == 5


def test_a_folder_that_says_nothing_of_its_data_is_not_comparable(old: Path, data: Dataset) -> None:
    write_cell(old, {"search": "abcd"})
    found = import_trials(old, CELL, data, SPACE)
    assert found.known == []
    assert found.incomparable is not None
    assert "data_sha256" in found.incomparable


def test_a_trial_is_known_at_the_percent_at_which_it_was_reported(
    tmp_path: Path, data: Dataset
) -> None:
    space = build_space(load_study(SPACES / "origin.yaml").cell("2M", 1), 25)
    params = next(iter(space.configs())).flat()
    lengths = [(1, 75), (29, 50), (29, 100), (57, 100), (74, 75), (100, 100)]
    write(tmp_path, [
        record(number, params={**params, "epochs": total}, epochs_trained=epoch)
        for number, (epoch, total) in enumerate(lengths)
    ])  # fmt: skip
    write_cell(tmp_path, described(tmp_path, data))
    found = import_trials(tmp_path, CELL, data, space)
    # As ``study.training.trainer`` counts it.
    expected = [100 * epoch // total for epoch, total in lengths]
    assert [row.percent for row in found.known] == expected


def test_a_ledger_trains_them_after_the_forced_ones_and_knows_them_after_a_restart(
    tmp_path: Path, old: Path, data: Dataset
) -> None:
    found = import_trials(old, CELL, data, SPACE)
    ledger = new_ledger(tmp_path / "cell")
    ledger.learn(found.known, found.again)
    # Two of the nine failed, and the sampler learns nothing from a failure.
    assert len(ledger.history()) == 7
    assert [course for *_, course in ledger.history()][:2] == [{100: 0.58}, {50: 0.51}]
    assert known(reopened(tmp_path / "cell")) == known(ledger)
    play(ledger, random.Random(0), 1, {})
    again = reopened(tmp_path / "cell")
    assert known(again) == known(ledger)
    sources = [again.assignment(number).source for number in again.numbers]
    forced = [again.assignment(number).config for number in range(6)]
    new = [row for row in found.again if TrialConfig.from_flat(row.params) not in forced]
    # One of the best five is forced here anyway.
    assert len(new) == 4
    assert sources[6:] == [*(row.source for row in new), "sampled", "sampled"]
    imported = [again.assignment(number).config for number in range(6, 10)]
    assert imported == [TrialConfig.from_flat(row.params) for row in new]


@pytest.mark.slow
def test_a_restart_between_imported_trials_goes_on_with_the_next(
    tmp_path: Path, old: Path, data: Dataset
) -> None:
    found = import_trials(old, CELL, data, SPACE)
    ledger = new_ledger(tmp_path / "cell")
    ledger.learn(found.known, found.again)
    sources = []
    for _ in range(12):
        ledger = reopened(tmp_path / "cell")
        asked = [ledger.next() for _ in range(len(ledger.numbers) + 1)]
        assert asked[-1] is not None
        sources.append(asked[-1].source)
    kinds = [source.split(":")[0] for source in sources]
    assert kinds == ["forced"] * 6 + ["imported"] * 4 + ["sampled"] * 2
    assert len(set(sources[:10])) == 10
    assert reopened(tmp_path / "cell").next() is not None


def test_what_is_known_guides_the_first_draw(tmp_path: Path, old: Path, data: Dataset) -> None:
    found = import_trials(old, CELL, data, SPACE)
    drawn = []
    for name, known_trials in (("one", found.known), ("two", [])):
        ledger = new_ledger(tmp_path / name)
        ledger.learn(known_trials, [])
        play(ledger, random.Random(0), 1, {})
        drawn.append(ledger.assignment(6))
    assert [each.source for each in drawn] == ["sampled", "sampled"]
    assert drawn[0].config != drawn[1].config
    assert drawn[0].config not in CONFIGS[:9]


def test_old_trials_come_before_the_first_new_one(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    ledger.next()
    with pytest.raises(SpecError, match="old trials must be known before the first new one"):
        ledger.learn([], [])
