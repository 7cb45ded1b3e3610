import json
import subprocess
import sys
from pathlib import Path

import pytest

from study.data.__main__ import main
from study.data.sources import Prices


@pytest.fixture
def folder(tmp_path: Path) -> list[str]:
    return ["--import-folder", str(tmp_path / "imported")]


def test_import_then_list_then_build(
    sp500: Prices, tmp_path: Path, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sp500.frame.to_csv(tmp_path / "spy.csv")
    assert main(["import", str(tmp_path / "spy.csv"), "--name", "mine", *folder]) == 0
    assert "Use it with --source mine" in capsys.readouterr().out
    assert main(["list", "--json", *folder]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert set(listed) == {"sp500", "nasdaq", "synthetic", "mine"}
    assert listed["mine"]["fingerprint"] == listed["sp500"]["fingerprint"]
    assert main(["build", "--source", "mine", "--horizon", "3", "--json", *folder]) == 0
    built = json.loads(capsys.readouterr().out)
    assert built["splits"]["validation"]["rows"] == 712
    assert built["config"]["horizon"] == 3
    assert len(built["features"]) == 25


def test_build_prints_splits_shift_and_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--task", "direction", "--label", "close", "--baselines"]) == 0
    out = capsys.readouterr().out
    for words in ("direction", "validation", "effective", "atr_14", "logistic", "warning: sp500"):
        assert words in out


def test_list_shows_every_feature(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--tier", "a25"]) == 0
    out = capsys.readouterr().out
    assert "(Close - lower) / (upper - lower), bands 20 days, 2 sd" in out
    assert "vwap_20" in out


def test_check_shows_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "sp500"]) == 0
    out = capsys.readouterr().out
    assert "High is highest" in out
    assert "warning" in out


def test_check_of_a_broken_file_shows_the_row_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("Date,Open,High,Low,Close,Volume\n2020-01-02,1,1,1,x,1\n")
    assert main(["check", str(file)]) == 2
    captured = capsys.readouterr()
    assert "error" in captured.out
    assert captured.err.startswith("error: bad.csv row 2 (2020-01-02) column Close")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "--source", "nowhere"], "embedded sp500, nasdaq"),
        (["build", "--horizon", "9"], "purge_days must be at least the horizon"),
        (["build", "--normalization", "zscore"], "must not shift more than max_shift=3"),
        (["build", "--task", "threshold_pct"], "task: must be direction or"),
        (["import", "missing.csv"], "must be an embedded market, an imported one or a file"),
    ],
)
def test_a_user_error_is_one_line_and_code_2(
    arguments: list[str], words: str, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *folder]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err


@pytest.mark.slow
def test_the_module_runs_and_nothing_is_cut_off_in_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "study.data", "check", "sp500"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2013 26%" in done.stdout
