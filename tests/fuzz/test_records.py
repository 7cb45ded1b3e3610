"""Results folders after an accident: status and report say what they can, and name the rest."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.__main__ import main as analysis_main
from analysis.study_records import read_study
from study import status
from tests.analysis.records import write_study
from tests.fuzz.damage import damaged_bytes, damaged_text, fuzz, slow_fuzz
from tests.fuzz.judge import check_form, refuses, run
from tests.results.cells import write_cell

TEXTS = (
    "demo_1000_h1_threshold_1pct/cell.yaml",
    "demo_1000_h1_threshold_1pct/all_trials.json",
    "final/demo_1000_h1_threshold_1pct/final.json",
)
WHOLE, HURT = "demo_2M_h1_threshold_1pct", "demo_2M_h3_threshold_1pct"
BINARIES = ("final/demo_1000_h1_threshold_1pct/predictions.parquet",)


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("whole") / "ray_results"
    write_study(results, {1000: 0.5, 10_000: 0.4}, horizons=(1,), n_days=40)
    return results


def hurt(study_folder: Path, folder: Path, data: st.DataObject) -> tuple[Path, Path]:
    """Return a copy of the study of which one record is damaged, and that record."""
    results = folder / "ray_results"
    shutil.rmtree(results, ignore_errors=True)
    shutil.copytree(study_folder, results)
    name = data.draw(st.sampled_from((*TEXTS, *BINARIES)))
    path = results / name
    if name in TEXTS:
        path.write_bytes(data.draw(damaged_text((path.read_text(encoding="utf-8"),))))
    else:
        path.write_bytes(data.draw(damaged_bytes(path.read_bytes())))
    return results, path


@fuzz
@given(data=st.data())
def test_records_are_read_or_refused(study_folder: Path, folder: Path, data: st.DataObject) -> None:
    results, path = hurt(study_folder, folder, data)
    refuses(lambda: read_study(results, None))
    check_form(run(analysis_main, ["replay", str(path.parent)]))


@slow_fuzz
@given(data=st.data())
def test_the_report_names_what_it_cannot_read(
    study_folder: Path, folder: Path, data: st.DataObject
) -> None:
    results, _ = hurt(study_folder, folder, data)
    check_form(run(analysis_main, ["--storage", str(results)]))


def test_the_whole_study_is_reported(study_folder: Path) -> None:
    outcome = run(analysis_main, ["--storage", str(study_folder)])
    assert outcome.code == 0, outcome


@pytest.fixture(scope="module")
def two_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("running") / "ray_results"
    for name in (WHOLE, HURT):
        write_cell(results, name, ended=3, running=1, epochs=2)
    return results


@fuzz
@given(data=st.data())
def test_status_shows_the_cells_that_it_can_read(
    two_cells: Path, folder: Path, data: st.DataObject
) -> None:
    results = folder / "running"
    shutil.rmtree(results, ignore_errors=True)
    shutil.copytree(two_cells, results)
    files = sorted(p for p in (results / HURT).rglob("*") if p.is_file() and p.stat().st_size)
    path = data.draw(st.sampled_from(files))
    text = path.read_text(encoding="utf-8")
    path.write_bytes(data.draw(damaged_text((text,))))
    outcome = run(status.main, ["--storage", str(results), "--json"])
    check_form(outcome, may_fail=True)
    assert WHOLE in outcome.out
