"""The report of a study of panels, through the command."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.panel.panel_judgement import JudgedPanel, judge_panel
from analysis.panel.panel_records import read_panel
from analysis.panel.panel_report import build_panel
from analysis.report import build
from analysis.study_records import read_study
from study.results.finals.final_records import read_final, write_final
from study.storage.layout import CELL_FILE, FINAL_FOLDER, PREDICTIONS_FILE
from tests.analysis.panel.planted import (
    WARNING,
    cell_name,
    write_epochs,
    write_panel_study,
)
from tests.analysis.records import write_study
from tests.analysis.test_report import report

SECTIONS = ["baselines", "scores", "size", "years", "earnings", "variants", "terms"]

N_DAYS = 420


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with one cell that has everything, and its report."""
    path = tmp_path_factory.mktemp("panel") / "ray_results"
    write_panel_study(path, {10_000: 0.3}, n_days=N_DAYS, variants={"adabelief": 0.02})
    folder = path / FINAL_FOLDER / cell_name(10_000, 5)
    lines = [
        {
            "epoch": e, "train_terms": {"huber": 1 / e, "ic": 0.1}, "rank_ic": 0.05 - 0.001 * e,
            "sharpe": 0.1 * e, "further_rank_ic": {"1": 0.02, "20": 0.06 - 0.002 * e},
        }
        for e in range(1, 31)
    ]  # fmt: skip
    write_epochs(folder, "trial_0000", lines)
    (path / "printed.txt").write_text(report(path), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def numbers(results: Path) -> Any:
    return json.loads((results / "report" / "report.json").read_text())


def test_the_verdict_is_printed_first_and_stands_in_every_form(results: Path) -> None:
    printed = (results / "printed.txt").read_text().splitlines()
    assert printed[0].startswith("10000, 5 days ahead: RankIC +0.2")
    assert f"on {N_DAYS} test days; against ridge +0.2" in printed[0]
    assert printed[0].endswith("]: better.")
    assert printed[-1].endswith("report.html")
    line = printed[0].partition(": ")[2]
    for name in ("report.html", "report.md"):
        assert line in (results / "report" / name).read_text()


def test_every_question_has_a_section(results: Path, numbers: Any) -> None:
    assert list(numbers["sections"]) == SECTIONS
    page = (results / "report" / "report.html").read_text()
    for name in SECTIONS:
        assert f'<section id="{name}">' in page
    assert (results / "report" / "figures" / "earnings_0.svg").exists()
    assert numbers["headline"].startswith("RankIC +0.2")


def test_whom_the_assets_leave_out_is_said(numbers: Any) -> None:
    warned = [fact for fact in numbers["facts"] if fact.startswith("Of the panel: ")]
    assert warned == [f"Of the panel: {WARNING}"]


def test_numbers_are_kept_with_their_intervals(numbers: Any) -> None:
    sections, name = numbers["sections"], cell_name(10_000, 5)
    own = sections["scores"]["numbers"]["cells"][name]["patchtst"]
    assert set(own["rank_ic_by_seed"]) == {"0", "1", "2"}
    for score in ("rank_ic", "ic", "icir", "hit_rate", "sharpe", "sharpe_net", "turnover"):
        assert own[score]["low"] < own[score]["value"] < own[score]["high"]
    assert own["sharpe_net"]["value"] < own["sharpe"]["value"]
    # Scores that are all equal hold nothing: no ratio, which is not a ratio of 0.
    assert sections["scores"]["numbers"]["cells"][name]["zero"]["sharpe"] is None
    assert sections["size"]["numbers"]["5"]["is_told"] is False
    against = sections["baselines"]["numbers"][name]["momentum"]
    assert against["claim"] == "better"
    assert against["rank_ic_less_baseline"]["low"] > 0


def test_a_year_of_few_days_has_no_interval(numbers: Any) -> None:
    years = numbers["sections"]["years"]["numbers"][cell_name(10_000, 5)]
    assert years["2014"]["days"] == 365
    assert years["2014"]["rank_ic"]["low"] > 0
    assert years["2015"]["days"] == 55
    assert years["2015"]["rank_ic"]["low"] is None
    # Calendar years cover the test days, each once.
    assert sum(each["days"] for each in years.values()) == N_DAYS


def test_a_setting_is_said_to_be_worse_where_it_is(numbers: Any) -> None:
    (sentence,) = numbers["sections"]["variants"]["sentences"]
    assert sentence.startswith(
        "10000, 5 days ahead: RankIC with optimizer=adabelief less that with optimizer=adamw, 3 "
        "seeds: -0.2"
    )
    assert sentence.endswith("]: worse.")
    assert sentence in numbers["summary"]


def test_a_conflict_of_scores_over_the_epochs_is_said(numbers: Any) -> None:
    terms = numbers["sections"]["terms"]
    (sentence,) = terms["sentences"]
    assert sentence.startswith("Conflict: 10000, 5 days ahead, trial_0000: over the last 5 epochs")
    (table,) = terms["tables"]
    assert table["columns"] == [
        "epoch", "runs", "huber", "share of huber", "ic", "share of ic", "validation RankIC",
        "validation Sharpe", "RankIC of head 1 d", "RankIC of head 20 d",
    ]  # fmt: skip
    assert len(table["rows"]) == 12
    assert [table["rows"][row][0] for row in (0, -1)] == [1, 30]
    # The weight of the second term is 0.5.
    assert table["rows"][-1][-2:] == pytest.approx([0.02, 0.0])
    assert table["rows"][0][2:6] == pytest.approx([1.0, 1 / 1.05, 0.1, 0.05 / 1.05])


def test_less_than_five_sizes_claim_nothing(numbers: Any) -> None:
    (sentence,) = numbers["sections"]["size"]["sentences"]
    assert sentence == (
        "5 days ahead: nothing is claimed of size. It takes 5 sizes, and 1 size can be judged, so "
        "that 4 are missing."
    )


def judged(results: Path) -> JudgedPanel:
    study = read_study(results, None)
    assert study.is_panel
    return judge_panel(read_panel(results, study))


def test_a_leak_is_the_headline(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, n_days=150, oracle=0.05, rivals={"ridge": 0.0})
    found = build_panel(judged(tmp_path))
    name = cell_name(1000, 5)
    assert found.first.headline == f"Leak: {name} rank better than the best possible scores"
    assert (
        found.summary[0] == f"LEAK: better than the best possible scores by three errors: {name}."
    )
    assert found.sections[0].name == "oracle"
    assert "LEAK" in found.sections[0].sentences[0]


def test_without_final_runs_nothing_is_said_of_test_days(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, with_final=False)
    found = build_panel(judged(tmp_path))
    assert found.summary == ["No final runs yet: nothing is said of test days."]
    assert found.missing == [f"no final runs of {cell_name(1000, 5)}: run study.train."]
    assert found.sections == []
    assert f"Of the panel: {WARNING}" in found.facts


def test_a_cell_that_cannot_be_read_is_named_beside_the_others(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.1, 2000: 0.1}, n_days=60)
    folder = tmp_path / FINAL_FOLDER / cell_name(1000, 5)
    (folder / PREDICTIONS_FILE).write_bytes(b"torn")
    found = build_panel(judged(tmp_path))
    (missing,) = found.missing
    assert missing.startswith(f"{folder / PREDICTIONS_FILE}: must be a table of predictions")
    assert found.first.headline.startswith("RankIC ")
    # Final runs of another task do not belong to the search.
    shutil.copytree(tmp_path / FINAL_FOLDER / cell_name(2000, 5), folder, dirs_exist_ok=True)
    record = read_final(folder)
    assert record is not None
    write_final(folder, dataclasses.replace(record, task="direction"))
    (missing,) = build_panel(judged(tmp_path)).missing
    assert "task must be ranking, as that of the search, but got 'direction'" in missing
    # Nor can portfolios be made that nothing is known of.
    write_final(folder, record)
    path = tmp_path / cell_name(1000, 5) / CELL_FILE
    path.write_text(path.read_text().replace("portfolio_share", "share"))
    missing_now = build_panel(judged(tmp_path)).missing
    words = "share and cost of its portfolios, but got no portfolio_share"
    assert any(words in line for line in missing_now), missing_now


def test_several_winners_are_counted_in_the_headline(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3, 2000: 0.0}, n_days=100, rivals={"ridge": 0.1})
    found = build_panel(judged(tmp_path))
    assert found.first.headline.startswith("1 of 2 winners ranks better than every baseline")
    (level, *_) = found.first.findings[0].clauses
    assert level.startswith("5 days ahead, 1000, the highest of 2 winners: RankIC +0.")
    assert [figure.name for figure in found.figures] == [
        "first_screen", "size_h5", "earnings_0", "earnings_1",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_panel_and_a_market_are_studies_of_their_own(tmp_path: Path) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, with_final=False)
    write_study(tmp_path, {10_000: 0.3}, horizons=(1,), with_final=False)
    market = read_study(tmp_path, "demo_threshold_1pct")
    assert not market.is_panel
    assert build(market, []).summary[0] == "No final runs yet: nothing is said of test days."
    assert read_study(tmp_path, "demo_ranking_synthetic-panel").is_panel


def test_probabilities_cannot_be_judged_on_a_panel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_panel_study(tmp_path, {1000: 0.3}, with_final=False)
    answers = tmp_path / "predictions.csv"
    answers.write_text("date,p\n2014-01-02,0.5\n2014-01-03,0.6\n", encoding="utf-8")
    assert main(["judge", str(answers), "--storage", str(tmp_path)]) != 0
    assert "must be a study of one market" in capsys.readouterr().err
