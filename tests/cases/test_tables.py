"""Tables as people's programs write them: fit and replay read what is named, or refuse it."""

import csv
import hashlib
import io
import json
import random
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from analysis.__main__ import main
from analysis.tables.run_table import read_runs
from study.errors import StudyError

pytestmark = pytest.mark.slow

CASES = Path(__file__).parent

Command = Callable[..., str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return ``python -m analysis`` as a function in this process, which returns what it prints."""

    def run(*flags: object, expect: int = 0) -> str:
        code = main([str(flag) for flag in flags])
        shown = capsys.readouterr()
        assert code == expect, shown.out + shown.err
        # What is wrong is one line, and nothing else is on that stream.
        assert shown.err.count("\n") == (1 if expect else 0), shown.err
        return shown.out + shown.err

    return run


def fitted(command: Command, path: Path, *flags: str) -> dict[str, Any]:
    shown = command("fit", path, "--loss", "loss", "--resamples", "100", "--json", *flags)
    found: dict[str, Any] = json.loads(shown)
    found.pop("file")
    return found


def replayed(command: Command, path: Path, *flags: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(command("replay", path, "--json", *flags))
    found.pop("study")
    return found


def test_a_comma_at_the_end_of_rows_moves_no_column(command: Command) -> None:
    # L = 1.7 + 523 n^-.308 is what the column loss was made by; flops rise.
    found = fitted(command, CASES / "fit_trailing_comma" / "trailing_comma.csv", "--n", "n")
    assert found["verdict"] == "scaling"
    assert found["parameters"]["alpha"] == pytest.approx(0.309, abs=0.002)
    assert found["parameters"]["E"] == pytest.approx(1.705, abs=0.005)


def test_sizes_with_a_suffix_are_those_numbers(command: Command, tmp_path: Path) -> None:
    path = CASES / "fit_sizes_with_suffix" / "suffix_sizes.csv"
    text = path.read_text(encoding="utf-8")
    found = fitted(command, path, "--n", "n_params")
    assert found["n_sizes"] == 7
    for marked, plain in (("1.4B", "1400000000"), ("1B", "1e9"), ("M", "000000")):
        text = text.replace(marked, plain)
    other = tmp_path / "plain.csv"
    other.write_text(text, encoding="utf-8")
    assert fitted(command, other, "--n", "n_params") == found


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("blank_lines_then_bad", "line 15 column 'loss': must be a positive number, but got "
         "'diverged'"),
        ("inf_loss", "line 5 column 'loss': must be a positive number, but got 'inf'"),
        ("nan_loss", "line 5 column 'loss': must be a positive number, but got ''"),
    ],
)  # fmt: skip
def test_the_line_is_that_of_the_file(command: Command, name: str, place: str) -> None:
    path = CASES / "fit_line_numbers" / f"{name}.csv"
    shown = command("fit", path, "--n", "n_params", "--loss", "loss", expect=2)
    assert f"error: {name}.csv {place}" in shown


def test_rows_without_a_group_are_not_dropped(command: Command) -> None:
    path = CASES / "fit_rows_without_group" / "group_nan.csv"
    flags = ("--n", "n_params", "--loss", "loss", "--group", "family")
    shown = command("fit", path, *flags, expect=2)
    assert "column 'family': must name the group of every row, but got 7 rows without" in shown
    assert "the first in line 9" in shown


def test_of_one_size_nothing_is_known_but_the_mean(command: Command) -> None:
    path = CASES / "fit_one_size_json" / "one_size.csv"
    found = fitted(command, path, "--n", "n_params")
    assert found["verdict"] == "not identified"
    assert "a law needs at least 3 sizes, and n_params has 1" in found["sentence"]
    assert set(found["parameters"].values()) == {None}
    assert (found["trend"]["value"], found["permutation_p"], found["held_out"]) == (None,) * 3
    assert found["forms"]["constant"]["estimates"]["E"]["value"] == pytest.approx(2.589, abs=1e-3)
    assert "not defined" in command("fit", path, "--n", "n_params", "--loss", "loss")


def test_a_group_of_one_row_spoils_no_other(command: Command) -> None:
    path = CASES / "fit_one_size_json" / "group_one_row.csv"
    groups = fitted(command, path, "--n", "n_params", "--group", "family")["groups"]
    assert groups["A"]["parameters"]["alpha"] > 0
    assert groups["B"]["n_runs"] == 1
    assert groups["B"]["parameters"]["alpha"] is None


@pytest.mark.parametrize(
    ("losses", "verdict"),
    [
        ([0.5] * 6, "no measurable effect"),
        ([0.5, 0.5, 0.5, 0.4, 0.4, 0.4], "not identified"),
        ([1e-300, 1e300, 1.0, 1.0, 1e-300, 1e300], None),
    ],
)
def test_flat_or_wild_losses_are_a_sentence(
    command: Command, tmp_path: Path, losses: list[float], verdict: str | None
) -> None:
    rows = [["n", "loss"], *zip([1e3, 1e3, 1e5, 1e5, 1e7, 1e7], losses, strict=True)]
    path = written(tmp_path / "runs.csv", rows)
    found = fitted(command, path, "--n", "n")
    assert verdict in (None, found["verdict"])
    command("fit", path, "--n", "n", "--loss", "loss", "--resamples", "100")
    for form in found["forms"].values():
        for each in form["estimates"].values():
            assert each["low"] is None or each["low"] < each["high"]


@pytest.mark.parametrize("name", ["[/b]", "[red]", ":boom:", "a\nb"])
def test_a_name_is_shown_as_it_stands(command: Command, tmp_path: Path, name: str) -> None:
    rows: list[list[object]] = [["[/i]", "n", "loss"]]
    rows += [[name, n, 1 + n**-0.2] for n in (1e3, 1e4, 1e5, 1e6)]
    path = written(tmp_path / "runs.csv", rows)
    shown = command("fit", path, "--n", "n", "--loss", "loss", "--group", "[/i]")
    assert f"[/i] = {' '.join(name.split())}\n" in shown
    trials: list[list[object]] = [["number", "value", name]]
    trials += [[i, 0.5, i] for i in range(5)]
    path = written(tmp_path / "trials.csv", trials)
    shown = command("replay", path, "--metric", "log_loss")
    assert f"parameters: {' '.join(name.split())}\n" in shown


def test_an_index_column_is_no_parameter(command: Command) -> None:
    folder = CASES / "replay_index_column"
    clean, index = (
        replayed(command, folder / f"r_repeats_{name}.csv", "--metric", "log_loss")
        for name in ("clean", "index")
    )
    assert index["n_repeats"] == 27
    assert index.pop("notes") == ["left out: column 1 has no name"]
    assert clean.pop("notes") == []
    assert index == clean


@pytest.mark.parametrize("name", ["r_study.db", "r_journal.log"])
def test_a_storage_of_optuna_is_its_export(command: Command, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((CASES / "replay_optuna_storage" / name).read_bytes())
    before = hashlib.sha256(path.read_bytes()).digest()
    found = replayed(command, path)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert hashlib.sha256(path.read_bytes()).digest() == before
    storage = (
        f"sqlite:///{path}"
        if name.endswith(".db")
        else JournalStorage(JournalFileBackend(str(path)))
    )
    study = optuna.load_study(study_name=None, storage=storage)
    assert found["best"]["value"] == study.best_value
    assert (found["metric"], found["larger_is_better"]) == (None, False)
    for multi_index in (False, True):
        export = tmp_path / "trials.csv"
        study.trials_dataframe(multi_index=multi_index).to_csv(export)
        again = replayed(command, export, "--metric", "log_loss")
        for each in ("metric", "notes"):
            again[each] = found[each]
        assert again == found


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A file with two studies, one of which has two objectives, the second maximized."""
    path = tmp_path / "studies.db"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{path}"
    one = optuna.create_study(study_name="[one]", storage=url, direction="maximize")
    one.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=8)
    two = optuna.create_study(study_name="two", storage=url, directions=["minimize", "maximize"])
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        two.set_metric_names(["loss", "auc"])
    two.optimize(lambda trial: (trial.suggest_float("x", 0, 1), trial.number / 4), n_trials=4)
    two.trials_dataframe().to_csv(tmp_path / "two.csv")
    return path


@pytest.mark.parametrize("multi_index", [False, True])
def test_objectives_without_names_have_numbers(
    command: Command, tmp_path: Path, multi_index: bool
) -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), trial.number / 4), n_trials=4)
    path = tmp_path / "trials.csv"
    study.trials_dataframe(multi_index=multi_index).to_csv(path)
    found = replayed(command, path, "--value", "values_1", "--metric", "auc")
    assert (found["best"]["value"], found["parameters"]) == (0.75, ["x"])


@pytest.mark.parametrize("row", [",1,2", ",1,"])
def test_a_trial_without_a_number_is_no_second_header(
    command: Command, tmp_path: Path, row: str
) -> None:
    path = tmp_path / "trials.csv"
    path.write_text(f"number,value,x\n{row}\n0,1,2\n", encoding="utf-8")
    shown = command("replay", path, "--metric", "auc", expect=2)
    assert "trials.csv line 2: number must be a whole number" in shown


def test_one_of_several_studies_is_named(command: Command, storage: Path) -> None:
    shown = command("replay", storage, expect=2)
    assert "--study must name one of '[one]', 'two', but got none" in shown
    assert "'three'" in command("replay", storage, "--study", "three", expect=2)
    found = replayed(command, storage, "--study", "[one]")
    assert (found["n_trials"], found["larger_is_better"]) == (8, True)
    assert "flag is taken" not in " ".join(found["notes"])
    other = replayed(command, storage, "--study", "[one]", "--metric", "log_loss")
    assert other["best"]["value"] < found["best"]["value"]
    assert "the study maximized its value" in " ".join(other["notes"])


def test_one_of_several_objectives_is_named(command: Command, storage: Path) -> None:
    shown = command("replay", storage, "--study", "two", expect=2)
    assert "--value must name one of 'values_loss', 'values_auc'" in shown
    table = storage.parent / "two.csv"
    shown = command("replay", table, "--metric", "auc", expect=2)
    assert "but got 'values_loss', 'values_auc'. Name one of them with --value." in shown
    for value in ("values_auc", "auc"):
        found = replayed(command, storage, "--study", "two", "--value", value)
        assert (found["best"]["value"], found["larger_is_better"]) == (0.75, True)
        found = replayed(command, table, "--value", value, "--metric", "auc")
        assert (found["best"]["value"], found["parameters"]) == (0.75, ["x"])


def test_a_file_that_is_no_storage_of_optuna_is_one_line(
    command: Command, storage: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table studies (a text)")
    connection.close()
    for content in (path.read_bytes(), storage.read_bytes()[:9000], b"SQLite format 3\0" * 9):
        path.write_bytes(content)
        assert "other.db: must be a SQLite database of Optuna" in command("replay", path, expect=2)
    journal = (CASES / "replay_optuna_storage" / "r_journal.log").read_text(encoding="utf-8")
    first, rest = journal.split("\n", 1)
    for text in ('{"op_code": 99}\n', f"{first}\n[]\n{rest}", f"{first}\n{{\n{rest}"):
        path.write_text(text, encoding="utf-8")
        assert "other.db: must be a journal of Optuna" in command("replay", path, expect=2)
    table = CASES / "replay_index_column" / "r_repeats_clean.csv"
    shown = command("replay", table, "--metric", "auc", "--study", "s", expect=2)
    assert "--study: must come with the storage of Optuna" in shown


def test_a_table_of_ray_tune_is_read_by_its_last_rows(command: Command, tmp_path: Path) -> None:
    path = CASES / "replay_ray_tune_table" / "r_raytune.csv"
    found = replayed(command, path, "--metric", "log_loss")
    assert (found["n_trials"], found["parameters"]) == (12, ["lr", "depth"])
    assert found["best"] == {"number": 11, "value": 0.39, "value_se": None}
    assert replayed(command, path, "--metric", "log_loss", "--value", "loss") == found
    # Several rows a trial, which end in another order than they began.
    header = ["", "trial_id", "training_iteration", "timestamp", "loss", "auc", "config/lr"]
    rows = [
        [0, "a", 1, 100, 0.9, 0.5, 0.1], [1, "b", 1, 101, 0.8, 0.5, 0.2],
        [2, "b", 2, 102, 0.7, 0.6, 0.2], [3, "a", 2, 103, 0.5, 0.7, 0.1],
    ]  # fmt: skip
    path = written(tmp_path / "results.csv", [header, *rows])
    shown = command("replay", path, "--metric", "log_loss", expect=2)
    assert "--value must name the column by which the search went, but got none, of 'loss', " in (
        shown
    )
    found = replayed(command, path, "--metric", "auc", "--value", "auc")
    assert found["best"] == {"number": 1, "value": 0.7, "value_se": None}
    assert "numbered by the timestamp" in " ".join(found["notes"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["n", "n", "loss"], [1, 2, 3]], "must have one column 'n' (--n), but got 2 columns"),
        ([["N", "n ", "Loss"], [1, 2, 3]], None),
        ([["a", "loss"], [1, 3]], "must have a column 'n' (--n), but got 'a', 'loss'"),
        ([["n", "loss"], [1, 3], ["2", "3", "4"]], "line 3: must have 2 cells like the header"),
        ([["n", "loss"], [1, 3], [2]], "line 3: must have 2 cells like the header, but got 1"),
        ([["n", "loss"], [1, "True"]], "line 2 column 'loss': must be a positive number"),
        (
            [["n", "loss"], [1, 0.47], [2, "52 %"]],
            "line 3 column 'loss': must be a positive number",
        ),
        ([["n", "loss"], [1, "9" * 400]], "line 2 column 'loss': must be a positive number"),
        ([["n", "loss"], [0, 1]], "line 2 column 'n': must be a positive number, but got '0'"),
        ([["n", "loss"], ["1.5", 1], ["1,5", 1]], "must be written in one notation, but got"),
        ([["n", "loss"]], "must have rows, but got a header alone"),
        ([["m", "n", "loss"], ["m1", 1, 2], ["m2", 2, ""]], "line 3 column 'loss'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    command: Command, tmp_path: Path, rows: Sequence[Sequence[object]], message: str | None
) -> None:
    path = written(tmp_path / "runs.csv", rows)
    if message is None:
        command("fit", path, "--n", "n ", "--loss", "loss")
        return
    assert f"error: runs.csv{'' if message.startswith('must') else ' '}" in (
        shown := command("fit", path, "--n", "n", "--loss", "loss", expect=2)
    )
    assert message in shown


def written(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def as_somebody_writes_it(
    rows: Sequence[tuple[str, float, float]], draw: random.Random, *, delimiter: str
) -> str:
    """Write runs with columns in any order, an index, commas at the end, blank lines."""
    columns = [0, 1, 2]
    draw.shuffle(columns)
    has_index, has_tail = draw.random() < 0.5, draw.random() < 0.5
    grouping = draw.choice(["", ",", "M"])
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    tail = [""] * has_tail
    writer.writerow([*[""] * has_index, *(("family", "n", "loss")[c] for c in columns)])
    for place, (family, n, loss) in enumerate(rows):
        size = f"{n / 1e6:.6f}M" if grouping == "M" else f"{n:{grouping}.0f}"
        cells = [(family, size, repr(loss))[c] for c in columns]
        writer.writerow([*[place] * has_index, *cells, *tail])
        text.write("\r\n" * draw.choice([0, 0, 1, 2]))
    return text.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["deep", "wide", "[b]", 'a "q", b', "1"]),
            st.integers(1, 10**12).map(float),
            st.floats(1e-3, 1e3),
        ),
        min_size=2,
        max_size=12,
    ),
    seed=st.integers(0, 2**32),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_however_a_table_is_written_its_runs_are_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, float, float]],
    seed: int,
    delimiter: str,
) -> None:
    path = tmp_path_factory.mktemp("table") / "runs.csv"
    text = as_somebody_writes_it(rows, random.Random(seed), delimiter=delimiter)
    path.write_bytes(text.encode("utf-8"))
    try:
        found = read_runs(path, axes=("n",), loss="loss", group="family").groups
    except StudyError as error:
        # Where 1,234 could be 1.234, it says so; it never takes one for the other.
        assert "it must show which" in str(error)  # noqa: PT017
        assert delimiter != ","
        return
    assert set(found) == {family for family, _, _ in rows}
    for name, (sizes, losses) in found.items():
        own = [(n, loss) for family, n, loss in rows if family == name]
        assert sizes[:, 0] == pytest.approx([n for n, _ in own], rel=1e-12)
        assert list(losses) == [loss for _, loss in own]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n;loss\n14M;0,998\n70M;0,875\n", [0.998, 0.875]),
        ("n;loss\n14000000;3,2141\n70000000;2,566\n", [3.2141, 2.566]),
        ('n,loss\n"14,000,000",0.998\n"70,000,000",2.566\n', [0.998, 2.566]),
        ('n,loss\n14M,"0,998"\n70M,"2,566"\n', [0.998, 2.566]),
        ("sep=|\nn|loss|\n14M|0.998|\n70M|2.566|\n", [0.998, 2.566]),
        ("Runs of May\nn\tloss\n1.4E7\t.998\n7e7\t2.566\nExported by a tool\n", [0.998, 2.566]),
    ],
)
def test_numbers_are_read_in_the_notation_of_the_file(
    tmp_path: Path, text: str, expected: list[float]
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text, encoding="utf-8")
    found = read_runs(path, axes=("N",), loss="loss ", group=None)
    sizes, losses = found.groups[None]
    assert sizes[:, 0].tolist() == [14e6, 70e6]
    assert losses.tolist() == expected


@pytest.mark.parametrize(
    ("rows", "metric", "words"),
    [
        ("0,-0.6,1\n", "log_loss", "a log_loss must be >= 0, but got value=-0.6"),
        ("0,64.87,1\n", "auc", "an auc must lie in [0, 1], but got value=64.87"),
        ("0,-0.58,1\n", "auc", "an auc must lie in [0, 1], but got value=-0.58"),
    ],
)
def test_a_value_that_the_metric_cannot_have_is_refused(
    command: Command, tmp_path: Path, rows: str, metric: str, words: str
) -> None:
    path = tmp_path / "trials.csv"
    path.write_text(f"number,value,x\n{rows}", encoding="utf-8")
    assert words in command("replay", path, "--metric", metric, expect=2)


def test_an_unknown_state_is_named_and_other_tools_words_are_known(
    command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "trials.csv"
    path.write_text("number,value,x,state\n0,0.5,1,Succeeded\n", encoding="utf-8")
    shown = command("replay", path, "--metric", "log_loss", expect=2)
    assert "state must be a known one, but got state='Succeeded'" in shown
    path.write_text("number,value,x,state\n0,0.5,1,finished\n1,0.4,2,crashed\n", encoding="utf-8")
    found = replayed(command, path, "--metric", "log_loss")
    assert (found["n_trials"], found["n_complete"]) == (2, 1)
