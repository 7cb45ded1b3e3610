"""Ray's readers open the folder of a search that was simulated without Ray."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ray import tune

from study.errors import StudyError
from study.results.records import TrialRecord, best_trial
from study.results.store import read_trials
from study.tuner.ray_results import write_ray_results
from study.tuner.trainable import CellTrainable
from tests.results.cells import write_cell
from tests.results.conftest import record


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    return write_cell(tmp_path, "demo", ended=4, epochs=3)


def changed(trial: TrialRecord, **changes: object) -> TrialRecord:
    return record(trial.number, folder=trial.folder, **changes)


def test_the_best_trial_is_that_of_the_records_and_no_failed_or_collapsed_one(cell: Path) -> None:
    trials = read_trials(cell)
    records = [
        changed(trials[0], reason="collapsed", value=0.1),
        changed(trials[1], value=0.4),
        changed(trials[2], value=0.3, reason="asha"),
        changed(trials[3], value=0.2, reason="error", message="it broke"),
    ]
    (cell / trials[3].folder / "error.txt").write_text("it broke, with a traceback")
    write_ray_results(cell, records, CellTrainable)
    grid = tune.Tuner.restore(str(cell), trainable=CellTrainable).get_results()
    best, known = grid.get_best_result(), best_trial(records)
    assert known is not None
    assert best.metrics["trial_id"] == known.trial_id == "id2"
    assert best.metrics["objective"] == known.objective
    assert [result.metrics.get("objective") for result in grid] == [None, 0.4, 0.3, None]
    (error,) = grid.errors
    assert "it broke, with a traceback" in str(error)
    assert (grid.num_errors, grid.num_terminated) == (1, 3)


def test_a_trial_that_ended_before_its_first_epoch_has_its_record_alone(cell: Path) -> None:
    (trial, *_) = read_trials(cell)
    (cell / trial.folder / "result.json").unlink()
    ended = changed(
        trial, reason="oom", value=None, epochs_trained=0, assigned_cpus=None, assigned_gpus=None
    )
    write_ray_results(cell, [ended], CellTrainable)
    (result,) = tune.Tuner.restore(str(cell), trainable=CellTrainable).get_results()
    assert result.metrics["record"]["reason"] == "oom"
    assert result.checkpoint is None
    assert result.metrics_dataframe.empty


@pytest.mark.parametrize(
    "damage", ["{", "3", '{"epoch"', '{"loss": 1}', "\x00", "[1]", '{"epoch": "x"}']
)
def test_a_damaged_report_costs_no_more_than_itself(cell: Path, damage: str) -> None:
    records = read_trials(cell)
    with (cell / records[0].folder / "result.json").open("a") as file:
        file.write(damage + "\n")
    write_ray_results(cell, records, CellTrainable)
    (result, *_) = tune.Tuner.restore(str(cell), trainable=CellTrainable).get_results()
    assert result.metrics["epoch"] == 3


def test_a_folder_that_was_copied_is_read_where_it_lies(cell: Path, tmp_path: Path) -> None:
    records = read_trials(cell)
    (cell / records[0].folder / "checkpoints").mkdir()
    write_ray_results(cell, records, CellTrainable)
    there = tmp_path / "elsewhere" / "copy"
    shutil.copytree(cell, there)
    shutil.rmtree(cell)
    analysis = tune.ExperimentAnalysis(str(there))
    assert analysis.get_best_trial("objective", "min").path == str(there / records[0].folder)
    (result, *_) = tune.Tuner.restore(str(there), trainable=CellTrainable).get_results()
    assert result.checkpoint.path == str(there / records[0].folder / "checkpoints")
    assert len(result.metrics_dataframe) == 3


def test_ray_is_not_let_go_on_with_a_search(cell: Path) -> None:
    write_ray_results(cell, read_trials(cell), CellTrainable)
    before = sorted(cell.rglob("*"))
    tuner = tune.Tuner.restore(str(cell), trainable=CellTrainable)
    with pytest.raises(StudyError, match=r"Tuner\.fit: .* Repeat the .*--resume"):
        tuner.fit()
    # The call is refused before anything is written.
    assert sorted(cell.rglob("*")) == before


def test_what_is_written_again_replaces_what_was_there(cell: Path) -> None:
    records = read_trials(cell)
    for known in (records[:2], records):
        write_ray_results(cell, known, CellTrainable)
        names = [path.name for path in cell.iterdir() if path.is_file()]
        assert len(tune.ExperimentAnalysis(str(cell)).trials) == len(known)
    assert sorted(name for name in names if "state" in name or name.endswith("pkl")) == [
        "experiment_state-search.json",
        "tuner.pkl",
    ]


@pytest.mark.slow
def test_the_example_prints_the_best_trial(cell: Path) -> None:
    records = [changed(each, value=0.5 - each.number / 100) for each in read_trials(cell)]
    write_ray_results(cell, records, CellTrainable)
    example = Path(__file__).parent.parent.parent / "examples" / "read_with_ray.py"
    done = subprocess.run(
        [sys.executable, example, cell], capture_output=True, text=True, check=True, timeout=120
    )
    assert "best: trial 3, 0.4700" in done.stdout
