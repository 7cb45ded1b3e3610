"""Input that once ended in a traceback: one line that names file and place, and an exit code."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from analysis.__main__ import main as analysis
from analysis.study_records import read_study
from study.command import exit_code
from study.data.__main__ import main as data_command
from study.data.dataset import build_dataset
from study.plan import main as plan
from study.predict import main as predict
from study.results.store import CellIdentity, CellStore, read_trials
from study.search.known.earlier_trials import import_trials
from study.status import main as status
from study.sweep import main as sweep
from study.train import main as train
from study.tune import main as tune
from tests.analysis.records import FAMILY, write_study
from tests.results.cells import write_cell
from tests.results.conftest import record
from tests.search.simulated_search import CELL, SPACE

Command = Callable[[list[str]], int]

HERE = Path(__file__).parent / "bad_input"
DEEP = "[" * 100_000
LONG = "a" * 5_000
PRIOR = "demo_750000_h1_threshold_1pct"


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command in this process; return the one line that it must leave on stderr."""

    def run(command: Command, *argv: str, code: int = 2) -> str:
        found = command(list(argv))
        output, errors = capfd.readouterr()
        assert found == code, errors
        assert output == ""
        (line,) = errors.splitlines()
        assert line.startswith("error: ")
        assert len(line) < 2_100
        return line

    return run


SPACES = {
    "yaml_bad_date": "line 6, column 11: no timestamp: '2024-13-45'",
    "yaml_int_of_5000_digits": "line 34, column 11: no int",
    "yaml_tag_bool": "line 34, column 11: no bool",
    "yaml_tag_float": "line 34, column 11: no float",
    "yaml_deep": "nested too deeply",
    "yaml_rate_of_400_digits": "train.learning_rate: log_uniform needs two finite numbers",
    "yaml_no_heads": "model: n_heads must be a whole number >= 1",
    "yaml_label_with_newline": r"budgets: .* '50k\\n'",
    "yaml_name_300": "study: must be a plain name .* at most 100 characters",
}


@pytest.mark.parametrize("name", SPACES)
def test_a_search_space_is_refused_with_its_place(
    tmp_path: Path, refused: Callable[..., str], name: str
) -> None:
    path = str(HERE / f"{name}.yaml")
    flags = ("--search", path, "--storage", str(tmp_path))
    line = refused(tune, *flags, "--budget", "50k", "--horizon", "1")
    assert path in line
    assert re.search(SPACES[name], line)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [plan, sweep, train])
def test_every_command_has_the_wall(
    tmp_path: Path, refused: Callable[..., str], command: Command
) -> None:
    path = str(HERE / "yaml_tag_bool.yaml")
    assert path in refused(command, "--search", path, "--storage", str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "flag", "rest"),
    [
        (tune, "--seed", ["--budget", "2M", "--horizon", "1"]),
        (tune, "--search", []),
        (plan, "--budgets", []),
        (sweep, "--plan", []),
        (status, "--watch", []),
        (train, "--seeds", []),
        (predict, "--cell", []),
        (data_command, "--source", ["build"]),
        (analysis, "--study", []),
        (analysis, "--n", ["fit", "runs.csv"]),
    ],
)
def test_a_flag_has_a_value(
    refused: Callable[..., str], command: Command, flag: str, rest: list[str]
) -> None:
    assert f"{flag}: must have a value, but got '--'" in refused(command, *rest, f"{flag}=--")


@pytest.mark.parametrize(
    ("command", "argv", "words"),
    [
        (tune, ["--search", LONG], "must be a name or a YAML file"),
        (status, ["--storage", LONG], "File name too long"),
        (analysis, ["--storage", LONG], "File name too long"),
        (sweep, ["--plan", LONG], "File name too long"),
        (status, ["--watch", "inf"], "--watch: must be a finite number, but got 'inf'"),
        (status, ["--watch", "1e10"], "--watch: must be > 0 seconds and at most a day"),
        (data_command, ["build", "--purge-days", "9" * 20], "--purge-days: must be a whole number"),
        (data_command, ["build", "--purge-days", "9" * 18], "purge_days must be a whole number"),
        (data_command, ["build", "--embargo-days", "9" * 20], "--embargo-days: must be a whole"),
        (data_command, ["build", "--embargo-days", "9" * 18], "embargo_days must be a whole"),
        (data_command, ["build", "--max-shift", "inf"], "--max-shift: must be a finite number"),
        (tune, ["--budget", "2M", "--horizon", "1", "--task", "a\nb"], r"got task='a\nb'"),
        (tune, ["--budget", "2M\x1b[2J\n", "--horizon", "1"], r"--budget '2M\x1b[2J\n'"),
        (tune, ["--concurrency", "9" * 5_000], "--concurrency: must be auto or"),
        (plan, ["--horizons", "9" * 5_000], "--horizons: must be a whole number"),
        (plan, ["--from", LONG], "--from: must be one of the selected cells"),
        (plan, ["--a\nb"], r"unrecognized arguments: --a b"),
        (train, ["--seeds", "9" * 18], "--seeds: must be at least 1 and at most 1,000"),
        (data_command, ["list", "--tier", LONG], "--tier: invalid choice"),
    ],
)
def test_a_flag_is_refused_in_one_line(
    tmp_path: Path, refused: Callable[..., str], command: Command, argv: list[str], words: str
) -> None:
    assert words in refused(command, *argv)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("search.reduction_factor", float("inf")),
        ("search.reduction_factor", 1 + 1e-12),
        ("search.stall_minutes", float("inf")),
        ("search.grace_share", 0.004),
        ("search.trials", 10**30),
        ("data.max_shift", float("inf")),
        ("data.purge_days", 10**30),
        ("model.n_layers", 10**30),
        ("model.d_model", {"choice": [64, 0]}),
        ("train.epochs", 10**400),
        ("budgets.50k", 10**400),
        ("budgets.50k", True),
        ("horizons", [10**30]),
    ],
)
def test_a_number_out_of_range_is_refused_with_file_and_field(
    tmp_path: Path, refused: Callable[..., str], key: str, value: object
) -> None:
    raw = yaml.safe_load((HERE.parents[2] / "search_spaces/smoke.yaml").read_text())
    raw["train"]["warmup_share"] = 0.0
    *above, last = key.split(".")
    (raw[above[0]] if above else raw)[last] = value
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(raw))
    line = refused(tune, "--search", str(path), "--budget", "50k", "--horizon", "1")
    assert str(path) in line
    assert last in line


def test_a_plan_of_another_kind_is_refused_before_ray_starts(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    flags = ("--storage", str(tmp_path / "results"), "--plan")
    line = refused(sweep, *flags, str(HERE / "sweep_plan_cells.json"))
    assert "sweep_plan_cells.json: must be what study.plan --json writes: cells[0]" in line
    path = tmp_path / "plan.json"
    for text in (DEEP, "", "[]", '{"cells": {}}', '{"cells": [{"cell": "../x"}]}', "9" * 5_000):
        path.write_text(text)
        assert str(path) in refused(sweep, *flags, str(path))
    assert not (tmp_path / "results").exists()


def test_records_of_another_kind_cannot_be_imported(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    dataset = build_dataset(CELL.data)
    path = tmp_path / "all_trials.json"
    good = {**record(0).to_json(), "state": "COMPLETE"}

    def imports(_: Sequence[str]) -> int:
        return exit_code(lambda: len(import_trials(tmp_path, CELL, dataset, SPACE).known))

    for field, value in (
        ("reason", "inf"), ("epochs_trained", None), ("params", []), ("folder", "../.."),
        ("objective", 10**400), ("number", True), ("faults", {}), ("seconds", {"step": "1"}),
    ):  # fmt: skip
        path.write_text(json.dumps([good, {**good, field: value}]))
        line = refused(imports)
        assert f"{path}: must hold the records of this version: [1]" in line
        assert field in line
    path.write_text(json.dumps([{**good, "params": {**good["params"], "epochs": 0}}]))
    assert "[0]: params: epochs must be >= 1, but got 0" in refused(imports)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_study(tmp_path, {750_000: 0.5}, horizons=(1,), n_days=20)
    return tmp_path


def damaged(study: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = study / PRIOR / "cell.yaml"
    described = yaml.safe_load(path.read_text())
    change(described)
    path.write_text(yaml.safe_dump(described))


def test_a_cell_of_another_kind_is_named_by_the_report(
    study: Path, refused: Callable[..., str]
) -> None:
    path = study / PRIOR / "cell.yaml"
    good = path.read_text()
    for change, place in (
        (lambda d: d["spec"]["budgets"][0].update(target={}), "spec: budgets[0]: target must be"),
        (
            lambda d: d.update(metric="foo"),
            "metric: must be one of log_loss, auc, rank_ic, ic, sharpe, loss, but got 'foo'",
        ),
        (lambda d: d.update(horizon="1"), "horizon: must be a whole number"),
        (lambda d: d["splits"].pop("train"), "splits: must be a mapping with the field train"),
        (lambda d: d["splits"]["train"].update(base_rate=0), "base_rate must lie between 0 and 1"),
        (lambda d: d.update(spec=[]), "spec: must be a mapping"),
    ):
        damaged(study, change)
        line = refused(analysis, "--storage", str(study))
        assert f"{path}: " in line
        assert place.replace(" must be", ": must be") in line or place in line
        path.write_text(good)
    shutil.copy(HERE / "cell_yaml_without_metric.yaml", path)
    assert f"{path}: must be of this version and have" in refused(analysis, "--storage", str(study))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("all_trials.json", DEEP, "nested too deeply"),
        ("all_trials.json", "9" * 5_000, "must be JSON"),
        ("cell.yaml", DEEP, "nested too deeply"),
        ("cell.yaml", "a: !!bool x", "line 1, column 4: no bool: 'x'"),
    ],
)
def test_a_damaged_record_of_a_search_is_named_by_the_report(
    study: Path, refused: Callable[..., str], name: str, text: str, words: str
) -> None:
    path = study / PRIOR / name
    path.write_text(text)
    line = refused(analysis, "--storage", str(study))
    assert Path(name).name in line
    assert words in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("final.json", DEEP, "nested too deeply"),
        ("final.json", '{"cell": 1}', "must be a mapping with the field"),
        ("predictions.parquet", "PAR1", "must be a table of predictions"),
    ],
)
def test_damaged_final_runs_are_named_and_the_search_is_told(
    study: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, words: str
) -> None:
    (study / "final" / PRIOR / name).write_text(text)
    assert analysis(["--storage", str(study)]) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert f"{PRIOR}/{name}" in output
    assert words in output


def test_cells_that_cannot_be_read_are_named_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = (10_000, 20_000, 30_000)
    write_study(tmp_path, dict.fromkeys(sizes, 0.3), horizons=(1,), n_days=20)
    closed, damaged_one, collapsed = (f"demo_{size}_h1_threshold_1pct" for size in sizes)
    (tmp_path / damaged_one / "all_trials.json").write_text(DEEP)
    predictions = tmp_path / "final" / collapsed / "predictions.parquet"
    table = pd.read_parquet(predictions)
    table[table["model"] != FAMILY].to_parquet(predictions)
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    with as_another_user(tmp_path / closed):
        found = read_study(Path("."), None)
    assert [(cell.name, cell.final) for cell in found.cells] == [(collapsed, None)]
    assert len(found.problems) == 2
    assert f"{closed}: must be a folder that you may read: Permission denied" in found.problems[0]
    assert f"{damaged_one}/all_trials.json: must be JSON" in found.problems[1]
    problem = found.cells[0].final_problem
    assert problem is not None
    assert f"{collapsed}: some final run must have a usable result" in problem


def test_a_damaged_cell_is_shown_as_far_as_its_files_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_cell(tmp_path, "demo_2M_h1", ended=2)
    for name in ("all_trials.json", "status.json"):
        (folder / name).write_text(DEEP)
    assert status(["--storage", str(tmp_path)]) == 1
    output, errors = capsys.readouterr()
    assert "demo_2M_h1" in output
    assert "0/50" in output
    assert "all_trials.json is damaged: --resume writes it again" in output
    assert errors == ""


@contextmanager
def as_another_user(*folders: Path) -> Iterator[None]:
    """Let nobody but its owner read some folders, and be somebody else; as root, be nobody."""
    is_root = os.geteuid() == 0
    for folder in folders:
        folder.chmod(0o700 if is_root else 0)
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for folder in folders:
            folder.chmod(0o700)


def test_a_cell_of_somebody_else_is_named_and_the_others_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine_2M_h1", "planned_2M_h1", "theirs_2M_h1"):
        write_cell(tmp_path, name, ended=1)
    (tmp_path / "demo_sweep").mkdir()
    plan = {"cells": [{"cell": "planned_2M_h1", "trials": 5}]}
    (tmp_path / "demo_sweep" / "plan.json").write_text(json.dumps(plan))
    # Relative, because the folders above are the owner's alone.
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    with as_another_user(tmp_path / "planned_2M_h1", tmp_path / "theirs_2M_h1"):
        assert status(["--storage", "."]) == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    rows = [line.split()[:3] for line in output.splitlines() if "_2M_h1 " in line]
    assert rows == [
        ["planned_2M_h1", "unknown", "0/5"],
        ["mine_2M_h1", "interrupted", "1/50"],
        ["theirs_2M_h1", "unknown", "0/?"],
    ]
    for name in ("planned_2M_h1", "theirs_2M_h1"):
        assert f"{name}: unknown: it cannot be read: Permission denied" in output


def test_paths_in_a_folder_of_somebody_else_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    write_study(tmp_path / "in", {750_000: 0.5}, horizons=(1,), n_days=20)
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    for command, *argv in (
        (tune, "--search", "in/space.yaml"),
        (tune, "--budget", "2M", "--horizon", "1", "--storage", "in/results", "--resume"),
        (status, "--storage", "in"),
        (status, "--storage", "in/results"),
        (analysis, "--storage", "in"),
        (analysis, "--storage", "in/results"),
        (sweep, "--plan", "in/plan.json"),
        (predict, "--storage", "in", "--cell", PRIOR),
        (data_command, "check", "in/prices.csv"),
        (data_command, "build", "--source", "in/prices.csv"),
    ):
        with as_another_user(tmp_path / "in"):
            refused(command, *argv)


def test_a_table_with_a_field_beyond_the_limit_is_set_aside(tmp_path: Path) -> None:
    identity = CellIdentity(
        name="demo_2M_h1", study="demo", budget="2M", phase=None, metric="log_loss", horizon=1,
        task="threshold_1pct", data_sha256="abc", versions={},
    )  # fmt: skip
    folder = tmp_path / "demo_2M_h1"
    folder.mkdir()
    store = CellStore(folder, identity)
    store.write_trials([record(0)])
    table = tmp_path / "experiment_results.csv"
    whole = table.read_text()
    table.write_text(whole + "a" * 200_000 + "\n")
    store.write_trials([record(0)])
    assert table.read_text() == whole
    (aside,) = tmp_path.glob("damaged-*.csv")
    assert aside.read_text().startswith(whole)
    assert len(read_trials(folder)) == 1
