"""Files that are read without a fault and would make a wrong study are refused, or warned of."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from study.data.__main__ import main
from study.data.checks.price_checks import check_table, require_clean
from study.data.reading.tables import read_table
from study.data.sources import load_prices
from study.errors import DataError
from tests.data.bars import every_calendar_day, resampled, with_cell

pytestmark = pytest.mark.slow

CASES = Path(__file__).parent

Make = Callable[[pd.DataFrame], pd.DataFrame]

GENERATED: dict[str, Make] = {
    "weekly": lambda bars: resampled(bars, "W-MON"),
    "calendar_ffill": lambda bars: every_calendar_day(bars.loc["2010-12-06":], "copy"),
    "high_x100": lambda bars: with_cell(bars, 2000, "High", 100),
    "volume_x1e6": lambda bars: with_cell(bars, 1200, "Volume", 1e6),
}


@pytest.mark.parametrize(
    ("case", "checks", "words"),
    [
        ("weekly", ["spacing"], ["rows 7 days apart from 1999-01-04 to", "counts rows as days"]),
        (
            "calendar_ffill",
            ["filled-bars"],
            ["on a weekend and repeat", "2010-12-11, 2010-12-12", "Remove these rows"],
        ),
        (
            "data_day_shifted_by_utc/utc_shifted_berlin.csv",
            ["weekdays"],
            ["no Fridays and Sundays in their place", "22:00 to 23:00 in the zone +00:00",
             "--timezone"],
        ),
        (
            "data_unadjusted_split/unadjusted_split.csv",
            ["adjustment", "level-shift"],
            ["column 'Adj Close'", "changes on 2015-07-02 by 4", "--adjust",
             "Refused too by: level-shift"],
        ),
        (
            "data_unadjusted_split/jquants_raw.csv",
            ["adjustment", "level-shift"],
            ["column 'AdjustmentFactor'", "changes on 2015-07-02 by 0.5"],
        ),
        ("high_x100", ["broken-bar"], ["2006-12-14 High=", "Take the bar from the source"]),
        ("volume_x1e6", ["broken-volume"], ["(2003-10-13) column Volume", "times the usual"]),
    ],
)  # fmt: skip
def test_a_wrong_study_is_refused_and_can_be_accepted(
    case: str,
    checks: list[str],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = str(CASES / case)
    if case in GENERATED:
        file = str(tmp_path / f"{case}.csv")
        GENERATED[case](load_prices("sp500").frame).to_csv(file)
    assert main(["check", file]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    for each in (*words, f"--accept {checks[0]} lets it pass"):
        assert each in captured.err
    assert main(["import", file, "--name", "mine", "--import-folder", str(tmp_path)]) == 2
    capsys.readouterr()

    assert main(["check", file, "--json", "--accept", *checks]) == 0
    status = {each["name"]: each["status"] for each in json.loads(capsys.readouterr().out)}
    assert {name for name, each in status.items() if each == "accepted"} == set(checks)
    arguments = ["--name", "mine", "--import-folder", str(tmp_path), "--accept", *checks]
    assert main(["import", file, *arguments]) == 0
    assert f"warning: accepted ({checks[0]}): " in capsys.readouterr().out
    # The import keeps what was accepted, so that its user need not know it, and is warned.
    prices = load_prices("mine", tmp_path)
    assert set(prices.accepted) == set(checks)
    for check in checks:
        assert any(f"accepted ({check}): " in each for each in prices.warnings)


def test_what_is_accepted_is_a_part_of_the_data_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "high.csv")
    GENERATED["high_x100"](load_prices("sp500").frame).to_csv(file)
    assert main(["build", "--source", file]) == 2
    assert "2006-12-14 High=" in capsys.readouterr().err
    assert main(["build", "--source", file, "--accept", "broken-bar", "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert built["config"]["accept"] == ["broken-bar"]
    assert built["warnings"][0].startswith("accepted (broken-bar): high.csv line 2002 (2006-12-14)")
    assert main(["build", "--accept", "weekday"]) == 2
    assert "accept: must name checks whose refusal can be overridden, but got 'weekday'." in (
        capsys.readouterr().err
    )


def test_a_volume_that_is_no_volume_is_refused_without_a_word_of_numpy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "huge.csv")
    bars = load_prices("sp500").frame
    factor = 1e300 / bars["Volume"].iloc[2000]
    with_cell(bars, 2000, "Volume", factor).to_csv(file)
    for normalization in ("relative", "none"):
        assert main(["build", "--source", file, "--normalization", normalization]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: huge.csv line 2002 (2006-12-14) column Volume: must be 0")
        assert error.count("\n") == 1
    small = bars.copy()
    small.iloc[:, :4] *= 1e-303
    small.to_csv(file)
    assert main(["check", file]) == 2
    error = capsys.readouterr().err
    assert "column Open: must lie between 1e-09 and 1e+15, but got" in error
    assert "Give the prices in another unit." in error


def test_two_instruments_without_a_name_are_told_by_their_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sequence = pd.read_csv(CASES / "data_two_instruments_in_sequence/contracts_in_sequence.csv")
    sequence.drop(columns="symbol").to_csv(tmp_path / "two.csv", index=False)
    assert main(["check", str(tmp_path / "two.csv")]) == 2
    error = capsys.readouterr().err
    assert "two.csv line 152 (2015-07-02): prices must stay on one level" in error
    assert "2015-07-02 to 0.3701 of the close before" in error
    long = pd.read_csv(CASES / "data_long_table_by_date/long_by_date.csv")
    long.drop(columns="Name").to_csv(tmp_path / "long.csv", index=False)
    assert main(["check", str(tmp_path / "long.csv")]) == 2
    error = capsys.readouterr().err
    assert "A day has up to 2 rows: if the file holds several instruments, keep the rows" in error
    assert "Remove the duplicate" not in error


def test_a_row_without_prices_invites_no_invented_bar(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    text = (CASES / "data_yahoo_null_row/yahoo_null_row.csv").read_text()
    row = next(line for line in text.splitlines() if "null" in line)
    file.write_text(text.replace(row, row.replace("null", "7", 1)))
    with pytest.raises(DataError, match="a made-up value would be learnt") as caught:
        main_check(file)
    assert "Fill in" not in str(caught.value)


def main_check(file: Path) -> None:
    require_clean(check_table(read_table(file)))
