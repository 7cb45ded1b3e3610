"""The command that filters and counts trials, on the records of two searches."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.results.__main__ import main
from study.results.store import CellIdentity, CellStore, write_cell
from tests.results.conftest import PARAMS, record

Query = Callable[..., str]


def write_search(results: Path, study: str, trials: list[Any], **described: Any) -> Path:
    folder = results / f"{study}_2M_h1_direction"
    folder.mkdir()
    write_cell(folder, {"study": study, "horizon": 1, **described})
    identity = CellIdentity(
        name=folder.name, study=study, budget="2M", phase=None, metric="log_loss", horizon=1,
        task="direction", data_sha256="abc", versions={},
    )  # fmt: skip
    CellStore(folder, identity).write_trials(trials)
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results")
    wide = {**PARAMS, "d_model": 192}
    write_search(
        path, "one",
        [record(0, value=0.7), record(1, value=0.5, params=wide),
         record(2, value=None, reason="diverged", message="no finite loss")],
    )  # fmt: skip
    write_search(path, "two", [record(0, value=0.55, params=wide)], search_number=2)
    (path / "final").mkdir()
    return path


@pytest.fixture
def query(results: Path, capsys: pytest.CaptureFixture[str]) -> Query:
    """Return the command as a function in this process, which returns what it prints."""

    def run(*flags: str, expect: int = 0) -> str:
        code = main([str(results), *flags])
        shown = capsys.readouterr()
        assert code == expect, shown.out + shown.err
        return shown.out + shown.err

    return run


def conditions(*given: str) -> list[str]:
    return [flag for each in given for flag in ("--where", each)]


@pytest.mark.parametrize(
    ("given", "n"),
    [
        ((), 4),
        (("d_model=192",), 2),
        (("d_model = 192", "loss<0.52"), 1),
        (("loss>=0.5",), 3),
        (("loss!=0.5",), 2),
        (("loss=none",), 1),
        (("loss!=none",), 3),
        (("state=FAIL",), 1),
        (("reason!=diverged",), 3),
        (("message=no finite loss",), 1),
        (("last_day_skip=false",), 4),
        (("budget=2M", "study=two"), 1),
        (("learning_rate<=1e-3",), 4),
        # A search without a number is the only one of its cell.
        (("search_number=1",), 3),
        (("search_number=2", "study=two"), 1),
    ],
)
def test_trials_that_hold_every_condition_are_counted(
    query: Query, given: tuple[str, ...], n: int
) -> None:
    assert query(*conditions(*given), "--count") == f"{n}\n"


def test_rows_are_sorted_and_missing_values_stand_last(query: Query) -> None:
    def losses(*flags: str) -> list[float | None]:
        return [row["loss"] for row in json.loads(query("--json", "--sort", "loss", *flags))]

    assert losses() == [0.5, 0.55, 0.7, None]
    assert losses("--descending") == [0.7, 0.55, 0.5, None]
    assert losses("--head", "2", "--study", "one") == [0.5, 0.7]


def test_a_reader_sees_the_columns_that_are_asked_for(query: Query) -> None:
    shown = query("--sort", "loss", "--head", "1", "--columns", "number", "loss", "reason")
    assert shown.split("\n") == [
        "number  loss  reason",
        "     1   0.5  completed",
        "",
        "1 shown; 4 of 4 trials in 2 searches",
        "",
    ]
    assert query("--where", "d_model=7") == "0 of 4 trials in 2 searches\n"
    assert query().splitlines()[0].split()[:3] == ["cell", "number", "loss"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--where", "d_mode=1"), "--where 'd_mode=1': must be one of cell, study, horizon, sea"),
        (("--where", "loss"), "must be COLUMN=VALUE, with =, !=, <, <=, > or >=, but got 'loss'"),
        (("--where", "loss<"), "must be COLUMN=VALUE"),
        (("--where", "loss<low"), "the column holds a number, or none, but got < 'low'; it has"),
        (("--where", "loss<nan"), "the column holds a number, or none"),
        (("--where", "reason<b"), "the column holds text, which = and != can compare"),
        (("--where", "last_day_skip=1"), "the column holds true or false, but got = '1'"),
        (("--where", "loss<none"), "Write =none or !=none"),
        (("--sort", "value"), "--sort: must be one of cell"),
        (("--columns", "loss", "x"), "--columns: must be one of cell"),
        (("--head", "0"), "--head: must be at least 1"),
        (("--descending",), "--descending: must come with --sort"),
        (("--count", "--json"), "--count, --json: must not be given together"),
        (("--count", "--head", "1"), "--count: must stand without --head and --sort"),
        (("--study", "three"), "--study: must be a study that has been searched, but got 'three'; "
         "there are one, two"),
        (("--optuna", "x.db", "--count"), "--optuna: must stand alone"),
        (("--optuna", "x.db"), "FOLDER: must be the folder of a search"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused_in_one_line(
    query: Query, flags: tuple[str, ...], said: str
) -> None:
    shown = query(*flags, expect=2)
    assert said in shown
    assert shown.count("\n") == 1


def test_a_search_alone_can_be_asked(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(results / "two_2M_h1_direction"), "--count"]) == 0
    assert capsys.readouterr().out == "1\n"
    assert main([str(results / "none")]) == 2
    assert "FOLDER: must be the folder of a search" in capsys.readouterr().err
    assert main([str(results / "final")]) == 2
    assert "FOLDER: must hold a search, but got" in capsys.readouterr().err
