"""The commands one after the other: a sweep, the final runs, the report and a prediction."""

import json
import statistics
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import analysis.__main__
import study.predict
import study.train
import study.tune
from study.cluster.runtime import cluster
from study.final.answers import baseline_predictions
from study.results.finals.final_records import (
    FinalRecord,
    read_final,
    read_predictions,
    read_share,
    share_folder,
)
from study.results.finals.variant_records import read_variant, variant_folder
from study.results.store import read_trials
from study.storage.layout import (
    BEST_FILE,
    FINAL_FOLDER,
    RECORD_FILE,
    REFIT_FOLDER,
    RUNS_FOLDER,
    TABLE_FILE,
)
from tests.sweeping.command import cell_name, processes_in, run, start, write_plan
from tests.tuner.command import ESTIMATE, wait_until, write_space
from tests.tuner.in_process import MARKS, ray_environment

TRIALS = 4
HORIZONS = (1,)
SEARCH = 2
"""Number of the search among those of its cell: what holds of a further one holds of the first."""

# Each further worker imports Ray and torch for seconds.
ONE_AT_A_TIME = ("--concurrency", "1")
FLAGS = (
    "--seeds", "2", "--candidates", "2", "--selection-seeds", "2", "--budgets", "50k",
    *ONE_AT_A_TIME,
)  # fmt: skip

pytestmark = MARKS


def searched(horizon: int) -> str:
    return f"{cell_name(horizon)}_search{SEARCH}"


def final_folder(here: Path, horizon: int) -> Path:
    return here / "ray_results" / FINAL_FOLDER / searched(horizon)


def has_final_epoch(here: Path) -> bool:
    journal = final_folder(here, 1) / "runs" / "journal.jsonl"
    return journal.exists() and b'"kind": "epoch"' in journal.read_bytes()


def is_deserted(here: Path) -> bool:
    return not processes_in(here)


def done(main: Callable[[list[str]], int], *flags: str, expect: int = 0) -> None:
    """Run a command in this process, in whose Ray it trains."""
    assert main([*flags]) == expect


def test_a_study_from_its_sweep_to_its_report_with_a_kill_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_space(tmp_path, trials=TRIALS, scheduler="fifo", forced="none")
    space = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    space["horizons"] = list(HORIZONS)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(space))
    of_search = {"cell": searched(1), "search_number": SEARCH}
    write_plan(tmp_path, trials=TRIALS, capacity=1, horizons=HORIZONS, **of_search)
    run(tmp_path, "--plan", "plan.json", "--budgets", "50k")

    process = start(tmp_path, *FLAGS, module="study.train")
    wait_until(partial(has_final_epoch, tmp_path), process, seconds=240)
    process.kill()
    process.communicate()
    wait_until(partial(is_deserted, tmp_path), None)
    # Test labels choose nothing: they are unread until the winner's runs have ended.
    assert not (final_folder(tmp_path, 1) / "test_opened.txt").exists()
    monkeypatch.chdir(tmp_path)
    # A forest takes four seconds for each of the four data sets below.
    monkeypatch.setattr(baseline_predictions, "_TREES", 20)
    with ray_environment(), cluster(None, use_accelerators=True):
        _check_final_runs(tmp_path, capsys)


def _check_final_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check what follows the kill: the runs, a prediction, the report and a refit."""
    again_flags = ("--search", "tiny.yaml", *FLAGS)
    done(study.train.main, *again_flags)
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err

    for horizon in HORIZONS:
        folder = final_folder(tmp_path, horizon)
        record = read_final(folder)
        assert record is not None
        assert record.search_number == SEARCH
        trials = read_trials(tmp_path / "ray_results" / searched(horizon))
        best = sorted((t for t in trials if t.is_rankable), key=lambda t: (t.value, t.number))[:2]
        assert [s.trial for s in record.selection] == [t.number for t in best]
        again = read_trials(folder / "selection")
        means = dict.fromkeys((trial.number for trial in best), 0.0)
        for fresh in again:
            assert fresh.value is not None
            means[int(fresh.source.removeprefix("forced:trial "))] += fresh.value / 2
        assert record.winner == min(means, key=lambda number: means[number])
        winner = next(trial for trial in trials if trial.number == record.winner)
        runs = read_trials(folder / "runs")
        assert [run.params for run in runs] == [winner.params] * 2
        seeds = {t.seed for t in trials} | {r.seed for r in again} | {r.seed for r in runs}
        assert len(seeds) == TRIALS + 4 + 2
        table = read_predictions(folder / "predictions.parquet")
        counts = table.groupby(["model", "seed", "part"], dropna=False).size()
        assert set(counts.groupby("part").nunique()) == {1}
        assert set(table["model"]) > {"patchtst", "GJR-GARCH", "logistic", "constant"}
        assert set(table[table["model"] == "patchtst"]["seed"]) == {r.seed for r in runs}
        _check_table_of_all_runs(tmp_path, table)
        capsys.readouterr()
        done(study.predict.main, "--cell", searched(horizon), "--days", "40", "--json")
        _check_prediction(tmp_path, horizon, table, capsys.readouterr().out)

    # Test days are open: no seeds are added, and that is said.
    done(study.train.main, *again_flags, "--seeds", "3")
    assert "complete before, with 2 seeds where --seeds 3 is asked for" in capsys.readouterr().out
    # Runs on other days are refused, and no empty table is printed.
    done(study.train.main, *again_flags, "--refit", "train+validation", expect=1)
    assert "best baseline on test" not in capsys.readouterr().out
    done(analysis.__main__.main)
    report = json.loads((tmp_path / "ray_results/report/report.json").read_text())
    assert report["missing"] == []
    assert report["sections"]["winners"]["tables"][0]["rows"][0][0] == f"50k (search {SEARCH})"
    assert set(report["sections"]["law"]["numbers"]) == {"1"}
    _check_refit(tmp_path, again_flags)
    _check_walk_forward(tmp_path, capsys)


def _check_table_of_all_runs(here: Path, table: pd.DataFrame) -> None:
    """Check that the winner's runs are in the table of all runs, scored as they predict."""
    rows = pd.read_csv(here / "ray_results" / TABLE_FILE)
    assert set(rows["search_number"]) == {SEARCH}
    assert rows["run_type"].tolist() == ["hpo"] * TRIALS + ["final"] * 2
    assert rows["test_loss"].isna().tolist() == [True] * TRIALS + [False] * 2
    test = table[(table["model"] == "patchtst") & (table["part"] == "test")]
    right = ((test["p"] >= 0.5) == (test["y"] == 1)).groupby(test["seed"]).mean()
    assert rows["test_accuracy"].dropna().tolist() == pytest.approx(right.tolist())


def _check_refit(here: Path, flags: tuple[str, ...]) -> None:
    """Check the winner that was trained to its best epoch on training and validation days."""
    folder = final_folder(here, 1)
    first = read_final(folder)
    assert first is not None
    (folder / RECORD_FILE).unlink()
    done(study.train.main, *flags, "--refit", "train+validation")
    record = read_final(folder)
    assert record is not None
    assert (record.winner, record.test_opened) == (first.winner, first.test_opened)
    best = [
        trial.best.epoch if trial.best else 0
        for trial in read_trials(folder / "selection")
        if trial.source == f"forced:trial {record.winner}"
    ]
    runs = read_trials(folder / REFIT_FOLDER)
    assert [run.epochs_trained for run in runs] == [round(statistics.median(best))] * 2
    table = read_predictions(folder / "predictions.parquet")
    # It has no predictions of the days that it was trained on.
    assert set(table[table["model"] == "patchtst"]["part"]) == {"test"}
    done(analysis.__main__.main)


def _check_walk_forward(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check a winner that is trained again before each of two folds of test days."""
    space = yaml.safe_load((here / "tiny.yaml").read_text())
    space["study"] = "walk"
    space["data"] |= {"splits": "walk_forward", "first_test_day": date(2009, 1, 2)}
    space["data"] |= {"fold_days": 1300}
    (here / "walk.yaml").write_text(yaml.safe_dump(space))
    flags = ("--search", "walk.yaml", "--trials", "2")
    name = "walk_50k_h1_threshold_1pct_walk-forward"
    plans = [{"cell": name, "estimate": ESTIMATE}]
    (here / "walk.json").write_text(json.dumps({"cells": plans}))
    cell = ("--budget", "50k", "--horizon", "1", "--estimate", "walk.json")
    done(study.tune.main, *flags, *cell, *ONE_AT_A_TIME)
    assert "folds   2 of test days: with each seed the winner is" in capsys.readouterr().out
    done(study.train.main, *flags, "--budgets", "50k", "--horizons", "1", "--seeds", "2",
         "--candidates", "1", "--selection-seeds", "1")  # fmt: skip
    folder = here / "ray_results" / FINAL_FOLDER / name
    record = read_final(folder)
    assert record is not None
    assert [run.fold for run in record.runs] == [0, 1, 0, 1]
    first, second = record.folds
    assert (first.first_test_day, first.n_test) == ("2009-01-02", 1300)
    assert first.last_train_day < first.first_test_day < second.last_train_day
    # Each fold has validation days of its own, on which seeds agree more than folds do.
    one, two, three, four = (run.value for run in record.runs if run.value is not None)
    assert max(abs(one - three), abs(two - four)) < min(abs(one - two), abs(three - four))
    table = read_predictions(folder / "predictions.parquet")
    own = table[(table["model"] == "patchtst") & (table["part"] == "test")]
    assert own.groupby("seed").size().tolist() == [first.n_test + second.n_test] * 2
    # No run is the best of several folds, in whose days runs differ.
    assert not (folder / RUNS_FOLDER / BEST_FILE).exists()
    rows = pd.read_csv(here / "ray_results" / TABLE_FILE).query("experiment == @name")
    assert rows.query("run_type == 'final'")["fold"].tolist() == [0, 1, 0, 1]
    assert rows.query("run_type == 'hpo'")["fold"].isna().all()
    _check_shares(folder, flags)
    done(analysis.__main__.main, "--study", "walk")
    report = json.loads((here / "ray_results/report/report.json").read_text())
    assert "1 recent" in report["sections"]["data"]["numbers"]


def _check_shares(folder: Path, flags: tuple[str, ...]) -> None:
    """Check that a share is trained beside runs that have ended, of which nothing changes."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    whole = read_final(folder)
    done(study.train.main, *flags, "--budgets", "50k", "--horizons", "1", "--seeds", "1",
         "--data-shares", "0.9", "1", "--variants", "weight_decay=0.123",
         *ONE_AT_A_TIME)  # fmt: skip
    assert {path: path.read_bytes() for path in before} == before
    record = read_share(folder, "recent_0.9")
    assert whole is not None
    assert record is not None
    assert record.n_train == [round(0.9 * fold.n_train) for fold in whole.folds]
    assert record.winner == whole.winner
    assert [(run.fold, run.seed) for run in record.runs] == [
        (run.fold, run.seed) for run in whole.runs[:2]
    ]
    own = read_predictions(share_folder(folder, record.name) / "predictions.parquet")
    assert set(own["model"]) == {"patchtst"}
    assert (own["part"] == "test").sum() == sum(fold.n_test for fold in whole.folds)
    _check_variant(folder, whole)


def _check_variant(folder: Path, whole: FinalRecord) -> None:
    """Check a winner with one setting changed, before the same folds and at the same seeds."""
    record = read_variant(folder, "weight_decay=0.123")
    assert record is not None
    assert record.base_value == whole.params["weight_decay"]
    of_runs = [(run.fold, run.seed) for run in whole.runs]
    assert [(run.fold, run.seed) for run in record.runs] == of_runs
    own, base = (
        read_predictions(each / "predictions.parquet")
        for each in (variant_folder(folder, record.name), folder)
    )
    base = base[base["model"] == "patchtst"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own.drop(columns="p"), base.drop(columns="p"))
    assert not np.array_equal(own["p"], base["p"])


def _check_prediction(here: Path, horizon: int, table: pd.DataFrame, output: str) -> None:
    """Check that the exported model gives the probabilities of the stored predictions."""
    printed = json.loads(output)
    card = json.loads((final_folder(here, horizon) / "model" / "model.json").read_text())
    own = table[(table["model"] == "patchtst") & (table["seed"] == card["origin"]["seed"])]
    stored = dict(zip(own["date"].dt.strftime("%Y-%m-%d"), own["p"], strict=True))
    shared = [row for row in printed["predictions"] if row["date"] in stored]
    assert len(printed["predictions"]) == 40
    # The labels of the last days are not known at every horizon of the study.
    assert len(shared) == 40 - max(HORIZONS)
    for row in shared:
        assert row["probability"] == pytest.approx(stored[row["date"]], abs=1e-6)


def test_final_runs_need_a_search_that_is_as_it_was(tmp_path: Path) -> None:
    write_space(tmp_path, trials=TRIALS)
    process = start(tmp_path, "--budgets", "50k", module="study.train")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "must hold a search of one of the selected cells" in errors
    process = start(tmp_path, "--seeds", "0", module="study.train")
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 2
    assert "--seeds: must be at least 1 and at most 1,000, but got 0" in errors
