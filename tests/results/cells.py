"""Cells as a search leaves them, written by the writers of the search."""

from pathlib import Path

from study.results.journal import Journal
from study.results.records import TrialRecord
from study.results.store import CellIdentity, CellStore
from tests.results.conftest import PARAMS, record
from tests.results.reports import epoch_record

ASKED = 50


def write_cell(storage: Path, name: str, *, ended: int, running: int = 0, epochs: int = 15) -> Path:
    folder = storage / name
    folder.mkdir(parents=True)
    cell = {"cell": name, "budget": "2M", "trials": ASKED, "concurrency": 2}
    journal = Journal.create(folder, "abcd1234", {"kind": "created", "time": 1.0, "cell": cell})
    identity = CellIdentity(
        name=name, study="demo", budget="2M", phase=None, metric="log_loss",
        horizon=1, task="threshold_1pct",
        data_sha256="abc", versions={},
    )  # fmt: skip
    store = CellStore(folder, identity)
    records: list[TrialRecord] = []
    for number in range(ended + running):
        trial = record(number, folder=f"trial_{number:04d}_d64_L2_h4")
        (folder / trial.folder).mkdir()
        journal.append({"kind": "asked", "time": 2.0, "number": number, "params": PARAMS})
        reports = [
            epoch_record(epoch, validation_seconds=0.0, worker={"checkpoint_seconds": None})
            for epoch in range(1, epochs + 1)
        ]
        store.write_epochs(trial.folder, reports)
        (folder / trial.folder / "lock").touch()
        if number < ended:
            store.write_trial(trial, reports)
            records.append(trial)
    store.write_trials(records)
    (folder / "lock").touch()
    return folder
