"""The report of a study, from records with planted answers, through the command."""

import dataclasses
import io
import json
import re
import shutil
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.answers.first_screen import first_screen
from analysis.answers.law_answer import law_section
from analysis.cell_judgement import judge_study
from analysis.report import build
from analysis.study_records import read_study
from study.errors import StudyError
from study.results.finals.final_records import (
    read_final,
    read_predictions,
    write_final,
    write_predictions,
)
from study.storage.layout import FINAL_FOLDER
from tests.analysis.records import FAMILY, write_search_across, write_study

PLANTED = {
    750_000: 0.5, 2_000_000: 0.37, 20_000_000: 0.19, 200_000_000: 0.093, 2_000_000_000: 0.047,
}  # fmt: skip
"""Noise of the logits by size: v(N) = .5 (N / .75M)^-.3."""


def report(results: Path, *flags: str, expect: int = 0) -> str:
    """Run the command in this process; return what it prints."""
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(shown):
        code = main(["--storage", str(results), *flags])
    assert code == expect, shown.getvalue()
    return shown.getvalue()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "ray_results"
    write_study(path, dict(list(PLANTED.items())[:3]), n_days=300)
    report(path)
    return path


@pytest.mark.slow
def test_a_planted_law_is_found_with_enough_days(tmp_path: Path) -> None:
    write_study(tmp_path, PLANTED, horizons=(1,), n_days=3_000)
    study = read_study(tmp_path, None)
    (horizon,) = judge_study(study)
    assert horizon.law is not None
    assert horizon.law.trend.is_told
    assert horizon.law.trend.slope.value < 0
    # Few of the 120 orders of five sizes give such a slope.
    assert horizon.law.trend.p <= 3 / 120
    assert horizon.law.verdict in ("scaling", "not identified")
    assert "falls with size" in horizon.law.sentence
    law = first_screen(study, [horizon]).findings[-1]
    assert law.label == ("Law of size" if horizon.law.verdict == "scaling" else "Not found")
    assert horizon.law.sentence in law.clauses[0]
    # Noise of .3 is that of the baseline, which .5 cannot beat and .047 does.
    assert [horizon.cells[i].standing.is_better for i in (0, 4)] == [False, True]
    assert horizon.best_set == ["2000000000"]


@pytest.mark.slow
def test_equal_models_are_no_effect(tmp_path: Path) -> None:
    write_study(tmp_path, dict.fromkeys(PLANTED, 0.3), horizons=(1,), n_days=300)
    (horizon,) = judge_study(read_study(tmp_path, None))
    assert horizon.law is not None
    assert horizon.law.verdict == "no measurable effect"
    assert len(horizon.best_set) > 1


@pytest.mark.slow
def test_flagged_cells_are_left_out_of_the_law_and_named(tmp_path: Path) -> None:
    edge = ["dropout = 0.2 is at the end 0.2 of its range"]
    write_study(tmp_path, PLANTED, horizons=(1,), n_days=300, edges={2_000_000: edge})
    (horizon,) = judge_study(read_study(tmp_path, None))
    assert horizon.law is not None
    assert set(horizon.law.runs.sizes[:, 0]) == set(PLANTED) - {2_000_000}
    assert horizon.law_of_all is not None
    assert set(horizon.law_of_all.runs.sizes[:, 0]) == set(PLANTED)
    (excluded,) = horizon.excluded
    assert excluded == (
        "2000000: the winner is at the edge of what was searched "
        "(dropout = 0.2 is at the end 0.2 of its range; nothing was tried beside it)"
    )


@pytest.mark.slow
def test_a_collapsed_winner_is_left_out_and_equal_losses_are_said(tmp_path: Path) -> None:
    # So much noise that the answer is worth less than the base rate.
    write_study(tmp_path, {10: 0.3, 20: 9.0, 30: 0.3, 40: 0.3}, horizons=(1,))
    (horizon,) = judge_study(read_study(tmp_path, None))
    assert [bool(cell.flags) for cell in horizon.cells] == [False, True, False, False]
    assert "collapsed" in horizon.cells[1].flags[0]
    notes = [note for cell in horizon.cells for note in cell.notes]
    assert any("same loss to three decimals" in note for note in notes)


@pytest.mark.slow
def test_all_forms_are_written_and_agree(results: Path) -> None:
    folder = results / "report"
    numbers = json.loads((folder / "report.json").read_text())
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    clauses = [clause for found in numbers["findings"].values() for clause in found]
    assert set(numbers["findings"]) == {"Found", "Could have been found", "Not found"}
    for sentence in [numbers["headline"], *clauses, *numbers["summary"]]:
        assert sentence in text
        assert sentence in page
    assert any(
        fact.startswith("Every claim is of one market, sp500, and one period, 2000-01-03 to")
        for fact in numbers["facts"]
    )
    assert set(numbers["sections"]) >= {
        "law", "baselines", "selection", "calibration", "winners", "depth", "heads", "horizons",
        "budget", "coverage", "importance", "time", "criteria",
    }  # fmt: skip
    figures = sorted(path.stem for path in (folder / "figures").glob("*.svg"))
    assert figures == sorted(path.stem for path in (folder / "figures").glob("*.png"))
    assert {f"law_h{h}" for h in (1, 3)} | {"best_of_k", "first_screen"} <= set(figures)
    for name in figures:
        assert f"figures/{name}.png" in text
    difference = numbers["sections"]["baselines"]["numbers"]["demo_750000_h1_threshold_1pct"]
    assert difference["difference"]["low"] < difference["difference"]["value"]
    assert set(difference["differences"]) == {"logistic", "constant"}
    assert 0 < difference["effective_days"]["loss"] < difference["n_days"]


@pytest.mark.slow
def test_the_page_needs_nothing_from_elsewhere(results: Path) -> None:
    page = (results / "report" / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert '<link rel="stylesheet"' not in page
    # One headline, and its picture before any table, with a link to the table of its numbers.
    assert page.count("<h1>") == 1
    assert page.index("<h1>") < page.index('id="first_screen--') < page.index("<table>")
    assert '<a href="#baselines">The numbers</a>' in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)), "two parts of the page have one name"
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', page))
    assert used <= set(ids)
    assert page.count("data-tip=") > 40


@pytest.mark.slow
def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.*")}

    write_study(tmp_path, {10_000: 0.3, 20_000: 0.2}, horizons=(1,), n_days=200)
    report(tmp_path)
    first = (tmp_path / "report").rename(tmp_path / "first")
    report(tmp_path)
    assert content(tmp_path / "report") == content(first)


@pytest.mark.slow
def test_a_partial_study_says_what_is_missing(tmp_path: Path) -> None:
    write_study(tmp_path, {10_000: 0.3, 20_000: 0.3}, with_final=False, n_ended=3)
    shown = report(tmp_path)
    assert "No final runs yet" in shown
    assert "missing: no final runs of demo_10000_h1_threshold_1pct" in shown
    assert "missing: incomplete searches" in shown
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<h1>Searched, and not yet tested on later days</h1>" in page


@pytest.mark.slow
def test_a_damaged_cell_is_said_and_the_others_are_told(tmp_path: Path) -> None:
    write_study(tmp_path, {10_000: 0.3, 20_000: 0.3}, horizons=(1,))
    (tmp_path / "final/demo_10000_h1_threshold_1pct/predictions.parquet").write_bytes(b"rubbish")
    shown = report(tmp_path)
    assert "must be a table of predictions" in shown
    # The search's own records are none the worse.
    assert [cell.final is None for cell in read_study(tmp_path, None).cells] == [True, False]


@pytest.mark.slow
def test_several_studies_must_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="there are none"):
        read_study(tmp_path, None)
    write_study(tmp_path, {10_000: 0.3}, horizons=(1,), n_days=100)
    write_study(tmp_path, {20_000: 0.3}, horizons=(1,), n_days=100, market="_nasdaq")
    with pytest.raises(StudyError, match="demo_threshold_1pct, demo_threshold_1pct_nasdaq"):
        read_study(tmp_path, "demo")
    found = read_study(tmp_path, "demo_threshold_1pct_nasdaq")
    assert [cell.name for cell in found.cells] == ["demo_20000_h1_threshold_1pct_nasdaq"]
    shown = report(tmp_path, "--study", "other", expect=2)
    assert (
        "must hold the study that is asked for, but got 'other'; there are demo_threshold_1pct"
        in shown
    )


def told(results: Path, *flags: str) -> dict[str, Any]:
    report(results, *flags)
    written: dict[str, Any] = json.loads((results / "report" / "report.json").read_text())
    return written


@pytest.mark.slow
def test_a_search_across_budgets_puts_its_sizes_side_by_side(tmp_path: Path) -> None:
    name = write_search_across(tmp_path, {10_000: 0.3, 20_000: 0.2, 40_000: 0.1})
    found = told(tmp_path)
    assert found["missing"] == []
    assert found["facts"][0].startswith(
        "Study demo-1, threshold_1pct: 3 cells of 1 search, 6 trials, 15 final runs."
    )
    sections = found["sections"]
    sizes = (10_000, 20_000, 40_000)
    assert set(sections["baselines"]["numbers"]) == {f"{name}_{n}" for n in sizes}
    assert sections["law"]["numbers"]["1"]["n_runs"] == 15
    # A listed configuration is named where it was tried, and where it won.
    (table,) = sections["listed"]["tables"]
    listed = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [(row["name"], row["budget"], row["place in its budget"]) for row in listed] == [
        (f"{n}_shallow", str(n), 1) for n in sizes
    ]
    (table,) = sections["winners"]["tables"]
    named = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [row["tried first as"] for row in named] == [row["name"] for row in listed]


@pytest.mark.slow
def test_phases_and_searches_of_other_budgets_are_never_mixed(tmp_path: Path) -> None:
    write_search_across(tmp_path, {10_000: 0.3, 20_000: 0.2}, n_days=100)
    write_search_across(tmp_path, {20_000: 0.3, 40_000: 0.2}, n_days=100)
    write_search_across(tmp_path, {40_000: 0.2}, phase=2, n_days=100)
    names = ["demo-1_10000-20000_threshold_1pct", "demo-1_20000-40000_threshold_1pct"]
    for asked in (None, "demo", "demo-1"):
        with pytest.raises(StudyError, match=", ".join(names)):
            read_study(tmp_path, asked)
    found = read_study(tmp_path, names[1])
    assert [cell.budget for cell in found.cells] == ["20000", "40000"]
    assert found.other_phases == [names[0], "demo-2_threshold_1pct"]
    assert [cell.budget for cell in read_study(tmp_path, "demo-2").cells] == ["40000"]


@pytest.mark.slow
def test_a_winner_without_a_usable_final_run_is_named_and_left_out(tmp_path: Path) -> None:
    write_study(tmp_path, {10_000: 0.3, 20_000: 0.2}, horizons=(1,), n_days=100)
    folder = tmp_path / FINAL_FOLDER / "demo_20000_h1_threshold_1pct"
    table = read_predictions(folder / "predictions.parquet")
    write_predictions(folder / "predictions.parquet", table[table["model"] != FAMILY])
    final = read_final(folder)
    assert final is not None
    ends = ["collapsed", "collapsed", "oom", "error", "collapsed"]
    runs = [
        dataclasses.replace(run, reason=reason, is_rankable=False)
        for run, reason in zip(final.runs, ends, strict=True)
    ]
    write_final(folder, dataclasses.replace(final, runs=runs))
    found = told(tmp_path)
    (line,) = found["missing"]
    assert line.startswith("demo_20000_h1_threshold_1pct: some final run must have a usable result")
    assert "3 collapsed, 1 error, 1 oom" in line
    assert set(found["sections"]["baselines"]["numbers"]) == {"demo_10000_h1_threshold_1pct"}


@pytest.mark.slow
def test_days_with_one_kind_of_label_are_said_in_one_line(tmp_path: Path) -> None:
    write_study(tmp_path, {10_000: 0.3, 20_000: 0.2}, horizons=(1,), n_days=100)
    path = tmp_path / FINAL_FOLDER / "demo_20000_h1_threshold_1pct" / "predictions.parquet"
    table = read_predictions(path)
    write_predictions(path, table.assign(y=table["y"].where(table["part"] == "validation", 0)))
    found = told(tmp_path)
    (line,) = found["missing"]
    assert line == (
        f"{path}: test days must have days with a positive and days with a negative label, but got "
        "100 days, all with label 0. It is left out: give a longer history, or a task whose answer "
        "varies more."
    )
    assert set(found["sections"]["baselines"]["numbers"]) == {"demo_10000_h1_threshold_1pct"}


@pytest.mark.slow
def test_two_equal_budgets_of_three_are_one_in_the_set_of_the_best(tmp_path: Path) -> None:
    write_study(tmp_path, {10_000: 0.3, 20_000: 0.3, 40_000: 0.31}, horizons=(1,), n_days=100)
    first, second = (
        tmp_path / FINAL_FOLDER / f"demo_{n}_h1_threshold_1pct" / "predictions.parquet"
        for n in (10_000, 20_000)
    )
    write_predictions(second, read_predictions(first))
    (horizon,) = judge_study(read_study(tmp_path, None))
    assert "10000 = 20000" in horizon.best_set


@pytest.mark.slow
def test_searches_of_a_budget_are_observations_and_winners_a_component(tmp_path: Path) -> None:
    for number, more in ((1, 0.0), (2, 0.2)):
        # Winners differ by their noise, as architectures do.
        noise = {10_000: 0.3 + more, 20_000: 0.3, 40_000: 0.4 - more}
        write_study(tmp_path, noise, horizons=(1,), n_days=300, search_number=number)
    (horizon,) = judge_study(read_study(tmp_path, None))
    labels = [f"{size}{of}" for size in (10_000, 20_000, 40_000) for of in ("", " (search 2)")]
    assert [cell.label for cell in horizon.cells] == labels
    assert [(pair.model, pair.other) for pair in horizon.pairs] == [
        ("20000", "10000"), ("40000", "20000"),
    ]  # fmt: skip
    assert horizon.law is not None
    assert len(horizon.law.runs.members) == 6
    assert horizon.law.sentence.startswith(
        "3 sizes, 6 searches, 30 runs: a claim about size needs at least 5 sizes, so 2 more are"
    )
    winners = horizon.law.trend.components.winners
    assert winners is not None
    assert winners.value > 0
    section = law_section([horizon])
    assert any("winners 0.0" in sentence for sentence in section.sentences)


@pytest.mark.slow
def test_no_table_and_no_curve_mixes_the_trials_of_two_searches(tmp_path: Path) -> None:
    for number in (1, 2):
        write_study(tmp_path, {10_000: 0.3}, n_days=60, n_ended=4, search_number=number)
    study = read_study(tmp_path, None)
    found = build(study, judge_study(study))
    assert found.facts[0].startswith("Study demo, threshold_1pct: 2 cells of 4 searches, ")
    sections = {section.name: section for section in found.sections}
    labels = ["10000", "10000 (search 2)"]
    for name in ("found", "winners", "selection", "coverage", "time", "more_trials", "budget"):
        table = sections[name].tables[-1]
        assert {row[0] for row in table.rows} == set(labels), name
    # Each of two horizons is compared with the other in the same search alone.
    ranks = sections["horizons"].tables[0].rows
    assert [row[:2] for row in ranks] == [[label, "1 and 3"] for label in labels]
    (figure,) = sections["coverage"].figures
    assert {each.name for each in figure.series} == {f"{of} h{h}" for of in labels for h in (1, 3)}
    # Winners are a component although one size has no law, and cells that no law would take count.
    told_of_noise = [each for each in sections["law"].sentences if "deviations of a loss" in each]
    assert [each.startswith("With them: ") for each in told_of_noise] == [True, True]
    assert all("winners not measured" not in each for each in told_of_noise)


_BROWSER = shutil.which("chromium")


@pytest.mark.skipif(_BROWSER is None, reason="needs chromium")
@pytest.mark.slow
def test_a_browser_draws_the_page_without_a_complaint(results: Path, tmp_path: Path) -> None:
    assert _BROWSER is not None
    page = (results / "report" / "report.html").read_text()
    # What a reader does: sort by a heading, hide a series, touch a point; the page then says so.
    probe = """<script>
    const problems = [];
    window.addEventListener("error", (e) => problems.push(e.message));
    window.addEventListener("load", () => {
      const table = document.querySelector("table");
      const heading = table.querySelectorAll("th")[1];
      heading.click();
      const keys = [...table.tBodies[0].rows].map((r) => Number(r.cells[1].dataset.key));
      const sorted = keys.every((k, i) => i === 0 || !(keys[i - 1] > k));
      const entry = document.querySelector('[id*="--legend--"]');
      entry.dispatchEvent(new MouseEvent("click", {bubbles: true}));
      const hidden = document.querySelectorAll(".hidden").length;
      const point = document.querySelector("[data-tip]");
      point.dispatchEvent(new PointerEvent("pointerenter", {clientX: 5, clientY: 5}));
      const tip = document.getElementById("tip");
      const drawn = [...document.querySelectorAll("figure svg")]
        .every((svg) => svg.getBoundingClientRect().height > 100);
      document.title = JSON.stringify({problems, sorted, hidden: hidden > 0, drawn,
        tip: tip.textContent === point.dataset.tip && tip.style.display === "block"});
    });</script></head>"""
    file = tmp_path / "page.html"
    file.write_text(page.replace("</head>", probe, 1))
    command = [
        _BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/b",
        "--virtual-time-budget=5000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    said = json.loads(title[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert said == {"problems": [], "sorted": True, "hidden": True, "drawn": True, "tip": True}
