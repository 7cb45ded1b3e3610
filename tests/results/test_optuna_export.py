import dataclasses
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from study.results.__main__ import main
from study.results.epoch_report import EpochRecord
from study.results.journal import Journal
from study.results.store import CellIdentity, CellStore, write_cell
from study.search.ledger import Ledger
from study.spec.search_config import SearchConfig
from tests.search.simulated_search import (
    CELL,
    EPOCHS,
    RANKED,
    SEARCH,
    ledger_of,
    ranked_report,
    report,
)

Search = tuple[Path, Ledger]


def ended_search(
    here: Path, search: SearchConfig, make_report: Callable[..., EpochRecord]
) -> Search:
    """Return the folder of a search that has just ended, but for a trial that is at work."""
    folder = here / CELL.name
    folder.mkdir()
    described = {"cell": CELL.name, "spec": CELL.resolved(), "metric": search.metric}
    journal = Journal.create(
        folder, "abcd1234", {"kind": "created", "time": 0.0, "cell": described}
    )
    write_cell(folder, {"search": "abcd1234", **described})
    ledger = ledger_of(journal, search)
    for _ in range(search.trials - 1):
        trial, epoch = ledger.next(), 1
        assert trial is not None
        while not ledger.epoch(trial.number, make_report(trial, epoch, of=EPOCHS)):
            epoch += 1
    running = ledger.next()
    assert running is not None
    # Before the first rung nothing ends.
    first = make_report(running, 1, of=EPOCHS)
    ledger.epoch(running.number, dataclasses.replace(first, schedule_percent=10))
    identity = CellIdentity(
        name=CELL.name, study="demo", budget="50k", phase=None, metric=search.metric, horizon=1,
        task="threshold_1pct", data_sha256="abc", versions={},
    )  # fmt: skip
    CellStore(folder, identity).write_trials(ledger.records)
    return folder, ledger


@pytest.fixture
def searched(tmp_path: Path) -> Search:
    return ended_search(tmp_path, SEARCH, report)


def read(path: Path) -> optuna.Study:
    storage = (
        RDBStorage(f"sqlite:///{path}")
        if path.suffix == ".db"
        else JournalStorage(JournalFileBackend(str(path)))
    )
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()
    return study


@pytest.mark.slow
@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_optuna_reads_every_trial_as_it_is_on_record(
    searched: Search, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, ledger = searched
    target = folder.parent / name
    assert main([str(folder), "--optuna", str(target)]) == 0
    assert capsys.readouterr() == (f"12 trials written to {target}\n", "")
    study = read(target)
    assert study.study_name == CELL.name
    assert [trial.number for trial in study.trials] == ledger.numbers
    for trial in study.trials:
        record = ledger.record(trial.number)
        params = ledger.assignment(trial.number).config.flat()
        assert trial.params.items() <= params.items()
        assert {*trial.params} == {*study.trials[0].params}
        assert trial.intermediate_values == {
            epoch.epoch: epoch.best.loss
            for epoch in ledger.epochs(trial.number)
            if epoch.best is not None
        }
        if record is None:
            assert (trial.number, trial.state) == (11, TrialState.RUNNING)
            assert len(trial.intermediate_values) == 1
            continue
        assert trial.state.name == record.state
        assert trial.user_attrs["reason"] == record.reason
        assert trial.value == (record.objective if record.state != "FAIL" else None)
        assert trial.datetime_complete is not None
    best = ledger.best
    completed = [r for r in ledger.records if r.state == "COMPLETE"]
    assert best is not None
    # Optuna's best is among the trials that ran to their end.
    assert study.best_value == min(r.objective for r in completed if r.objective is not None)
    assert {t.state for t in study.trials} == {
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING,
    }  # fmt: skip


def test_the_search_of_a_panel_minimises_the_distance_of_its_score_from_one(
    tmp_path: Path,
) -> None:
    folder, ledger = ended_search(tmp_path, RANKED, ranked_report)
    assert main([str(folder), "--optuna", str(tmp_path / "study.log")]) == 0
    study = read(tmp_path / "study.log")
    assert study.user_attrs["objective"] == "1 - validation RankIC"
    assert ledger.best is not None
    assert study.best_trial.number == ledger.best.number
    assert study.best_value == 1 - study.best_trial.user_attrs["rank_ic"]


def test_every_parameter_that_was_searched_and_no_other_can_be_plotted(
    searched: Search,
) -> None:
    folder, _ = searched
    target = folder.parent / "study.log"
    assert main([str(folder), "--optuna", str(target)]) == 0
    study = read(target)
    searched_names = {
        name
        for name, raw in {**CELL.resolved()["model"], **CELL.resolved()["train"]}.items()
        if isinstance(raw, dict)
    }
    assert {*study.trials[0].params} == searched_names
    assert {*study.user_attrs["not searched"]} & searched_names == set()
    assert set(optuna.importance.get_param_importances(study)) <= searched_names


def test_an_existing_file_is_refused_and_stays(
    searched: Search, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = searched
    target = folder.parent / "mine.db"
    target.write_text("mine")
    assert main([str(folder), "--optuna", str(target)]) == 2
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    assert "must be a file that does not exist" in shown.err
    assert target.read_text() == "mine"


def test_a_folder_that_is_no_search_and_a_place_that_cannot_be_written_are_one_line(
    searched: Search, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = searched
    for cell, target in (
        (tmp_path, tmp_path / "a.db"),
        (folder, tmp_path / "absent" / "a.db"),
    ):
        assert main([str(cell), "--optuna", str(target)]) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ")
        assert shown.err.count("\n") == 1
        assert not target.exists()


def test_a_folder_that_is_missing_is_named(
    searched: Search, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = searched
    target = tmp_path / "absent" / "study.db"
    assert main([str(folder), "--optuna", str(target)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {target}: must lie in a folder that exists, but got no folder")
    assert not target.parent.exists()
