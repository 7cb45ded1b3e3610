"""Damaged tables of runs and trials: the named columns are read row by row, or it is refused."""

import csv
import io
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.__main__ import main
from analysis.tables.run_table import read_runs
from analysis.tables.trial_table import read_table
from study.errors import StudyError
from tests.fuzz.damage import damaged_text, fuzz
from tests.fuzz.judge import check_form, refuses, run
from tests.fuzz.second_reader import decoded, number

pytestmark = pytest.mark.slow

LOSSES = (0.617, 0.5, 0.426, 0.38, 0.35, 0.332)
RUNS = "model,n,flops,loss\n" + "".join(
    f"m{row},{10 ** (4 + row)},{10 ** (9 + row)},{loss}\n" for row, loss in enumerate(LOSSES)
)
INDEXED = ",n,loss,family\n" + "".join(
    f"{row},{10 ** (4 + row)},{loss},a\n" for row, loss in enumerate(LOSSES)
)
TRIALS = "number,value,value_se,lr,depth\n" + "".join(
    f"{row},{0.6 - 0.01 * row:.2f},0.02,{10.0**-row},{1 + row % 3}\n" for row in range(8)
)
OPTUNA = "number,value,params_lr,params_depth,state\n" + "".join(
    f"{row},{0.6 - 0.01 * row:.2f},{10.0**-row},{1 + row % 3},COMPLETE\n" for row in range(8)
)
OBJECTS = json.dumps(
    {"trials": [{"number": n, "value": 0.6 - n / 100, "params": {"lr": 0.1 / (1 + n), "depth": n}}
                for n in range(4)]},
    indent=1,
)  # fmt: skip
_SUFFIXES = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


def numbers(cell: str) -> set[float]:
    """Return the numbers as which a cell may be read."""
    text = cell.strip().lower()
    factor = _SUFFIXES.get(text[-1:], 1.0)
    value = number(text.rstrip("kmbt") if factor > 1 else text)
    return set() if value is None else {value * factor}


def rows_by_name(content: bytes, *names: str) -> list[tuple[set[float], ...]]:
    """Return the values of the named columns, for every row that has text."""
    rows = [
        row
        for row in csv.reader(io.StringIO(decoded(content), newline=""))
        if any(cell.strip() for cell in row)
    ]
    headers = [[cell.strip().lower() for cell in row] for row in rows]
    named = [all(name in header for name in names) for header in headers]
    for start, header in enumerate(headers):
        # If two headers follow each other, the second is that of the table.
        if named[start] and not any(named[start + 1 : start + 2]):
            at = [header.index(name) for name in names]
            body = [row for row in rows[start + 1 :] if len(row) > max(at)]
            return [tuple(numbers(row[column]) for column in at) for row in body]
    return []


@fuzz
@given(content=damaged_text((RUNS, INDEXED)))
def test_a_damaged_table_of_runs_is_read_by_its_names_or_refused(
    folder: Path, content: bytes
) -> None:
    path = folder / "runs.csv"
    path.write_bytes(content)
    found: list[tuple[float, float]] = []
    left_out: list[str] = []

    def read() -> None:
        table = read_runs(path, axes=("n",), loss="loss", group=None)
        sizes, losses = table.groups[None]
        found.extend(zip(sizes[:, 0], losses, strict=True))
        left_out.extend(table.left_out)

    if refuses(read) is None:
        held = rows_by_name(content, "n", "loss")
        # A note below the table holds no number, and is reported as left out.
        while left_out and held and held[-1] == (set(), set()):
            held.pop()
        assert len(found) == len(held), (found, held)
        for pair, cells in zip(found, held, strict=True):
            assert all(
                any(math.isclose(value, other, rel_tol=1e-12) for other in options)
                for value, options in zip(pair, cells, strict=True)
            ), (pair, cells)


@fuzz
@given(data=st.data())
def test_fit_says_what_it_makes_of_any_table(folder: Path, data: st.DataObject) -> None:
    path = folder / "fit.csv"
    path.write_bytes(data.draw(damaged_text((RUNS, INDEXED))))
    flags = ["--n", "n", "--loss", "loss", "--resamples", "100"]
    flags += data.draw(st.sampled_from(([], ["--json"], ["--group", "family"], ["--floor", "0.1"])))
    check_form(run(main, ["fit", str(path), *flags]))


@fuzz
@given(content=damaged_text((TRIALS, OPTUNA)))
def test_damaged_trials_are_read_by_their_names_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "trials.csv"
    path.write_bytes(content)
    check_form(run(main, ["replay", str(path), "--metric", "log_loss"]))
    try:
        table = read_table(path, "log_loss")
    except StudyError:
        return
    held = {
        row: values
        for options, values in rows_by_name(content, "number", "value")
        for row in options
    }
    for trial in table.trials:
        if trial.is_complete:
            options = held[float(trial.number)]
            assert any(math.isclose(trial.value, other, rel_tol=1e-12) for other in options)


@fuzz
@given(content=damaged_text((OBJECTS,)))
def test_damaged_json_is_read_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "trials.json"
    path.write_bytes(content)
    check_form(run(main, ["replay", str(path), "--metric", "log_loss"]))


@pytest.mark.parametrize(
    ("name", "text", "flags"),
    [
        ("runs.csv", RUNS, ["fit", "--n", "n", "--loss", "loss"]),
        ("indexed.csv", INDEXED, ["fit", "--n", "n", "--loss", "loss"]),
        ("trials.csv", TRIALS, ["replay", "--metric", "log_loss"]),
        ("optuna.csv", OPTUNA, ["replay", "--metric", "log_loss"]),
        ("trials.json", OBJECTS, ["replay", "--metric", "log_loss"]),
    ],
)
def test_the_whole_files_are_read(folder: Path, name: str, text: str, flags: list[str]) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    outcome = run(main, [flags[0], str(folder / name), *flags[1:]])
    assert outcome.code == 0, outcome
    assert outcome.err == ""
