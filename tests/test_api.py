"""The study from Python."""

import json
from pathlib import Path

import pytest
import ray

from study import Study, StudyError
from study.errors import SpecError
from study.planning.prepared_cell import PlanOptions
from study.tuner.run_cell import RunStatus
from tests.tuner.command import write_space
from tests.tuner.in_process import MARKS, ray_environment

pytestmark = MARKS


def test_a_cell_is_planned_searched_extended_and_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_space(tmp_path, trials=8, epochs=2)
    study = Study.load(tmp_path / "tiny.yaml", results=tmp_path / "ray_results")
    cell = study.cell("50k", 3)
    again = study.cell("50k", 3, search_number=2)
    assert again.folder == cell.folder.with_name(f"{cell.folder.name}_search2")
    with pytest.raises(StudyError, match="must be at least 1 trading day, but got --horizon '3'"):
        study.cell("50k", "3")  # type: ignore[arg-type]
    assert cell.trials().empty
    assert cell.best is None
    options = PlanOptions(
        results=cell.results, device="cpu", concurrency=1, estimate=tmp_path / "estimate.json"
    )
    with ray_environment():
        plan = cell.plan(options=options)
        assert (plan.feasible, plan.problem, plan.question.trials) == (True, None, 8)
        # A Ray that this process has already is used, and stays.
        with options.cluster():
            assert cell.plan(trials=5, options=options).question.trials == 5
            assert not cell.results.exists()
            assert cell.search(trials=1, options=options) is RunStatus.DONE
            with pytest.raises(SpecError, match="a cell is searched once"):
                cell.search(options=options)
            with pytest.raises(SpecError, match="resume and fresh exclude each other"):
                cell.search(resume=True, fresh=True, options=options)
            assert cell.search(trials=2, resume=True, options=options) is RunStatus.DONE
            assert ray.is_initialized()
    trials = cell.trials()
    assert list(trials.index) == [0, 1]
    best = cell.best
    assert best is not None
    on_disk = json.loads((cell.folder / "best_params.json").read_text())
    assert (best.value, best.param_count) == (on_disk["best_val_loss"], on_disk["param_count"])
    assert trials.loc[best.number, "value"] == best.value == trials["value"].min()
    assert trials.loc[best.number, "learning_rate"] == best.params["learning_rate"]
    written = study.report()
    assert written.page.read_text().startswith("<!doctype html>")
    assert "trials ended" not in capsys.readouterr().err
