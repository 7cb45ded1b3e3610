"""The commands on a small panel: a search, final runs with variants, and ranks."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import analysis.__main__
import study.predict
import study.train
import study.tune
from study.cluster.runtime import cluster
from study.data.panel.panel_sources import import_panel
from study.results.finals.final_records import (
    FinalRecord,
    read_final,
    read_share,
    share_folder,
)
from study.results.finals.panel_predictions import days_by_assets, read_panel_predictions
from study.results.finals.variant_records import read_variant, variant_folder, variant_names
from study.results.scores import PanelBest
from study.results.store import read_cell, read_trials
from study.statistics.rank_scores import daily_rank_ic
from study.storage.layout import CARD_FILE, FINAL_FOLDER, MODEL_FOLDER, PREDICTIONS_FILE
from tests.tuner.command import ESTIMATE, SPACES
from tests.tuner.in_process import MARKS, ray_environment

CELL = "ranks_2k_h1_ranking_walks_closes"
N_SEEDS, HORIZON = 3, 1
LONGEST = 20
"""Longest horizon of a head, by which the days before a border are left out."""
# One trial at a time: each further worker imports Ray and torch for seconds.
OF_BOTH = ("--search", "ranks.yaml", "--concurrency", "1")
SEARCH = (*OF_BOTH, "--budget", "2k", "--horizon", "1")
FLAGS = (
    *OF_BOTH, "--budgets", "2k", "--horizons", "1", "--seeds", str(N_SEEDS),
    "--candidates", "1", "--selection-seeds", "1",
)  # fmt: skip

pytestmark = MARKS


@pytest.fixture(scope="module", autouse=True)
def one_ray() -> Iterator[None]:
    """Run all commands of these tests on one Ray, whose start takes seconds."""
    with ray_environment(), cluster(None, use_accelerators=True):
        yield


def write_panel(here: Path) -> None:
    """Import eight random walks, of two sectors, as the panel ``walks``."""
    days = np.arange("2015-01-05", "2018-01-05", dtype="datetime64[D]")
    days = days[np.is_busday(days)][:760]
    walk = np.random.default_rng(1).normal(0, 0.02, (len(days), 8)).cumsum(axis=0)
    table = pd.DataFrame(
        20 * np.exp(walk), index=pd.Index(days, name="Date"), columns=[*"ABCDEFGH"]
    )
    table.to_csv(here / "walks.csv")
    import_panel(here / "walks.csv", folder=here / "ray_results" / "data")


def write_space(here: Path, **data: Any) -> None:
    """Write a search space whose trials take a second each."""
    raw = yaml.safe_load((SPACES / "panel.yaml").read_text())
    raw |= {"study": "ranks", "budgets": {"2k": 2000}, "tolerance": 0.5, "horizons": [HORIZON]}
    raw["data"] |= {"source": "walks", **data}
    raw["model"] |= {"d_model": 8, "n_layers": 1, "n_heads": 2, "d_ff_ratio": 2}
    raw["model"]["asset_attention"] = "none"
    # At the low rates of that space 18 steps would leave all scores next to each other.
    raw["train"] |= {"epochs": 2, "rank_weight": 0.1, "learning_rate": 1e-3}
    raw["search"] |= {"trials": 1, "forced": "none", "scheduler": "fifo"}
    (here / "ranks.yaml").write_text(yaml.safe_dump(raw))


def test_variants_of_a_panel_are_trained_beside_its_winner_and_ranks_are_those_of_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_panel(tmp_path)
    write_space(tmp_path, validation_share=0.3, horizons="all")
    folder = tmp_path / "ray_results" / FINAL_FOLDER / CELL
    assert study.tune.main([*SEARCH]) == 0
    _check_heads(folder.parent.parent / CELL, capsys.readouterr().out)
    # The winner has the second value: this variant is refused, and costs nothing else.
    variants = ("--variants", "optimizer=adabelief", "rank_weight=0.1")
    assert study.train.main([*FLAGS, *variants, "--data-shares", "0.5"]) == 1
    printed = capsys.readouterr()
    assert "but got rank_weight=0.1, which it has. Give another value" in printed.err
    _check_variant(folder, printed.out)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert study.train.main([*FLAGS, "--variants", "optimizer=adabelief"]) == 0
    assert {path: path.read_bytes() for path in before} == before
    _check_share(folder, printed.out)
    _check_ranks(folder, capsys)


def _check_heads(folder: Path, printed: str) -> None:
    """Check that a search tells how its other heads rank, and is about the cell's own horizon."""
    (record,) = read_trials(folder)
    assert isinstance(record.best, PanelBest)
    assert record.params["n_horizons"] == 4
    assert record.objective == 1 - record.best.rank_ic
    ranks, errors = record.best.further_rank_ic, record.best.further_rank_ic_se
    assert ranks is not None
    assert errors is not None
    assert list(ranks) == ["5", "10", "20"]
    assert f"other heads: RankIC 5 d {ranks['5']:+.4f}, 10 d" in printed
    assert f"other heads: RankIC 5 d {ranks['5']:+.4f} +- {errors['5']:.4f}" in printed
    assert "within the next day? Targets: rank of each day's returns; other heads learn" in printed


def _check_variant(folder: Path, printed: str) -> None:
    """Check that a variant differs from the winner by one setting, at its seeds and days."""
    final = read_final(folder)
    assert final is not None
    assert variant_names(folder) == ["optimizer=adabelief"]
    record = read_variant(folder, "optimizer=adabelief")
    assert record is not None
    assert (record.winner, record.base_value) == (final.winner, "adamw")
    assert [run.seed for run in record.runs] == [run.seed for run in final.runs]
    own = variant_folder(folder, record.name)
    for run in read_trials(own / "runs"):
        assert dict(run.params) == {**final.params, "optimizer": "adabelief"}
    table, base = (read_panel_predictions(each / PREDICTIONS_FILE) for each in (own, folder))
    base = base[base["model"] == final.model]
    days = ["seed", "part", "date", "asset", "y"]
    pd.testing.assert_frame_equal(
        table[days].reset_index(drop=True), base[days].reset_index(drop=True),
        check_categorical=False,
    )  # fmt: skip
    assert set(table["part"]) == {"validation", "test"}
    assert not np.array_equal(table["score"], base["score"])
    assert f" {N_SEEDS} seeds of its final runs" in printed
    assert "difference: variant less winner, seed by seed; above 0 the variant scores" in printed


def _check_share(folder: Path, printed: str) -> None:
    """Check that half of the training days are as many, and that all other days are the same."""
    final, record = read_final(folder), read_share(folder, "recent_0.5")
    assert final is not None
    assert record is not None
    described = read_cell(folder.parents[1] / CELL, "splits")["splits"]
    assert record.n_train == [round(0.5 * described["train"]["rows"])]
    assert [run.seed for run in record.runs] == [run.seed for run in final.runs]
    paths = (share_folder(folder, record.name), folder)
    table, base = (read_panel_predictions(path / PREDICTIONS_FILE) for path in paths)
    assert set(table["date"]) == set(base["date"])
    assert set(table["model"]) == {final.model}
    assert re.search("share +days +training days +test RankIC", printed)


def _check_ranks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that the exported model gives the scores of the predictions that are kept."""
    capsys.readouterr()
    csv = folder / "ranks.csv"
    assert study.predict.main(["--cell", CELL, "--days", "30", "--json", "--csv", str(csv)]) == 0
    rows = pd.DataFrame(json.loads(capsys.readouterr().out)["ranks"])
    seed = json.loads((folder / MODEL_FOLDER / CARD_FILE).read_text())["origin"]["seed"]
    kept = read_panel_predictions(folder / PREDICTIONS_FILE)
    kept = kept[kept["seed"] == seed].assign(
        date=kept["date"].dt.strftime("%Y-%m-%d"), asset=kept["asset"].astype(str)
    )
    both = rows.merge(kept, on=["date", "asset"])
    assert len(rows) == 30 * 8
    # The last days are not judged, as their labels are not known.
    assert len(both) == (30 - LONGEST) * 8
    np.testing.assert_allclose(both["score_x"], both["score_y"], rtol=1e-4, atol=1e-6)
    table = pd.read_csv(csv)
    of_heads = ["score", "score_h5", "score_h10", "score_h20"]
    assert list(table.columns) == ["date", "asset", "sector", "score", "rank", *of_heads[1:]]
    np.testing.assert_allclose(table[of_heads], rows[of_heads], rtol=1e-6)
    assert (table[of_heads].nunique() > 200).all()
    assert table[of_heads].corr().to_numpy().min() < 0.999


WALKED = f"{CELL}_walk-forward"
FOLD_DAYS, N_FOLDS, N_WALKS = 130, 2, 2


def test_a_walk_with_refits_answers_for_every_day_by_the_runs_of_its_own_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_panel(tmp_path)
    write_space(tmp_path, splits="walk_forward", fold_days=FOLD_DAYS, validation_days=60)
    plans = [{"cell": WALKED, "estimate": ESTIMATE}]
    (tmp_path / "estimate.json").write_text(json.dumps({"cells": plans}))
    flags = (*FLAGS, "--seeds", str(N_WALKS))
    assert study.tune.main([*SEARCH, "--estimate", "estimate.json"]) == 0
    assert study.train.main([*flags, "--refit", "train+validation"]) == 0
    assert "on the validation days too, whose scores below say" in capsys.readouterr().out
    # Runs that have ended stand for themselves, and not for runs on other days.
    assert study.train.main([*flags]) == 1
    assert "holds final runs that were trained on other days" in capsys.readouterr().err
    folder = tmp_path / "ray_results" / FINAL_FOLDER / WALKED
    record = read_final(folder)
    assert record is not None
    assert [len(record.folds), len(record.runs), record.n_whole_seeds] == [
        N_FOLDS,
        N_FOLDS * N_WALKS,
        N_WALKS,
    ]
    table = read_panel_predictions(folder / PREDICTIONS_FILE)
    assert set(table["part"]) == {"test"}
    days = np.sort(table["date"].unique()).astype("datetime64[D]")
    for number, fold in enumerate(record.folds):
        own = days[number * FOLD_DAYS : (number + 1) * FOLD_DAYS]
        assert (fold.first_test_day, fold.last_test_day) == (str(own[0]), str(own[-1]))
        assert fold.last_train_day == fold.last_validation_day
        assert fold.last_train_day < fold.first_test_day
    assert study.predict.main(["--cell", WALKED, "--days", "2"]) == 0
    assert analysis.__main__.main([]) == 0
    _check_report(tmp_path / "ray_results", table, record)


def _check_report(results: Path, table: pd.DataFrame, record: FinalRecord) -> None:
    """Check that the report has the RankIC of each fold, and from how many days runs learned."""
    sections = json.loads((results / "report" / "report.json").read_text())["sections"]
    walk = sections["walk"]["numbers"][WALKED]
    assert list(walk) == [f"fold {n}" for n in range(1, N_FOLDS + 1)] + ["all days"]
    own = table[(table["model"] == record.model) & (table["date"] <= record.folds[0].last_test_day)]
    daily = [
        np.mean(daily_rank_ic(*days_by_assets(rows)))
        for _, rows in own.groupby("seed", observed=True)
    ]
    assert walk["fold 1"]["rank_ic"]["value"] == pytest.approx(np.mean(daily))
    assert walk["all days"]["days"] == len(table["date"].unique())
    assert set(walk["all days"]["leads"]) == {"ridge", "boosting"}
    n_train = [fold.n_train for fold in record.folds]
    assert n_train == sorted(n_train)
    assert sections["refit"]["numbers"][WALKED]["train_days"] == n_train
