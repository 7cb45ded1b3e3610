"""The epochs of final runs: terms of the loss, and Sharpe against RankIC."""

from pathlib import Path

from analysis.panel.epoch_terms import mean_epochs, read_run_epochs
from tests.analysis.panel.planted import write_epochs


def test_terms_are_means_over_the_runs_that_reached_an_epoch(tmp_path: Path) -> None:
    write_epochs(
        tmp_path, "trial_0000",
        [
            {"epoch": 1, "train_terms": {"huber": 0.9, "ic": 0.2}, "rank_ic": 0.01, "sharpe": 0.5},
            {"epoch": 2, "train_terms": {"huber": 0.8, "ic": 0.1}, "rank_ic": 0.02},
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
