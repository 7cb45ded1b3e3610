"""Damaged results folders: status and report show what they can read, and name the rest."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.__main__ import main as analysis_main
from analysis.study_records import read_study
from study import status
from study.cluster import machine
from tests.analysis.records import write_study
from tests.fuzz.damage import damaged_bytes, damaged_text, fuzz, slow_fuzz
from tests.fuzz.judge import check_form, refuses, run
from tests.results.cells import write_cell

pytestmark = pytest.mark.slow

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


@contextmanager
def damaged(path: Path, data: st.DataObject) -> Iterator[None]:
    """Damage a file until the end of the block."""
    whole = path.read_bytes()
    if path.suffix == ".parquet":
        path.write_bytes(data.draw(damaged_bytes(whole)))
    else:
        path.write_bytes(data.draw(damaged_text((whole.decode(),))))
    try:
        yield
    finally:
        path.write_bytes(whole)


@fuzz
@given(data=st.data())
def test_records_are_read_or_refused(study_folder: Path, data: st.DataObject) -> None:
    path = study_folder / data.draw(st.sampled_from((*TEXTS, *BINARIES)))
    with damaged(path, data):
        refuses(lambda: read_study(study_folder, None))
        check_form(run(analysis_main, ["replay", str(path.parent)]))


@slow_fuzz
@given(data=st.data())
def test_the_report_names_what_it_cannot_read(study_folder: Path, data: st.DataObject) -> None:
    path = study_folder / data.draw(st.sampled_from((*TEXTS, *BINARIES)))
    with damaged(path, data):
        check_form(run(analysis_main, ["--storage", str(study_folder)]))


def test_the_whole_study_is_reported(study_folder: Path) -> None:
    outcome = run(analysis_main, ["--storage", str(study_folder)])
    assert outcome.code == 0, outcome


@pytest.fixture(scope="module")
def two_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("running") / "ray_results"
    for name in (WHOLE, HURT):
        write_cell(results, name, ended=3, running=1, epochs=2)
    return results


@pytest.fixture(scope="module")
def no_wait() -> Iterator[None]:
    """Measure the load of the CPUs without waiting, since these tests do not look at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "_LOAD_SECONDS", None)
        yield


@fuzz
@given(data=st.data())
@pytest.mark.usefixtures("no_wait")
def test_status_shows_the_cells_that_it_can_read(two_cells: Path, data: st.DataObject) -> None:
    files = sorted(p for p in (two_cells / HURT).rglob("*") if p.is_file() and p.stat().st_size)
    with damaged(data.draw(st.sampled_from(files)), data):
        outcome = run(status.main, ["--storage", str(two_cells), "--json"])
    check_form(outcome, may_fail=True)
    assert WHOLE in outcome.out
