"""Every record is rebuilt from the journal, one file at a time."""

import dataclasses
import gc
import random
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from study.interruptions import Stop
from study.results.epoch_report import EpochRecord
from study.results.journal import Journal
from study.results.store import read_trials
from study.search.cell_folder import CellFolder
from study.search.ledger import Ledger
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.storage.lock import FolderLock
from study.storage.place import LocalPlace
from study.tuner.opened_search import OpenedSearch
from study.tuner.recorder import Recorder
from study.tuner.slot_limit import Slots
from tests.search.simulated_search import (
    CELL,
    SPACES,
    new_ledger,
    play,
    reopened,
    report,
)
from tests.tuner.planned import plan

STUDY = load_study(SPACES / "smoke.yaml")
CELLS = [STUDY.cell("50k", horizon) for horizon in (1, 3)]

VIEWS = [
    "all_trials.json",
    "best_params.json",
    "../experiment_results.csv",
    "trial_0002*/result.json",
    "trial_0002*/metrics.json",
    "trial_0002*/events.out.tfevents.*",
]


def recorder(folder: Path, ledger: Ledger, cell: Cell = CELL) -> Recorder:
    lock = FolderLock(folder)
    # Several searches use the folder one after the other in one process.
    lock.release()
    opened = OpenedSearch(
        plan=dataclasses.replace(plan(), cell=cell),
        folder=CellFolder(LocalPlace(folder), Journal.open(folder, witness=None), lock),
        ledger=ledger,
        stop=Stop(folder / "stop"),
        slots=Slots(None, most=1),
    )
    return Recorder(opened, stalled={})


@pytest.fixture
def ended(tmp_path: Path) -> tuple[Path, Ledger]:
    """Return the folder and ledger of a complete search of which only the journal exists."""
    ledger = new_ledger(tmp_path / "cell")
    play(ledger, random.Random(0), 1, {})
    return tmp_path / "cell", ledger


@pytest.mark.slow
def test_trials_that_have_ended_leave_little_in_memory(tmp_path: Path) -> None:
    ledger = new_ledger(tmp_path / "cell")
    while (assignment := ledger.next()) is not None:
        for epoch in range(1, 41):
            if ledger.epoch(assignment.number, report(assignment, epoch, of=40)):
                break
    trained = sum(record.epochs_trained for record in ledger.records)
    assert trained > 200
    del ledger
    before = epochs_in_memory()
    again = reopened(tmp_path / "cell")
    assert epochs_in_memory() == before + trained
    recorder(tmp_path / "cell", again).repair()
    assert epochs_in_memory() == before


def epochs_in_memory() -> int:
    gc.collect()
    return sum(type(each) is EpochRecord for each in gc.get_objects())


def content(folder: Path) -> dict[str, bytes]:
    """Return every record; event files, which hold times, are represented by their size."""
    found = {
        str(p.relative_to(folder.parent)): p.read_bytes()
        for p in sorted(folder.parent.rglob("*"))
        if p.suffix in (".json", ".csv")
    }
    events = sorted(folder.glob("trial_*/events*"))
    sizes = {str(p.parent.relative_to(folder.parent)): str(p.stat().st_size) for p in events}
    found = {name: text for name, text in found.items() if "best_params" not in name}
    return found | {name: size.encode() for name, size in sizes.items()}


def test_all_records_follow_from_the_journal(ended: tuple[Path, Ledger]) -> None:
    folder, ledger = ended
    recorder(folder, reopened(folder)).repair()
    assert read_trials(folder) == ledger.records
    before = content(folder)
    assert len(before) == 2 + 12 * 3
    recorder(folder, reopened(folder)).repair()
    assert content(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("damage", ["cut", "emptied", "removed"])
def test_each_record_that_is_damaged_is_written_again(
    ended: tuple[Path, Ledger], view: str, damage: str
) -> None:
    folder, _ = ended
    recorder(folder, reopened(folder)).repair()
    before = content(folder)
    (path,) = [(folder / view).resolve()] if "*" not in view else folder.glob(view)
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 if damage == "cut" else 0])
    recorder(folder, reopened(folder)).repair()
    after = content(folder)
    damaged = [name for name in after if Path(name).name.startswith("damaged-")]
    assert {name: text for name, text in after.items() if name not in damaged} == before
    assert (folder / "best_params.json").stat().st_size > 0


def session_groups(logdir: Path) -> dict[str, list[str]]:
    """Return the runs that TensorBoard shows as one row of HParams, by the row's name."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    context = backend_context.Context(TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=1000,
        allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING],
    )
    handler = list_session_groups.Handler(RequestContext(), context, str(logdir), request)
    return {group.name: [s.name for s in group.sessions] for group in handler.run().session_groups}


@pytest.mark.slow
def test_tensorboard_averages_no_two_trials(tmp_path: Path) -> None:
    """Final runs of two horizons have the same trials in folders of the same name."""
    results = tmp_path / "ray_results"
    folders = {results / cell.name: cell for cell in CELLS}
    for where in ("selection", "runs"):
        folders |= {results / "final" / cell.name / where: cell for cell in CELLS}
    # Those of a search across budgets lie in a folder of each budget.
    for budget in ("2M", "20M"):
        folders[results / "final" / f"{CELLS[0].name}_{budget}" / "runs"] = CELLS[0]
    for folder, cell in folders.items():
        folder.parent.mkdir(parents=True, exist_ok=True)
        ledger = new_ledger(folder)
        play(ledger, random.Random(0), 1, {})
        recorder(folder, ledger, cell).repair()
    groups = session_groups(results)
    assert len(groups) == 8 * 12
    assert all(len(sessions) == 1 for sessions in groups.values())
    for cell in CELLS:
        named = {name.rpartition("/")[0] for name in groups if name.startswith(f"{cell.name}/")}
        assert named == {cell.name, f"{cell.name}/selection", f"{cell.name}/runs"}
