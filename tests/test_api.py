"""The study from Python, and the examples that use it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from study import Study
from study.errors import SpecError
from study.planning.prepared_cell import PlanOptions
from study.tuner.run_cell import RunStatus
from tests.tuner.command import write_space
from tests.tuner.in_process import MARKS, ray_environment

ROOT = Path(__file__).parent.parent

pytestmark = MARKS


def test_a_cell_is_planned_searched_extended_and_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_space(tmp_path, trials=8, epochs=2)
    study = Study.load(tmp_path / "tiny.yaml", results=tmp_path / "ray_results")
    cell = study.cell("50k", 3)
    options = PlanOptions(
        results=cell.results, device="cpu", concurrency=1, estimate=tmp_path / "estimate.json"
    )
    with ray_environment():
        plan = cell.plan(options)
        assert (plan.feasible, plan.problem, plan.question.trials) == (True, None, 8)
        assert not cell.results.exists()
        assert cell.search(trials=2, options=options) is RunStatus.DONE
        with pytest.raises(SpecError, match="a cell is searched once"):
            cell.search(options=options)
        assert cell.search(trials=4, resume=True, options=options) is RunStatus.DONE
    trials = cell.trials()
    assert list(trials.index) == [0, 1, 2, 3]
    best = cell.best
    assert best is not None
    on_disk = json.loads((cell.folder / "best_params.json").read_text())
    assert (best.value, best.param_count) == (on_disk["best_val_loss"], on_disk["param_count"])
    assert trials.loc[best.number, "value"] == best.value == trials["value"].min()
    assert trials.loc[best.number, "learning_rate"] == best.params["learning_rate"]
    written = study.report()
    assert written.page.read_text().startswith("<!doctype html>")
    assert "trials ended" not in capsys.readouterr().err


def test_the_examples_run(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    script = [sys.executable, str(ROOT / "examples" / "search_a_cell.py")]
    printed = subprocess.run(
        script, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert "6 of 6" in printed
    assert printed.rstrip().endswith("report/report.html")
    notebook = json.loads((ROOT / "examples" / "read_a_search.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
