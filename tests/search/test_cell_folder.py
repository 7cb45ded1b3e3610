"""The folder of a search withstands what a user or a crash may do to it."""

import dataclasses
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.data.dataset import Dataset
from study.errors import StudyError
from study.results.journal import JournalError
from study.results.status_files import read_asked
from study.results.store import CellIdentity, CellStore, read_cell
from study.search.beyond import Widening
from study.search.cell_folder import (
    create,
    identity,
    reopen,
    require_nothing_lost,
)
from study.search.space import Shape
from study.spec.dimension import Choice
from study.spec.overrides import Overrides
from study.spec.spec_file import load_study
from study.spec.specification import Cell
from study.storage.layout import JOURNAL_FILES
from study.storage.lock import LockError
from study.storage.place import LocalPlace
from tests.search.folders import closed, contents, describe
from tests.search.simulated_search import CELL, SPACE, SPACES, ledger_of, play


def test_a_search_that_was_begun_is_continued(path: Path, data: Dataset) -> None:
    assert [each.name for each in path.parent.iterdir()] == [CELL.name]
    before = contents(path)
    assert set(before) == {*JOURNAL_FILES, "cell.yaml"}
    folder = reopen(LocalPlace(path), CELL, data)
    assert folder.journal.first["cell"] == describe(path, data)
    folder.journal.append({"kind": "exhausted", "time": 1.0})
    again = reopen(LocalPlace(closed(folder)), CELL, data)
    assert [event["kind"] for event in again.journal.replay()] == ["created", "exhausted"]
    assert again.journal.search == folder.journal.search
    closed(again)
    assert contents(path)["cell.yaml"] == before["cell.yaml"]


def test_a_new_folder_is_locked_and_its_journal_is_at_home(tmp_path: Path, data: Dataset) -> None:
    path = tmp_path / CELL.name
    folder = create(LocalPlace(path), describe(path, data))
    with pytest.raises(LockError, match=f"process {os.getpid()}"):
        reopen(LocalPlace(path), CELL, data)
    # The folder was made under another name, so the open files must have moved with it.
    folder.journal.append({"kind": "exhausted", "time": 1.0})
    events = reopen(LocalPlace(closed(folder)), CELL, data).journal.replay()
    assert [event["kind"] for event in events] == ["created", "exhausted"]


def test_one_process_at_a_time_works_in_a_folder(path: Path, data: Dataset) -> None:
    folder = reopen(LocalPlace(path), CELL, data)
    folder.stop_file.touch()
    with pytest.raises(LockError):
        reopen(LocalPlace(path), CELL, data)
    # The refused process has not removed the stop file of the other.
    assert folder.stop_file.exists()
    closed(folder)
    reopen(LocalPlace(path), CELL, data).lock.release()
    assert not folder.stop_file.exists()


def test_two_searches_have_two_names(tmp_path: Path, data: Dataset) -> None:
    folders = [
        create(LocalPlace(tmp_path / name), describe(tmp_path / name, data)) for name in "ab"
    ]
    assert len({folder.journal.search for folder in folders}) == 2
    for folder in folders:
        closed(folder)


@pytest.mark.parametrize(
    ("cell", "changes", "difference"),
    [
        ({"search": {"seed": 7}}, {}, "spec.search.seed was 42 and is 7"),
        ({"horizon": 3}, {}, "spec.data.horizon was 1 and is 3"),
        ({"old": "epochs: 2", "new": "epochs: 1"}, {}, "spec.train.epochs was 2 and is 1"),
        (
            {"old": "[0.1, 0.3]", "new": "[0.1, 0.4]"},
            {},
            r"spec.model.dropout.uniform was \[0.1, 0.3\] and is \[0.1, 0.4\]",
        ),
        ({}, {"fingerprint": "0000"}, "data_sha256 was '[0-9a-f]+' and is '0000'"),
        ({}, {"feature_hash": "1111"}, "feature_hash was '[0-9a-f]+' and is '1111'"),
    ],
)
def test_what_was_begun_differently_is_refused(
    tmp_path: Path,
    path: Path,
    data: Dataset,
    cell: dict[str, Any],
    changes: dict[str, Any],
    difference: str,
) -> None:
    text = (SPACES / "smoke.yaml").read_text()
    (tmp_path / "smoke.yaml").write_text(text.replace(cell.get("old", ""), cell.get("new", "")))
    study = load_study(tmp_path / "smoke.yaml")
    now = study.cell("50k", cell.get("horizon", 1), Overrides(search=cell.get("search", {})))
    before = contents(path)
    with pytest.raises(
        StudyError, match=f"but got {difference}. .*--fresh --import-trials {path}$"
    ):
        reopen(LocalPlace(path), now, dataclasses.replace(data, **changes))
    assert contents(path) == before
    # The refused one holds no lock.
    reopen(LocalPlace(path), CELL, data).lock.release()


@pytest.mark.parametrize("part", ["torch", "code", "gone"])
def test_other_versions_are_refused(tmp_path: Path, data: Dataset, part: str) -> None:
    path = tmp_path / CELL.name
    described = describe(path, data)
    described["versions"][part] = "1.0"
    closed(create(LocalPlace(path), described))
    with pytest.raises(StudyError, match=f"versions.{part} was '1.0' and is .*--import-trials"):
        reopen(LocalPlace(path), CELL, data)


def test_all_differences_are_shown(path: Path, data: Dataset) -> None:
    cell = dataclasses.replace(CELL, search=dataclasses.replace(CELL.search, seed=7, trials=7))
    with pytest.raises(StudyError, match=r"search\.trials was 8 and is 7; .*seed was 42 and is 7"):
        reopen(LocalPlace(path), cell, data)


def of_trials(trials: int, **search: Any) -> Cell:
    return dataclasses.replace(
        CELL, search=dataclasses.replace(CELL.search, trials=trials, **search)
    )


def test_a_search_may_be_asked_for_more_trials_and_knows_it_from_then_on(
    path: Path, data: Dataset
) -> None:
    begun = CELL.search.trials
    folder = reopen(LocalPlace(path), of_trials(20), data)
    # The journal keeps the first number of trials, and readers see the present one.
    assert folder.journal.first["cell"] == describe(path, data)
    assert folder.continued == of_trials(20)
    assert read_cell(path, "trials")["trials"] == read_asked(path) == 20
    # The extension counts only once the search has written it to its journal.
    again = reopen(LocalPlace(closed(folder)), CELL, data)
    assert again.continued == CELL
    again.journal.append({"kind": "extended", "time": 1.0, "trials": 20})
    closed(again)
    for asked, found in ((begun, 20), (20, 20), (30, 30)):
        folder = reopen(LocalPlace(path), of_trials(asked), data)
        assert folder.continued == of_trials(found)
        assert read_cell(closed(folder), "trials")["trials"] == found
    with pytest.raises(StudyError, match=r"has been asked for 20 trials.*Give --trials 20 or more"):
        reopen(LocalPlace(path), of_trials(19), data)


def test_a_search_may_go_beyond_edges_from_any_start_on_and_records_what_it_passed(
    path: Path, data: Dataset
) -> None:
    beyond = dataclasses.replace(
        of_trials(CELL.search.trials, beyond_edges=True), is_beyond_asked=True
    )
    folder = reopen(LocalPlace(path), beyond, data)
    assert folder.continued is not None
    assert folder.continued.search.beyond_edges
    deeper = Widening(
        name="n_layers",
        dimension=Choice((1, 2, 3, 4, 6)),
        shapes=(Shape("50k", 32, 6, 2, 8),),
        configs=tuple(SPACE.configs())[:2],
        message="n_layers ended at 4",
    )
    folder.journal.append({"kind": "widened", "time": 1.0, **deeper.to_event()})
    closed(folder)
    extended = reopen(
        LocalPlace(path),
        dataclasses.replace(beyond, search=of_trials(20, beyond_edges=True).search),
        data,
    )
    closed(extended)
    assert extended.continued is not None
    assert (extended.continued.n_begun, extended.continued.n_passed) == (CELL.search.trials, 1)
    again = reopen(LocalPlace(path), CELL, data)
    # More trials and wider ranges are no part of how it was begun.
    assert again.continued == CELL
    described = read_cell(closed(again))
    assert described["trials"] == CELL.search.trials + 2
    assert described["widened"] == {"n_layers": {"choice": [1, 2, 3, 4, 6]}}
    assert described["spec"] == json.loads(json.dumps(CELL.resolved()))


@pytest.mark.parametrize(
    ("begun", "file_now", "is_asked", "final", "goes_beyond"),
    [
        (False, True, False, None, False),
        (True, False, False, None, True),
        (False, True, True, None, True),
        (True, False, True, None, False),
        # No more is searched once the test days may have been seen.
        (True, True, False, "test_opened.txt", False),
        (True, True, True, "final.json", False),
    ],
)
def test_whether_a_search_goes_beyond_edges_is_as_it_was_begun_unless_a_flag_says_otherwise(
    tmp_path: Path,
    data: Dataset,
    begun: bool,
    file_now: bool,
    is_asked: bool,
    final: str | None,
    goes_beyond: bool,
) -> None:
    path = tmp_path / CELL.name
    before = of_trials(CELL.search.trials, beyond_edges=begun)
    plain = json.loads(json.dumps(identity(before, data, path)))
    closed(create(LocalPlace(path), plain))
    if final is not None:
        (tmp_path / "final" / CELL.name).mkdir(parents=True)
        (tmp_path / "final" / CELL.name / final).touch()
    now = of_trials(CELL.search.trials, beyond_edges=file_now)
    folder = reopen(LocalPlace(path), dataclasses.replace(now, is_beyond_asked=is_asked), data)
    closed(folder)
    assert folder.continued is not None
    assert folder.continued.search.beyond_edges == goes_beyond


def test_more_trials_do_not_change_how_a_search_was_begun(path: Path, data: Dataset) -> None:
    with pytest.raises(StudyError, match=r"but got spec\.search\.seed was 42 and is 7"):
        reopen(LocalPlace(path), of_trials(20, seed=7), data)


def test_a_second_phase_keeps_the_random_trials_that_it_was_begun_with(
    tmp_path: Path, data: Dataset
) -> None:
    second = dataclasses.replace(of_trials(9, startup_trials=3), phase=2)
    path = tmp_path / second.name
    closed(create(LocalPlace(path), json.loads(json.dumps(identity(second, data, path)))))
    more = dataclasses.replace(of_trials(30, startup_trials=10), phase=2)
    folder = reopen(LocalPlace(path), more, data)
    assert folder.continued is not None
    search = folder.continued.search
    assert (search.trials, search.startup_trials) == (30, 3)
    closed(folder)


@pytest.mark.parametrize("how", [Path.rename, shutil.copytree])
def test_a_folder_that_was_moved_or_copied_is_refused(
    path: Path, data: Dataset, how: Callable[[Path, Path], object]
) -> None:
    other = path.with_name("other")
    how(path, other)
    with pytest.raises(StudyError, match=f"folder was '{path}' and is '{other}'.*--import-trials"):
        reopen(LocalPlace(other), CELL, data)


@pytest.mark.parametrize(
    "content", [None, b"", b"search: [", b"\xff\xfe", b"plain", b"spec: {}\n", b"search: 0\n"]
)
def test_a_damaged_description_is_written_again(
    path: Path, data: Dataset, content: bytes | None
) -> None:
    before = contents(path)
    (path / "cell.yaml").unlink()
    if content is not None:
        (path / "cell.yaml").write_bytes(content)
    reopen(LocalPlace(path), CELL, data).lock.release()
    assert contents(path) == before


@pytest.mark.parametrize("share", [0.001, 0.03, 0.3, 0.6, 0.9, 0.999])
def test_a_description_cut_anywhere_is_written_again(
    path: Path, data: Dataset, share: float
) -> None:
    before = contents(path)
    content = before["cell.yaml"]
    (path / "cell.yaml").write_bytes(content[: int(share * len(content))])
    reopen(LocalPlace(path), CELL, data).lock.release()
    assert contents(path) == before


def test_a_description_of_another_search_is_written_again(
    tmp_path: Path, path: Path, data: Dataset
) -> None:
    before = contents(path)
    other = closed(create(LocalPlace(tmp_path / "other"), describe(tmp_path / "other", data)))
    shutil.copy(other / "cell.yaml", path / "cell.yaml")
    reopen(LocalPlace(path), CELL, data).lock.release()
    assert contents(path) == before


def test_a_copy_of_another_search_is_recognised_by_the_description(
    tmp_path: Path, path: Path, data: Dataset
) -> None:
    before = contents(path)
    other = closed(create(LocalPlace(tmp_path / "other"), describe(tmp_path / "other", data)))
    shutil.copy(other / JOURNAL_FILES[0], path / JOURNAL_FILES[0])
    reopen(LocalPlace(path), CELL, data).lock.release()
    assert contents(path) == before


def test_a_lost_journal_is_refused_and_unlocked(path: Path, data: Dataset) -> None:
    for name in JOURNAL_FILES:
        (path / name).unlink()
    for _ in range(2):
        with pytest.raises(JournalError, match="no intact event"):
            reopen(LocalPlace(path), CELL, data)


def recorded(path: Path, data: Dataset) -> int:
    """Play a search to its end and write its records; return the number of its events."""
    folder = reopen(LocalPlace(path), CELL, data)
    ledger = ledger_of(folder.journal)
    play(ledger, random.Random(0), 1, {})
    described = CellIdentity(
        name=CELL.name, study="smoke", budget="50k", phase=None, metric="log_loss",
        horizon=1, task="t", data_sha256="",
        versions={},
    )  # fmt: skip
    CellStore(path, described).write_trials(ledger.records)
    closed(folder)
    return len(folder.journal.replay())


def checked(path: Path, data: Dataset) -> None:
    folder = reopen(LocalPlace(path), CELL, data)
    with folder.lock:
        require_nothing_lost(path, ledger_of(folder.journal), folder.journal.search)


def cut_journals(path: Path, n_events: int) -> None:
    for name in JOURNAL_FILES:
        kept = (path / name).read_bytes().splitlines(keepends=True)[:n_events]
        (path / name).write_bytes(b"".join(kept))


def test_journals_that_are_older_than_the_records_are_refused(path: Path, data: Dataset) -> None:
    n_events = recorded(path, data)
    checked(path, data)
    # The last event is the end of the last trial.
    cut_journals(path, n_events - 1)
    checked_again = reopen(LocalPlace(path), CELL, data)
    # All of its epochs are there, so nothing is lost: the trial ends again.
    assert len(ledger_of(checked_again.journal).records) == 12
    closed(checked_again)
    cut_journals(path, n_events - 2)
    with pytest.raises(
        StudyError, match=rf"without the ends of trials 11\. .*--fresh --import-trials {path}$"
    ):
        checked(path, data)
    cut_journals(path, 1)
    with pytest.raises(StudyError, match=r"trials 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\."):
        checked(path, data)


def test_records_of_another_search_or_none_prove_nothing(path: Path, data: Dataset) -> None:
    recorded(path, data)
    fresh = path.with_name("fresh")
    closed(create(LocalPlace(fresh), describe(fresh, data)))
    checked(fresh, data)
    shutil.copy(path / "all_trials.json", fresh / "all_trials.json")
    checked(fresh, data)


@pytest.mark.parametrize("content", [b"", b"[{", b"3", b"\xff\xfe"])
def test_damaged_records_prove_nothing(path: Path, data: Dataset, content: bytes) -> None:
    recorded(path, data)
    (path / "all_trials.json").write_bytes(content)
    checked(path, data)


@pytest.mark.parametrize("name", ["cell.yaml", *JOURNAL_FILES])
def test_a_folder_in_the_place_of_a_file_is_repaired(path: Path, data: Dataset, name: str) -> None:
    before = contents(path)
    (path / name).unlink()
    (path / name).mkdir()
    reopen(LocalPlace(path), CELL, data).lock.release()
    assert contents(path) == before


def test_a_folder_in_the_place_of_the_stop_file_is_reported_in_one_line(
    path: Path, data: Dataset
) -> None:
    (path / "stop").mkdir()
    with pytest.raises(StudyError, match=r"stop: must be a file that can be removed.*Move it aw"):
        reopen(LocalPlace(path), CELL, data)
    (path / "stop").rmdir()
    # The refused one holds no lock.
    reopen(LocalPlace(path), CELL, data).lock.release()
