"""One cell through the command line, with real Ray, on real prices."""

import csv
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray import tune
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from study.cluster.thermal import measure
from study.errors import StudyError
from study.training.checkpoint import CheckpointFolder
from study.tune import main
from study.tuner.trainable import CellTrainable
from tests.tuner.command import (
    CELL,
    FLAGS,
    epochs_of,
    left_over,
    run,
    start,
    trials,
    wait_until,
    write_space,
)

TRIALS = 8


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a working directory."""
    write_space(tmp_path, trials=TRIALS)
    return tmp_path


def steps(folder: Path, tag: str) -> list[int]:
    """Return the steps of a scalar as TensorBoard shows them, events of every start merged."""
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return [event.step for event in accumulator.Scalars(tag)]


def hparams(folder: Path) -> dict[str, Any]:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    content = accumulator.PluginTagToContent(metadata.PLUGIN_NAME)
    assert metadata.SESSION_START_INFO_TAG in content
    assert metadata.SESSION_END_INFO_TAG in content
    data = plugin_data_pb2.HParamsPluginData.FromString(content[metadata.SESSION_START_INFO_TAG])
    values = data.session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def check_records(here: Path) -> None:
    folder = here / "ray_results" / CELL
    rows = trials(here)
    assert [row["number"] for row in rows] == list(range(TRIALS))
    # With few trials, a quarter of them are extremes, and the others wait.
    assert [row["source"].split(":")[0] for row in rows] == ["forced"] * 2 + ["sampled"] * 6
    assert {row["reason"] for row in rows} <= {"completed", "asha", "collapsed"}
    for row in rows:
        trial_folder = folder / row["folder"]
        epochs = epochs_of(here, row)
        assert [epoch["epoch"] for epoch in epochs] == list(range(1, row["epochs_trained"] + 1))
        assert row["value"] == min(epoch["validation_loss"] for epoch in epochs)
        assert steps(trial_folder, "validation_loss") == [epoch["epoch"] for epoch in epochs]
        assert 0 < row["peak_memory_bytes"] <= row["granted_memory_bytes"]
        shown = hparams(trial_folder)
        assert shown["budget"] == "50k"
        assert shown["horizon"] == 3
        assert shown["param_count"] == row["param_count"]
        for name, value in row["params"].items():
            assert value is None or shown[name] == value
        metrics = json.loads((trial_folder / "metrics.json").read_text())
        assert metrics["learning_curve"] == epochs
        assert metrics["value"] == row["value"]

    best = json.loads((folder / "best_params.json").read_text())
    rankable = [row for row in rows if row["reason"] != "collapsed"]
    assert best["best_val_loss"] == min(row["value"] for row in rankable)
    assert best["n_trials"] == TRIALS
    assert set(best["architecture"]) == {
        "d_model", "n_layers", "n_heads", "d_ff", "patch_len", "stride",
    }  # fmt: skip
    states = Counter(row["state"] for row in rows)
    assert best["n_trials_completed"] == states["COMPLETE"]
    assert best["n_trials_pruned"] == states["PRUNED"]

    with (here / "ray_results" / "experiment_results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert sorted(int(row["trial_number"]) for row in table) == list(range(TRIALS))
    assert len({row["run_id"] for row in table}) == TRIALS
    values = {row["number"]: row["value"] for row in rows}
    for row in table:
        assert float(row["val_loss"]) == values[int(row["trial_number"])]

    described = yaml.safe_load((folder / "cell.yaml").read_text())
    assert described["spec"]["budgets"][0]["target"] == 50_000
    assert [baseline["name"] for baseline in described["baselines"]] == ["constant", "logistic"]


def check_ray_results(here: Path) -> None:
    """Check that Ray's readers find in the cell's folder what its records hold."""
    folder, rows = here / "ray_results" / CELL, trials(here)
    files = sorted(folder.rglob("*"))
    tuner = tune.Tuner.restore(str(folder), trainable=CellTrainable)
    grid = tuner.get_results()
    analysis = tune.ExperimentAnalysis(str(folder))
    assert (len(grid), grid.num_terminated, grid.num_errors) == (len(rows), len(rows), 0)
    assert analysis.get_all_configs() == {row["trial_id"]: row["params"] for row in rows}
    frame = grid.get_dataframe()
    for place, (row, result) in enumerate(zip(rows, grid, strict=True)):
        *_, last = epochs = epochs_of(here, row)
        assert result.config == row["params"]
        assert last.items() <= result.metrics.items()
        assert result.metrics["record"] == {n: row[n] for n in row if n not in ("params", "state")}
        assert (result.metrics["state"], result.metrics["reason"]) == (row["state"], row["reason"])
        assert result.metrics_dataframe["validation_loss"].tolist() == [
            epoch["validation_loss"] for epoch in epochs
        ]
        assert frame["best_validation_loss"][place] == last["best_validation_loss"] == row["value"]
        assert frame["config/d_model"][place] == row["params"]["d_model"]
        assert Path(result.path) == folder / row["folder"]
        if row["reason"] == "collapsed":
            assert result.checkpoint is None
            continue
        # Ray reads the original files, not a copy.
        with result.checkpoint.as_directory() as checkpoint:
            assert Path(checkpoint) == folder / row["folder"] / "checkpoints"
            assert CheckpointFolder(Path(checkpoint)).load_best()["epoch"] == row["best_epoch"]
    best = json.loads((folder / "best_params.json").read_text())
    found = grid.get_best_result()
    assert found.metrics["record"]["number"] == best["best_trial_number"]
    assert found.metrics["objective"] == best["best_value"]
    assert found.config == best["best_params"]
    assert analysis.get_best_config("objective", "min") == best["best_params"]
    with pytest.raises(StudyError, match=r"resumed from its journal.*--resume"):
        tuner.fit()
    assert sorted(folder.rglob("*")) == files


def dry_run(here: Path) -> dict[str, Any]:
    """Return the plan of a dry run, which writes nothing."""
    output, _ = run(here, "--dry-run", "--json")
    assert not (here / "ray_results").exists()
    plan: dict[str, Any] = json.loads(output)
    assert plan["n_features"] == 25
    assert plan["grid_size"] == 24
    assert 37_500 <= plan["params_min"] <= plan["params_max"] <= 62_500
    assert set(plan["splits"]) == {"train", "validation", "test"}
    for part in plan["splits"].values():
        assert 0 < part["positives"] < part["rows"]
        assert part["effective_size"] < part["rows"]
    assert {slot["name"] for slot in plan["forced"][:2]} == {"shallowest", "widest"}
    assert [slot.get("waits_for_trials") for slot in plan["forced"]] == [None] * 2 + [20] * 4
    assert plan["trial_resources"]["CPU"] == 1
    assert (plan["temperature"]["state"] == "unknown") == (measure().state == "unknown")
    return plan


@pytest.mark.ray
def test_a_search_does_what_its_dry_run_said_and_loses_and_repeats_nothing_when_interrupted(
    here: Path,
) -> None:
    plan = dry_run(here)
    process = start(here)
    wait_until(lambda: len(trials(here)) >= 2, process)
    # A terminal sends Ctrl+C to the whole process group; the workers must survive it.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, output + errors
    assert not left_over(process.pid)
    assert "python -m study.tune" in output
    assert "--resume" in output.splitlines()[-1]
    before = trials(here)
    assert 2 <= len(before) < TRIALS
    log_before = (here / "ray_results" / CELL / "log.txt").read_text()

    output, _ = run(here, "--resume", "--concurrency", "1")
    after = {row["number"]: row for row in trials(here)}
    assert [after[row["number"]] for row in before] == before
    assert (here / "ray_results" / CELL / "log.txt").read_text().startswith(log_before)
    check_records(here)
    check_ray_results(here)
    assert f"{TRIALS} of {TRIALS}" in output
    forced = [row["params"] for row in trials(here)][:2]
    listed = [
        {"budget": slot["budget"], **slot["architecture"], **slot["training"]}
        for slot in plan["forced"][:2]
    ]
    assert forced == [{name: slot[name] for name in forced[0]} for slot in listed]

    more = str(TRIALS + 2)
    output, _ = run(here, "--resume", "--trials", more, "--concurrency", "1")
    assert f"asked for {more} trials, before {TRIALS}" in output
    assert f"{more} of {more}" in output
    assert trials(here)[:TRIALS] == [after[number] for number in sorted(after)]
    assert [row["number"] for row in trials(here)] == list(range(TRIALS + 2))
    # The first command, repeated, does not reduce the number of trials, and repeats none.
    extended = trials(here)
    output, _ = run(here, "--resume")
    assert f"{more} of {more}" in output
    assert trials(here) == extended
    _, errors = run(here, "--resume", "--trials", str(TRIALS + 1), expect=2)
    assert f"has been asked for {more} trials" in errors
    _, errors = run(here, "--resume", "--seed", "7", expect=2)
    assert "spec.search.seed was 42 and is 7" in errors
    _, errors = run(here, expect=2)
    assert "--resume" in errors
    assert "--fresh" in errors


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--budget", "3M"), "--budget: must be one of"),
        (("--horizon", "0"), "--horizon: must be at least 1"),
        (("--source", "absent.csv"), "absent.csv"),
        (("--source", "prices.csv"), "line 3"),
        (("--search", "absent.yaml"), "absent.yaml: the search space must be a name or a YAML"),
        (("--search", "unknown.yaml"), "train: lr: unknown field"),
        (("--storage", "tiny.yaml"), "--storage: must be a folder that can be written"),
        (("--resume",), "--resume needs a search to go on with"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    here: Path,
    flags: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (here / "prices.csv").write_text(
        "Date,Open,High,Low,Close,Volume\n2020-01-02,1,2,1,2,5\n2020-01-03,1,2,1,-2,5\n"
    )
    unknown = (here / "tiny.yaml").read_text().replace("learning_rate:", "lr:")
    (here / "unknown.yaml").write_text(unknown)
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here / "home"))
    assert main([*FLAGS, *flags]) == 2
    assert not ray.is_initialized()
    check_refused(here, capsys.readouterr().err, message)
    assert not list((here / "home").iterdir())


def check_refused(here: Path, errors: str, message: str) -> None:
    lines = [line for line in errors.splitlines() if line]
    assert len(lines) == 1, errors
    assert message in lines[0]
    assert not (here / "ray_results").exists()
