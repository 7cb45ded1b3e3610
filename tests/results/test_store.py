import csv
import json
from pathlib import Path

import pytest

from study.errors import StudyError
from study.results.records import best_trial
from study.results.store import CSV_COLUMNS, CellIdentity, CellStore, read_cell, read_trials
from tests.results.conftest import record

IDENTITY = CellIdentity(
    name="demo_2M_h1_threshold_1pct",
    study="demo",
    budget="2M",
    horizon=1,
    task="threshold_1pct",
    data_sha256="abc",
    versions={"torch": "2.13.0"},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cell = tmp_path / IDENTITY.name
    cell.mkdir()
    return cell


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder.parent / "experiment_results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_written_is_what_is_read(folder: Path) -> None:
    store = CellStore(folder, IDENTITY)
    trials = [
        record(0),
        record(1, value=None, reason="diverged", best_epoch=None, skill=None, auc=None),
        record(2, reason="error", message="RuntimeError: 'quoted', with, commas\nand lines"),
    ]
    for trial in trials:
        store.add_trial(trial)
    assert read_trials(folder) == trials
    assert CellStore(folder, IDENTITY).records == trials


def test_a_collapsed_or_failed_trial_is_never_the_best(folder: Path) -> None:
    store = CellStore(folder, IDENTITY)
    store.add_trial(record(0, value=0.1, reason="collapsed"))
    store.add_trial(record(1, value=0.2, reason="diverged"))
    assert store.best is None
    assert not (folder / "best_params.json").exists()
    store.add_trial(record(2, value=0.4, reason="asha"))
    store.add_trial(record(3, value=0.3, reason="early_stopping"))
    assert store.best == record(3, value=0.3, reason="early_stopping")
    best = json.loads((folder / "best_params.json").read_text())
    assert best["best_val_loss"] == 0.3
    counts = [best[f"n_trials{kind}"] for kind in ("", "_completed", "_pruned", "_failed")]
    assert counts == [4, 1, 1, 2]


def test_the_earliest_of_equals_is_the_best() -> None:
    best = best_trial([record(2), record(1), record(3)])
    assert best is not None
    assert best.number == 1


def test_the_table_has_one_row_per_run_however_often_it_is_written(folder: Path) -> None:
    store = CellStore(folder, IDENTITY)
    store.add_trial(record(0))
    store.add_trial(record(0))
    CellStore(folder, IDENTITY).add_trial(record(0))
    CellStore(folder, IDENTITY).add_trial(record(1, value=None, message="a,b\nc", reason="error"))
    table = rows(folder)
    assert tuple(table[0]) == CSV_COLUMNS
    assert [row["run_id"] for row in table] == [f"{IDENTITY.name}/id0", f"{IDENTITY.name}/id1"]
    assert table[1]["val_loss"] == ""
    assert table[1]["status"] == "failed"
    assert table[1]["error_message"] == "a,b c"
    assert json.loads(table[0]["hyperparameters"])["d_model"] == 64


def test_epochs_of_a_trial_are_kept_in_order(folder: Path) -> None:
    store = CellStore(folder, IDENTITY)
    (folder / "trial_0000").mkdir()
    for epoch in (1, 2):
        store.add_epoch("trial_0000", {"epoch": epoch, "validation_loss": 0.5})
    store.add_trial(record(0))
    metrics = json.loads((folder / "trial_0000" / "metrics.json").read_text())
    assert [epoch["epoch"] for epoch in metrics["learning_curve"]] == [1, 2]


def test_a_record_with_a_missing_field_is_refused(folder: Path) -> None:
    (folder / "all_trials.json").write_text('[{"number": 0}]')
    with pytest.raises(StudyError, match=r"all_trials\.json"):
        read_trials(folder)
    with pytest.raises(StudyError, match=r"cell\.yaml"):
        read_cell(folder)
