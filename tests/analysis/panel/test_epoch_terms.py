"""The epochs of final runs: terms of the loss, and Sharpe against RankIC."""

import json
from pathlib import Path

import pytest

from analysis.panel.epoch_terms import (
    has_day_weights,
    loss_shares,
    mean_epochs,
    read_run_epochs,
)
from study.storage.layout import REFIT_FOLDER, RUNS_FOLDER
from tests.analysis.panel.planted import write_epochs


def test_terms_are_means_over_the_runs_that_reached_an_epoch(tmp_path: Path) -> None:
    write_epochs(
        tmp_path, "trial_0000",
        [
            {"epoch": 1, "train_terms": {"huber": 0.9, "ic": 0.2}, "rank_ic": 0.01, "sharpe": 0.5},
            {
                "epoch": 2, "train_terms": {"huber": 0.8, "ic": 0.1}, "rank_ic": 0.02,
                "further_rank_ic": {"1": 0.03, "20": None},
            },
        ],
    )  # fmt: skip
    write_epochs(
        tmp_path, "trial_0001", [{"epoch": 1, "train_terms": {"huber": 0.7}, "rank_ic": 0.03}]
    )
    one, two = mean_epochs(read_run_epochs(tmp_path))
    assert (one.number, one.n_runs, round(one.terms["huber"], 9)) == (1, 2, 0.8)
    # A term that a run does not have is not 0 there.
    assert one.terms["ic"] == 0.2
    assert one.rank_ic == 0.02
    assert one.sharpe == 0.5
    assert (two.n_runs, two.sharpe) == (1, None)
    assert (one.further, two.further) == ({}, {"1": 0.03})


def test_the_later_report_of_an_epoch_counts_and_a_torn_line_does_not(tmp_path: Path) -> None:
    write_epochs(
        tmp_path, "trial_0000", [{"epoch": 1, "rank_ic": 0.1}, {"epoch": 1, "rank_ic": 0.2}]
    )
    (path,) = tmp_path.glob("runs/*/result.json")
    path.write_text(path.read_text() + '{"epoch": 2, "rank', encoding="utf-8")
    (run,) = read_run_epochs(tmp_path)
    assert [(each.number, each.rank_ic, dict(each.terms)) for each in run.epochs] == [(1, 0.2, {})]


def test_without_reports_there_are_no_epochs(tmp_path: Path) -> None:
    assert read_run_epochs(tmp_path) == []


def test_a_ratio_that_rises_while_ranks_fall_is_a_conflict(tmp_path: Path) -> None:
    for name, step in (("trial_0000", -0.002), ("trial_0001", 0.002)):
        write_epochs(
            tmp_path, name,
            [{"epoch": e, "rank_ic": 0.05 + step * e, "sharpe": 0.1 * e} for e in range(1, 7)],
        )  # fmt: skip
    falling, rising = read_run_epochs(tmp_path)
    assert falling.conflict is not None
    assert "while RankIC fell" in falling.conflict
    assert rising.conflict is None


def test_the_share_of_a_term_is_its_size_by_the_weight_that_its_epoch_had() -> None:
    terms = {"squared": 0.8, "rank": 1.0, "sharpe": -0.5}
    phases = json.dumps(
        [{"name": "one", "epochs": 2}, {"name": "two", "epochs": 3, "rank_weight": 1.0}]
    )
    params = {"rank_weight": 0.1, "sharpe_weight": 0.2, "phases": phases}
    assert loss_shares(terms, params, 2) == pytest.approx(
        {"squared": 0.8, "rank": 0.1, "sharpe": 0.1}
    )
    assert loss_shares(terms, params, 3)["rank"] == pytest.approx(1 / 1.9)
    assert loss_shares(terms, {**params, "phases": ""}, 3)["rank"] == pytest.approx(0.1)
    # A weight that no record has is not 0.
    assert loss_shares(terms, {"rank_weight": 0.1}, 1) == {}


def test_days_are_weighted_where_a_phase_alone_weighs_them() -> None:
    phases = json.dumps([{"name": "one", "epochs": 2, "regime_strength": 1.0}])
    assert has_day_weights({"regime_strength": 0.0, "phases": phases})
    assert has_day_weights({"regime_strength": 0.5, "phases": ""})
    assert not has_day_weights({"regime_strength": 0.0})


def test_the_epochs_are_those_of_the_runs_that_the_record_is_of(tmp_path: Path) -> None:
    write_epochs(tmp_path, "trial_0000", [{"epoch": 1, "rank_ic": 0.1}])
    (tmp_path / RUNS_FOLDER).rename(tmp_path / REFIT_FOLDER)
    write_epochs(tmp_path, "trial_0001", [{"epoch": 1, "rank_ic": 0.2}])
    (run,) = read_run_epochs(tmp_path, with_validation=True)
    assert run.name == "trial_0000"
    (run,) = read_run_epochs(tmp_path)
    assert run.name == "trial_0001"
