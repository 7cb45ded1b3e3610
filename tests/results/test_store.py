import csv
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.errors import StudyError
from study.results.records import TrialRecord, best_trial, ranked
from study.results.scores import HoldoutScores
from study.results.store import (
    CellIdentity,
    CellStore,
    read_cell,
    read_trials,
    write_cell,
)
from study.results.tables.all_runs import CSV_COLUMNS
from study.text.short_forms import architecture
from tests.results.conftest import record
from tests.results.damage import damaged
from tests.results.reports import epoch_record

IDENTITY = CellIdentity(
    name="demo_2M_h1_threshold_1pct",
    study="demo",
    budget="2M",
    phase=None,
    metric="log_loss",
    horizon=1,
    task="threshold_1pct",
    data_sha256="abc",
    versions={"torch": "2.13.0"},
)

EPOCHS = [epoch_record(1, loss=0.6), epoch_record(2, loss=0.5)]
LINES = [epoch.to_json() for epoch in EPOCHS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return cell_folder(tmp_path)


def cell_folder(results: Path) -> Path:
    cell = results / IDENTITY.name
    cell.mkdir()
    return cell


def table(folder: Path) -> Path:
    return folder.parent / "experiment_results.csv"


def rows(folder: Path) -> list[dict[str, str]]:
    with table(folder).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_ids(folder: Path) -> list[str]:
    return [row["run_id"].removeprefix(f"{IDENTITY.name}/") for row in rows(folder)]


def test_what_is_written_is_what_is_read(folder: Path) -> None:
    trials = [
        record(0, faults=["worker: its worker died", "memory: out of it"]),
        record(1, value=None, reason="diverged"),
        record(2, reason="error", message="RuntimeError: 'quoted', with, commas\nand lines"),
    ]
    CellStore(folder, IDENTITY).write_trials(trials)
    assert read_trials(folder) == trials


def test_a_cell_without_an_ended_trial_has_none(folder: Path) -> None:
    assert read_trials(folder) == []
    CellStore(folder, IDENTITY).write_trials([])
    assert read_trials(folder) == []
    assert rows(folder) == []


def test_writing_again_after_a_crash_leaves_the_same_files(folder: Path) -> None:
    def write() -> dict[str, bytes]:
        store = CellStore(folder, IDENTITY)
        store.write_epochs("trial_0000", EPOCHS)
        store.write_trial(record(0), EPOCHS)
        store.write_trials([record(0)])
        files = (path for path in folder.parent.rglob("*") if path.is_file())
        return {
            path.name: path.read_bytes()
            for path in files
            if path.name not in ("best_params.json", "lock")
        }

    (folder / "trial_0000").mkdir()
    once = write()
    assert set(once) == {
        "all_trials.json", "experiment_results.csv", "metrics.json", "result.json"
    }  # fmt: skip
    assert write() == once


def test_a_trial_is_there_only_as_it_was_written(folder: Path) -> None:
    store = CellStore(folder, IDENTITY)
    path = folder / "trial_0000" / "metrics.json"
    path.parent.mkdir()
    assert not store.has_trial(record(0), EPOCHS)
    store.write_trial(record(0), EPOCHS)
    assert not store.has_trial(record(0), EPOCHS)
    store.write_epochs("trial_0000", EPOCHS)
    assert store.has_trial(record(0), EPOCHS)
    assert json.loads(path.read_text())["learning_curve"] == LINES
    assert not store.has_trial(record(0, value=0.4), EPOCHS)
    assert not store.has_trial(record(0), EPOCHS[:1])
    path.write_bytes(path.read_bytes()[:-9])
    assert not store.has_trial(record(0), EPOCHS)


def test_the_log_of_a_trial_holds_each_epoch_once(folder: Path) -> None:
    store = CellStore(folder, IDENTITY)
    path = folder / "trial_0000" / "result.json"
    path.parent.mkdir()
    store.write_epochs("trial_0000", [])
    for epoch in EPOCHS:
        store.add_epoch("trial_0000", epoch)
    assert [json.loads(line) for line in path.read_text().splitlines()] == LINES
    # Torn by a crash, and one epoch behind the journal.
    path.write_bytes(path.read_bytes()[:-9])
    store.write_epochs("trial_0000", EPOCHS)
    store.add_epoch("trial_0000", epoch_record(3))
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2, 3]
    # Ahead of it.
    store.write_epochs("trial_0000", EPOCHS[:1])
    assert [json.loads(line) for line in path.read_text().splitlines()] == LINES[:1]


def test_a_collapsed_or_failed_trial_is_never_the_best(folder: Path) -> None:
    store = CellStore(folder, IDENTITY)
    trials = [record(0, value=0.1, reason="collapsed"), record(1, value=0.2, reason="diverged")]
    store.write_trials(trials)
    assert best_trial(trials) is None
    assert not (folder / "best_params.json").exists()
    trials += [record(2, value=0.4, reason="asha"), record(3, value=0.3, reason="early_stopping")]
    store.write_trials(trials)
    assert best_trial(trials) == trials[3]
    best = json.loads((folder / "best_params.json").read_text())
    assert best["best_val_loss"] == 0.3
    assert best["best_trial_number"] == 3
    counts = [best[f"n_trials{kind}"] for kind in ("", "_completed", "_pruned", "_failed")]
    assert counts == [4, 1, 1, 2]


def test_runs_of_different_folds_have_their_fold_in_the_table_and_no_best(folder: Path) -> None:
    store = CellStore(folder, IDENTITY, n_folds=2)
    runs = [record(number, value=0.5 - number / 10) for number in range(4)]
    store.write_trials(runs)
    assert [row["fold"] for row in rows(folder)] == ["0", "1", "0", "1"]
    store.write_final_runs(runs, {}, folder)
    assert [row["fold"] for row in rows(folder)] == ["0", "1", "0", "1"]
    assert not (folder / "best_params.json").exists()


def test_trials_that_have_the_same_days_have_no_fold(folder: Path) -> None:
    CellStore(folder, IDENTITY).write_trials([record(0), record(1)])
    assert [row["fold"] for row in rows(folder)] == ["", ""]


def test_the_earliest_of_equals_is_the_best() -> None:
    best = best_trial([record(2), record(1), record(3)])
    assert best is not None
    assert best.number == 1


def test_the_table_has_one_row_per_run_however_often_it_is_written(folder: Path) -> None:
    trials = [record(0), record(1, value=None, message="a,b\nc", reason="error")]
    CellStore(folder, IDENTITY).write_trials(trials[:1])
    CellStore(folder, IDENTITY).write_trials(trials)
    CellStore(folder, IDENTITY).write_trials(trials)
    written = rows(folder)
    assert tuple(written[0]) == CSV_COLUMNS
    assert run_ids(folder) == ["id0", "id1"]
    assert written[1]["val_loss"] == ""
    assert written[1]["status"] == "failed"
    assert written[1]["error_message"] == "a,b c"
    assert json.loads(written[0]["hyperparameters"])["d_model"] == 64


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, 900))
def test_a_torn_table_is_mended(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = cell_folder(tmp_path_factory.mktemp("results"))
    store = CellStore(folder, IDENTITY)
    trials = [record(0), record(1)]
    store.write_trials(trials)
    whole = table(folder).read_bytes()
    table(folder).write_bytes(whole[: max(0, len(whole) - cut)])
    store.write_trials(trials)
    assert table(folder).read_bytes() == whole


def test_a_table_whose_header_is_damaged_is_moved_aside(folder: Path) -> None:
    store = CellStore(folder, IDENTITY)
    store.write_trials([record(0)])
    whole = table(folder).read_text()
    damaged = whole.replace("timestamp", "timestump", 1)
    table(folder).write_text(damaged)
    store.write_trials([record(0)])
    assert table(folder).read_text() == whole
    (aside,) = folder.parent.glob("damaged-*.csv")
    assert aside.read_text() == damaged


def test_a_table_of_fewer_columns_gets_the_others(folder: Path) -> None:
    store = CellStore(folder, IDENTITY)
    store.write_trials([record(0)])
    lines = table(folder).read_text().splitlines()
    of_panel = ",rank_ic,rank_ic_se,ic,sharpe_net,test_rank_ic"
    ends = (f",test_loss,test_auc,search_number,fold{of_panel}", ",,,1,,,,,,")
    short = [line.removesuffix(end) for line, end in zip(lines, ends, strict=True)]
    assert not set(short) & set(lines)
    table(folder).write_text("\n".join(short) + "\n")
    store.write_trials([record(0), record(1)])
    assert run_ids(folder) == ["id0", "id1"]
    assert tuple(rows(folder)[0]) == CSV_COLUMNS
    assert not list(folder.parent.glob("damaged-*"))


def test_final_runs_have_their_kind_and_their_scores_on_test_days(folder: Path) -> None:
    runs, results = folder / "runs", folder.parent
    runs.mkdir()
    CellStore(folder, IDENTITY).write_trials([record(0)])
    trials = [record(5), record(6, reason="diverged", value=None)]
    store = CellStore(runs, IDENTITY)
    store.write_trials(trials)
    scores = {"id5": HoldoutScores(accuracy=0.75, loss=0.4, auc=None)}
    for _ in range(2):
        # The second time is that of a command which was interrupted after the first.
        store.write_final_runs(trials, scores, results)
        text = (folder / "experiment_results.csv").read_text()
        beside = list(csv.DictReader(text.splitlines()))
        assert [row["run_type"] for row in rows(folder)] == ["hpo", "final", "final"]
        assert rows(folder)[1:] == beside
    shown = [[row[name] for name in ("test_accuracy", "test_loss", "test_auc")] for row in beside]
    assert shown == [["0.75", "0.4", ""], ["", "", ""]]
    assert {row["script_path"] for row in beside} == {"study.train"}
    assert rows(folder)[0]["test_accuracy"] == ""


def test_the_steps_of_the_warm_up_are_those_that_trained(folder: Path) -> None:
    (folder / "trial_0000").mkdir()
    store = CellStore(folder, IDENTITY)
    store.write_trials([record(0)])

    def training() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / "best_params.json").read_text())["training"]
        return found

    # Its log is lost.
    assert training()["warmup_steps"] is None
    epochs = [epoch_record(epoch, loss=0.5, step=13 * epoch) for epoch in (1, 2)]
    store.write_trial(record(0), epochs)
    store.write_trials([record(0)])
    # A tenth of 20 epochs of 13 steps.
    assert training()["warmup_steps"] == 26
    assert training()["warmup_share"] == 0.1


@pytest.mark.parametrize("noise", [b"\xff\xfe", b"\x00", b'"'])
def test_a_damaged_row_stops_no_search(folder: Path, noise: bytes) -> None:
    store = CellStore(folder, IDENTITY)
    store.write_trials([record(0), record(1)])
    before = table(folder).read_bytes()
    table(folder).write_bytes(before.replace(b"study.tune", b"study" + noise + b"tune", 1))
    store.write_trials([record(0), record(1), record(2)])
    assert b"/id2," in table(folder).read_bytes()


ROUNDS = 30
"""Tables that two processes begin at the same moment."""

WRITE = """
import sys
from pathlib import Path
from study.storage import lock
from study.results.store import CellStore
from tests.results.conftest import record
from tests.results.test_store import ROUNDS, identity
lock._POLL_SECONDS = 0.001
results, own, other = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
for each in range(ROUNDS):
    folder = results / str(each) / own
    folder.mkdir(parents=True)
    while not folder.with_name(other).exists():
        pass
    CellStore(folder, identity(own)).write_trials([record(number) for number in range(3)])
"""


def identity(name: str) -> CellIdentity:
    return CellIdentity(
        name=name, study="demo", budget="2M", phase=None, metric="log_loss",
        horizon=1, task="direction", data_sha256="abc",
        versions={},
    )  # fmt: skip


@pytest.mark.slow
def test_two_cells_that_write_at_once_lose_no_row(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path), *names])
        for names in (("one", "two"), ("two", "one"))
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    for each in range(ROUNDS):
        folder = tmp_path / str(each) / "one"
        assert table(folder).read_text().count("timestamp") == 1
        written = sorted(row["run_id"] for row in rows(folder))
        assert written == [f"{name}/id{number}" for name in ("one", "two") for number in range(3)]
        assert not list(folder.parent.glob("damaged-*"))


def test_a_cell_is_described_as_it_was_written(folder: Path) -> None:
    description = {"search": "12e45678", "spec": {"rate": 1e-05, "widths": [32, 64]}}
    write_cell(folder, description)
    assert read_cell(folder) == description


DAMAGED = [b"[", b"\xff\xfe\xfd", b"plain", b""]


@pytest.mark.parametrize("content", [None, *DAMAGED])
def test_a_damaged_description_is_refused_with_a_remedy(
    folder: Path, content: bytes | None
) -> None:
    if content is not None:
        (folder / "cell.yaml").write_bytes(content)
    with pytest.raises(StudyError, match=r"(?s)cell\.yaml: .*Mend it with --resume"):
        read_cell(folder)


@pytest.mark.parametrize("content", [*DAMAGED, b"3", b'[{"number": 0}]', b"[3]"])
def test_damaged_records_are_refused_with_a_remedy(folder: Path, content: bytes) -> None:
    (folder / "all_trials.json").write_bytes(content)
    with pytest.raises(StudyError, match=r"(?s)all_trials\.json: .*Mend it with --resume"):
        read_trials(folder)


ROWS = [record(0).to_json(), record(1, reason="asha").to_json()]


@settings(deadline=None)
@given(damaged(ROWS))
def test_records_that_are_read_can_be_used(rows: Any) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "all_trials.json").write_text(json.dumps(rows))
        try:
            found = read_trials(folder)
        except StudyError:
            return
    for trial in ranked(found):
        assert trial.is_rankable
        assert f"{trial.objective:.4f} {trial.value:.4f}"
        assert architecture(trial.params)
        assert trial.state in ("COMPLETE", "PRUNED")


@pytest.mark.parametrize(
    ("described", "place"),
    [
        ({"spec": {"budgets": [{"label": "2M", "target": {}}]}}, r"budgets\[0\]: target: must be"),
        ({"spec": [1]}, "spec: must be a mapping"),
        ({"metric": "foo"}, "metric: must be one of log_loss, auc"),
        ({"trials": None}, "trials: must be a whole number"),
        ({"trials": 3}, "must be of this version and have metric, trials, but got none .* metric"),
    ],
)
def test_a_description_of_another_kind_is_refused_with_its_place(
    folder: Path, described: dict[str, Any], place: str
) -> None:
    write_cell(folder, described)
    with pytest.raises(StudyError, match=rf"cell\.yaml: .*{place}"):
        read_cell(folder, "metric", "trials")


def test_a_log_has_the_time_on_each_line(folder: Path) -> None:
    CellStore(folder, IDENTITY).log("one\ntwo")
    text = (folder / "log.txt").read_text()
    assert [line.split(" ", 2)[2] for line in text.splitlines()] == ["one", "two"]
    assert all(line.startswith("20") for line in text.splitlines())


def test_a_record_says_its_state_in_the_words_of_optuna(folder: Path) -> None:
    trials: list[TrialRecord] = [record(0), record(1, reason="asha"), record(2, reason="oom")]
    CellStore(folder, IDENTITY).write_trials(trials)
    written = json.loads((folder / "all_trials.json").read_text())
    assert [row["state"] for row in written] == ["COMPLETE", "PRUNED", "FAIL"]
