"""A search of two phases from its sweep to its report and a prediction, with real Ray."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import analysis.__main__
import study.predict
import study.status
import study.sweep
import study.train
from study.cluster.runtime import cluster
from study.final.answers import baseline_predictions
from study.results.finals.final_records import read_final
from study.results.store import read_trials
from study.storage.layout import FINAL_FOLDER, PLAN_FILE
from tests.tuner.command import FEW_TOKENS, SPACES
from tests.tuner.in_process import MARKS, ray_environment

pytestmark = MARKS

ONE = "tiny-1_50k-100k_h1_threshold_1pct"
TWO = ("tiny-2_50k_h1_threshold_1pct", "tiny-2_100k_h1_threshold_1pct")
SEARCH = ("--search", "tiny.yaml")
# One trial at a time: each further worker imports Ray and torch for seconds.
ONE_AT_A_TIME = (*SEARCH, "--concurrency", "1")
FINAL = (*ONE_AT_A_TIME, "--seeds", "2", "--candidates", "1", "--selection-seeds", "1")


def write_two_phases(here: Path) -> None:
    """Write ``tiny.yaml``: two budgets in one search, then two trials around the best of each."""
    raw = yaml.safe_load((SPACES / "smoke.yaml").read_text())
    raw["study"], raw["budgets"], raw["horizons"] = "tiny", {"50k": 50_000, "100k": 100_000}, [1]
    raw["train"]["epochs"] = 2
    raw["model"]["patch_stride"] = FEW_TOKENS
    raw["search"] |= {
        "trials": 4, "across_budgets": True, "forced": "none", "scheduler": "fifo",
    }  # fmt: skip
    raw["supplementary"] = {
        "trials": 2,
        "model": {"n_heads": {"choice": [1, 2, 4]}},
        "train": {"learning_rate": {"log_uniform": [5.0e-4, 5.0e-3]}},
    }
    (here / "tiny.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_two_phases(tmp_path)
    monkeypatch.chdir(tmp_path)
    # A whole forest takes four seconds.
    monkeypatch.setattr(baseline_predictions, "_TREES", 20)
    return tmp_path


def done(main: Callable[[list[str]], int], *flags: str) -> int:
    """Run a command, and undo what a sweep sets in the environment of its children."""
    with ray_environment():
        return main([*flags])


def files_of(folder: Path) -> dict[str, int]:
    """Return when each record of a search was last written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for name in (ONE, *TWO)
        for path in (folder / name).rglob("*.json*")
    }


def report(here: Path, name: str) -> dict[str, Any]:
    assert analysis.__main__.main(["--study", name]) == 0
    written: dict[str, Any] = json.loads((here / "ray_results/report/report.json").read_text())
    return written


def test_both_phases_from_the_sweep_to_a_prediction(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = here / "ray_results"
    assert done(study.sweep.main, *ONE_AT_A_TIME) == 0
    assert [len(read_trials(results / name)) for name in (ONE, *TWO)] == [4, 2, 2]
    assert {record.budget for record in read_trials(results / ONE)} == {"50k", "100k"}
    before = files_of(results)
    capsys.readouterr()
    # With the plan of before: what is complete is not planned anew either.
    plan = json.loads((results / "tiny_sweep" / PLAN_FILE).read_text())
    assert [row["cell"] for row in plan["cells"]] == [ONE, *TWO]
    for row in plan["cells"]:
        row["folder_state"] = "complete"
    (here / "plan.json").write_text(json.dumps(plan))
    assert done(study.sweep.main, *ONE_AT_A_TIME, "--plan", "plan.json") == 0
    assert capsys.readouterr().out.count("complete before") == 3
    assert files_of(results) == before
    assert study.status.main(["tiny", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert {cell["cell"]: cell["state"] for cell in status["cells"]} == dict.fromkeys(
        (ONE, *TWO), "complete"
    )

    winners = results / FINAL_FOLDER
    with ray_environment(), cluster(None, use_accelerators=True):
        # The later phase, then the winner of every budget of the first one.
        assert study.train.main([*FINAL]) == 0
        assert {path.parent.name for path in winners.glob("*/final.json")} == set(TWO)
        assert study.train.main([*FINAL, "--phase", "1"]) == 0
    own = {f"{ONE}_50k": "50k", f"{ONE}_100k": "100k"}
    assert {path.parent.name for path in winners.glob("*/final.json")} == {*TWO, *own}
    for name, budget in own.items():
        record = read_final(winners / name)
        assert record is not None
        assert (record.cell, record.budget) == (name, budget)
        best = min(
            (r for r in read_trials(results / ONE) if r.budget == budget and r.is_rankable),
            key=lambda r: r.value or 1.0,
        )
        assert (record.winner, record.params["budget"]) == (best.number, budget)
        assert abs(record.param_count / record.budget_parameters - 1) <= 0.25
        assert {run.budget for run in read_trials(winners / name / "runs")} == {budget}

    for study_name, names in (("tiny-1", [*own]), ("tiny-2", [*TWO])):
        written = report(here, study_name)
        assert written["missing"] == []
        assert set(written["sections"]["baselines"]["numbers"]) == set(names)
        # The table has all sizes, and the baselines among them.
        (table,) = written["sections"]["winners"]["tables"]
        rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
        assert [row["budget"] for row in rows] == ["50k", "100k"]
        assert rows[0]["parameters"] < 75_000 <= rows[1]["parameters"]
        tables = written["sections"]["baselines"]["tables"]
        (scores,) = (each for each in tables if each["columns"][0] == "model")
        models = {row[0] for row in scores["rows"]}
        assert models > {"50k", "100k", "logistic", "constant"}
        (other,) = {"tiny-1", "tiny-2"} - {study_name}
        assert any("Not in this report" in fact and other in fact for fact in written["facts"])
    # Several reports are asked for by name.
    assert analysis.__main__.main([]) == 2
    assert "tiny-1_50k-100k_threshold_1pct, tiny-2_threshold_1pct" in capsys.readouterr().err
    for name in (*own, *TWO):
        assert study.predict.main(["--cell", name, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["cell"] == name
    assert files_of(results) == before
