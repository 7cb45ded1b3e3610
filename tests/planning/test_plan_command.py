"""The plan of several cells through the command line, with real Ray."""

import json
import os
from pathlib import Path

import pytest

import study.plan
import study.tune
from study.cluster.runtime import cluster
from tests.preloaded import Command
from tests.tuner.command import SPACES, left_over
from tests.tuner.in_process import MARKS, ray_environment

pytestmark = MARKS


def run(here: Path, module: str, *flags: str) -> tuple[int, str, str]:
    process = Command(module, flags, cwd=here, env={**os.environ, "HOME": str(here)})
    try:
        output, errors = process.communicate(timeout=400)
    finally:
        assert not left_over(process.pid), "Ray processes were left"
    assert process.returncode is not None
    return process.returncode, output, errors


def test_an_infeasible_cell_is_a_row_of_the_plan_and_not_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space = (SPACES / "smoke.yaml").read_text()
    # Wide, so that few layers count two thousand billion parameters: no machine holds a step.
    space = space.replace("2M: 2_000_000", "2T: 2_000_000_000_000")
    space = space.replace("256, 320, 384]", "256, 320, 262144]")
    (tmp_path / "space.yaml").write_text(space)
    flags = ["--search", "space.yaml", "--budgets", "2T", "50k", "--horizons", "3", "1"]
    flags += ["--trials", "2", "--max-epochs", "1"]
    code, output, errors = run(tmp_path, "study.plan", *flags, "--json")
    assert code == 1, errors
    # Nothing is written but the times of the steps.
    files = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    (kept,) = files - {Path("space.yaml")}
    assert kept.parent == Path("ray_results/data/cache")
    plan = json.loads(output)
    cells = plan["cells"]
    found = [(cell["budget"], cell["horizon"]) for cell in cells]
    assert found == [("50k", 1), ("50k", 3), ("2T", 1), ("2T", 3)]
    promised = {
        "cell", "budget", "horizon", "trials", "trial_resources", "exclusive", "capacity",
        "concurrency", "estimate", "running_checkpoint_bytes", "kept_checkpoint_bytes",
        "folder_state", "problem", "grid_size", "params_median", "memory_min", "memory_max",
        "power", "sensitivity",
    }  # fmt: skip
    for cell in cells:
        assert promised <= set(cell)
        assert cell["folder_state"] == "new"
    small, large = cells[0], cells[3]
    assert small["problem"] is None
    assert small["memory_min"]["bytes"] <= small["memory_max"]["bytes"]
    assert "d262144" in large["memory_max"]["architecture"]
    assert "must fit the memory of a node" in large["problem"]
    assert large["estimate"] is None
    assert small["sensitivity"]["least"]["feature"] in small["features"]
    assert small["sensitivity"]["least"]["change"] > 0
    assert plan["total"]["cells_to_run"] == 2
    estimates = [cell["estimate"] for cell in cells[:2]]
    both = sum(estimate["search_seconds_expected"] for estimate in estimates)
    assert plan["total"]["search_seconds_expected"] == pytest.approx(both)
    assert all(estimate["epoch_seconds"] for estimate in estimates)
    assert all(estimate["remembered"] is None for estimate in estimates)

    # A search takes the estimate from the plan, and its folder is then known to be complete.
    (tmp_path / "plan.json").write_text(output)
    monkeypatch.chdir(tmp_path)
    of_a_cell = [*flags[:2], *flags[-4:], "--concurrency", "1"]
    with ray_environment(), cluster(None, use_accelerators=True):
        cell_flags = ["--budget", "50k", "--horizon", "1", "--estimate", "plan.json"]
        assert study.tune.main([*of_a_cell, *cell_flags]) == 0
        journal = tmp_path / "ray_results" / small["cell"] / "journal.jsonl"
        created = json.loads(journal.read_text().splitlines()[0])["event"]["cell"]
        assert created["estimate"] == small["estimate"]
        before = sorted((p.name, p.stat().st_mtime_ns) for p in journal.parent.iterdir())
        capsys.readouterr()
        # Of the other cell a search would be refused.
        (journal.parents[1] / cells[1]["cell"]).mkdir()
        assert study.plan.main([*of_a_cell, "--budgets", "50k", "--horizons", "1", "3"]) == 1
    output = capsys.readouterr().out
    assert before == sorted((p.name, p.stat().st_mtime_ns) for p in journal.parent.iterdir())
    assert "1 complete, 1 with a folder that cannot be gone on with" in output
    # A cell says what it needs in both memory modes, whatever it is planned in.
    assert len(output.splitlines()) <= 38
    assert max(map(len, output.splitlines()[:14])) <= 120
