import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.data.__main__ import main
from study.data.prices import Prices
from study.data.sources import load_prices


@pytest.fixture
def folder(tmp_path: Path) -> list[str]:
    return ["--import-folder", str(tmp_path / "imported")]


@pytest.mark.slow
def test_import_then_list_then_build(
    sp500: Prices, tmp_path: Path, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sp500.frame.to_csv(tmp_path / "spy.csv")
    assert main(["import", str(tmp_path / "spy.csv"), "--name", "mine", *folder]) == 0
    assert "Use it with --source mine" in capsys.readouterr().out
    assert main(["list", "--json", *folder]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    markets = {"sp500", "nasdaq", "sp500-long", "synthetic", "mine"}
    assert set(listed) == {*markets, "stocks20", "synthetic-panel"}
    assert listed["mine"]["fingerprint"] == listed["sp500"]["fingerprint"]
    assert main(["build", "--source", "mine", "--horizon", "3", "--json", *folder]) == 0
    built = json.loads(capsys.readouterr().out)
    assert built["splits"]["validation"]["rows"] == 712
    assert built["config"]["horizon"] == 3
    assert len(built["features"]) == 25


@pytest.mark.slow
def test_a_market_that_cannot_be_used_hides_no_other(
    sp500: Prices, tmp_path: Path, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sp500.frame.to_csv(tmp_path / "good.csv")
    assert main(["import", str(tmp_path / "good.csv"), *folder]) == 0
    weekly = sp500.frame.iloc[::5]
    weekly.to_parquet(tmp_path / "imported" / "weekly.parquet")
    capsys.readouterr()
    assert main(["list", *folder]) == 0
    out = capsys.readouterr().out
    assert "good" in out
    assert "warning: weekly.parquet: rows must lie a trading day apart" in out
    assert main(["list", "--json", *folder]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert "problem" in listed["weekly"]
    assert "problem" not in listed["good"]


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
    assert captured.err.startswith("error: bad.csv line 2 (2020-01-02) column Close")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "--source", "nowhere"], "embedded sp500, nasdaq"),
        (["build", "--horizon", "9"], "purge_days must be at least the horizon"),
        (["build", "--normalization", "zscore"], "must not shift more than max_shift=3"),
        (["build", "--task", "threshold_pct"], "task: must be direction"),
        (["build", "--tier", "c"], "embedded (2014-01-03 to 2019-01-03)"),
        (["build", "--tier", "c", "--vix", "nowhere"], "There are: embedded (2014-01-03 to"),
        (["build", "--tier", "c", "--vix", "embedded", "--without", "vix"], "must be free of vix"),
        (["import", "missing.csv"], "must be an embedded market, an imported one or a file"),
        (["check", "x" * 300], "which is no file"),
        (["check", "x" * 300 + ".csv"], "File name too long"),
        (["check", "sp500", "--adjust"], "--symbol, --adjust and --timezone are for files"),
        (["build", "--tier", "c", "--vix", "x" * 300 + ".csv"], "File name too long"),
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


def test_list_shows_the_tiers_and_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--tier", "a200"]) == 0
    out = capsys.readouterr().out
    for words in ("211", "permutation_entropy_5", "EWMA volatility forecast", "252 days"):
        assert words in out
    assert main(["list", "--tier", "c", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 33
    assert listed[-1] == {
        "name": "vix_change_5d",
        "formula": "100 (VIX / VIX 5 days before - 1)",
        "look_back": 6,
        "weekly": False,
        "recursive": False,
        "source": "vix",
        "to_input": "as_is",
    }


@pytest.mark.slow
def test_a_vix_series_is_imported_listed_and_built_with(
    tmp_path: Path, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    days = [f"{day:%Y-%m-%d}" for day in load_prices("sp500").frame.index]
    rows = [f"{day},{12 + at * at % 19}" for at, day in enumerate(days)]
    (tmp_path / "v.csv").write_text("Date,Close\n" + "\n".join(rows))
    file = str(tmp_path / "v.csv")
    assert main(["import", file, "--series", "vix", "--name", "long", *folder]) == 0
    assert "Use it with --tier c --vix long" in capsys.readouterr().out
    assert main(["list", *folder]) == 0
    out = capsys.readouterr().out
    for words in ("VIX, for tier c", "embedded", "2014-01-03", "2019-01-03", "long"):
        assert words in out
    assert main(["build", "--tier", "c", "--vix", "long", "--json", *folder]) == 0
    built = json.loads(capsys.readouterr().out)
    assert len(built["features"]) == 33
    assert built["rows"] == 4812 - 727


def test_a_panel_is_checked_imported_and_checked_by_name(
    tmp_path: Path, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    prices = {"A": [1.0, 1.1, 1.2], "B": [2.0, 2.1, 2.2], "C": [3.0, 3.1, 3.2], "D": [4.0, 4.1, ""]}
    file, sectors = tmp_path / "wide.csv", tmp_path / "sectors.csv"
    days = pd.DataFrame(prices, index=["2020-01-01", "2020-01-02", "2020-01-03"])
    days.to_csv(file, index_label="Date")
    sectors.write_text("asset,sector\nA,X\nB,Y\nC,X\nD,Y\n")
    size = (
        "3 days x 4 assets, 2 sectors, 2020-01-01 to 2020-01-03, closes alone\n"
        "assets a day 3 to 4, median 4; missing between an asset's first and last day 0.00%\n"
    )
    of_panel = ["--panel", "--sectors", str(sectors), *folder]
    assert main(["check", str(file), *of_panel]) == 0
    assert f"wide: {size}" in capsys.readouterr().out
    assert main(["import", str(file), "--name", "four", *of_panel]) == 0
    out = capsys.readouterr().out
    assert f"four: {size}" in out
    assert "Use it with --search panel --source four\n" in out
    assert main(["check", "four", "--json", *folder]) == 0
    results = json.loads(capsys.readouterr().out)
    assert {each["status"] for each in results} == {"ok"}


def test_a_cell_of_a_panel_is_built_with_the_settings_of_panels(
    tmp_path: Path, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    days = pd.bdate_range("2012-01-02", periods=760)
    walk = np.random.default_rng(0).normal(0, 0.01, (len(days), 4)).cumsum(axis=0)
    file = tmp_path / "walks.csv"
    pd.DataFrame(50 * np.exp(walk), index=days, columns=[*"ABCD"]).to_csv(file, index_label="Date")
    assert main(["import", str(file), "--panel", *folder]) == 0
    capsys.readouterr()
    build = ["build", "--source", "walks", "--baselines", *folder]
    assert main([*build, "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    config = built["config"]
    assert (config["task"], config["tier"], config["context_length"]) == ("ranking", "closes", 10)
    assert (built["assets"], built["sectors"], len(built["features"])) == ([*"ABCD"], 0, 36)
    assert built["splits"]["validation"]["assets_mean"] == 4
    ridge = next(each for each in built["baselines"] if each["name"] == "ridge")
    assert set(ridge) == {"name", "rank_ic", "rank_ic_se", "ic", "sharpe", "sharpe_net"}
    folds = ["--splits", "walk_forward", "--fold-days", "100", "--validation-days", "60"]
    assert main([*build, *folds, "--search-splits", "purged_k_fold"]) == 0
    said = capsys.readouterr().out
    for words in (
        "days x 4 assets x 36 features", "the test days are 3 folds of 100",
        "a search trains on 5 purged folds", "baselines on the days of 5 folds",
    ):  # fmt: skip
        assert words in said
    heads = ["part", "first day", "last day", "days", "labels", "assets a day", "effective"]
    assert [each.strip(" ┃") for each in said.splitlines()[4].split(" ┃ ")] == heads
    # No inputs are kept beside the imported panel.
    assert [path.name for path in (tmp_path / "imported").iterdir()] == ["panels"]


def test_the_features_of_closes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--tier", "closes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 36
    assert set(listed[0]) == {"name", "formula", "look_back"}
    assert main(["list", "--tier", "closes"]) == 0
    assert listed[0]["formula"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["check", "sp500", "--sectors", "s.csv"], "--sectors: is for panels, but got a single"),
        (["check", "stocks20", "--sectors", "s.csv"], "stocks20: --sectors and --timezone are for"),
        (["check", "stocks20", "--adjust"], "--panel: takes all assets of a file, and adjusted"),
        (["import", "x.csv", "--panel", "--series", "vix"], "--panel: is for prices, but got"),
        (["import", "x.csv", "--panel"], "import: must be a file .csv"),
        (
            ["build", "--source", "stocks20", "--task", "direction"],
            "source: must be a market of one asset, but got source=stocks20",
        ),
        (["build", "--source", "sp500", "--task", "ranking"], "sp500"),
    ],
)
def test_flags_of_panels_and_of_single_assets_are_kept_apart(
    flags: list[str], message: str, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, *folder]) == 2
    assert message in capsys.readouterr().err
