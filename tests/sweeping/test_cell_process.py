"""What a sweep reads of its cells while they are at work."""

import dataclasses
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from study.results.journal import Journal
from study.sweeping.cell_process import CellRun, count_epochs
from study.sweeping.summary_table import summary_table
from tests.results.cells import ASKED, write_cell
from tests.results.conftest import record
from tests.results.reports import panel_best
from tests.sweeping.command import planned

N_CELLS = 12
EPOCHS = 15
PLAN = planned("demo_2M_h1", capacity=8, concurrency=8, trials=ASKED)


@pytest.mark.slow
def test_the_books_of_600_trials_are_kept_in_less_than_a_second(tmp_path: Path) -> None:
    names = [f"demo_{index}M_h1" for index in range(N_CELLS)]
    for name in names:
        write_cell(tmp_path, name, ended=ASKED, epochs=EPOCHS)
    times = []
    for _ in range(3):
        cells = [CellRun(name=name, plan=PLAN, flags=()) for name in names]
        began = time.process_time()
        for cell in cells:
            cell.read(tmp_path)
        times.append(time.process_time() - began)
        assert [len(cell.records) for cell in cells] == [ASKED] * N_CELLS
        assert {cell.demand.usable for cell in cells} == {1}
    console = Console(width=200)
    with console.capture() as shown:
        console.print(summary_table(cells))
    assert shown.get().count("50/50") == N_CELLS
    assert min(times) < 1.0


def test_records_are_read_again_only_when_they_have_changed(tmp_path: Path) -> None:
    folder = write_cell(tmp_path, "demo_2M_h1", ended=2)
    cell = CellRun(name="demo_2M_h1", plan=PLAN, flags=())
    cell.read(tmp_path)
    assert (len(cell.records), cell.demand.usable) == (2, 8)
    assert cell.best is not None
    first = cell.records
    # All it was asked for have ended, and three beyond an edge have been decided on since.
    cell.records = first * (ASKED // 2)
    assert cell.demand.usable == 1
    (folder / "cell.yaml").write_text(f"trials: {ASKED + 3}\n")
    cell.read(tmp_path)
    assert (cell.trials, cell.demand.usable) == (ASKED + 3, 3)
    cell.records = first
    cell.read(tmp_path)
    assert cell.records is first
    # Torn by a crash: the last records stand until the cell's own process repairs it.
    path = folder / "all_trials.json"
    path.write_text(path.read_text()[:100])
    os.utime(path, (1.0, 1.0))
    cell.read(tmp_path)
    assert cell.records is first


def test_the_epochs_of_a_journal_are_counted(tmp_path: Path) -> None:
    assert count_epochs(tmp_path / "absent") == 0
    folder = write_cell(tmp_path, "demo_2M_h1", ended=2)
    assert count_epochs(folder) == 0
    journal = Journal.open(folder, witness=None)
    for epoch in (1, 2):
        journal.append({"kind": "epoch", "time": 3.0, "number": 0, "report": {"epoch": epoch}})
    assert count_epochs(folder) == 2


@pytest.mark.parametrize(
    ("metric", "shown"),
    [("sharpe", "Sharpe +0.6000 +- 0.4000"), (None, "RankIC +0.0500 +- 0.0200")],
)
def test_the_best_of_a_panel_is_tabled_by_the_score_that_ranks(
    metric: str | None, shown: str
) -> None:
    plan = dataclasses.replace(PLAN, metric=metric)
    cell = CellRun(name="demo_2M_h1", plan=plan, flags=())
    cell.records = [dataclasses.replace(record(0), best=panel_best(0.05))]
    console = Console(width=200, record=True)
    console.print(summary_table([cell]))
    assert shown in console.export_text()
