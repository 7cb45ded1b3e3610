from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from study.data.checks.check_result import CheckResult
from study.data.checks.filler_checks import stale_open_share
from study.data.checks.price_checks import check_table, require_clean
from study.data.prices import Prices, prices_from_frame
from study.data.reading.read_options import ReadOptions
from study.data.reading.tables import BAR_COLUMNS, read_table, table_from_frame
from study.errors import DataError

GOOD = [
    "2020-01-02,10,12,9,11,100",
    "2020-01-03,11,12,10,11,100",
    "2020-01-06,12,13,11,12,100",
    "2020-01-07,12,14,12,13,100",
]


def check_rows(folder: Path, rows: list[str]) -> str:
    path = folder / "prices.csv"
    path.write_text("Date,Open,High,Low,Close,Volume\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError) as caught:
        require_clean(check_table(read_table(path)))
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "2020-01-06,12,13,11,abc,100",
            "prices.csv line 4 (2020-01-06) column Close: must be a finite number, "
            "but got Close='abc'. Take the value from the source, or remove the row; a made-up "
            "value would be learnt.",
        ),
        (
            "2020-01-06,12,13,11,12,",
            "prices.csv line 4 (2020-01-06) column Volume: must be a finite number, "
            "but got Volume=",
        ),
        ("2020-01-06,12,inf,11,12,1", "line 4 (2020-01-06) column High: must be a finite number"),
        ("2020-01-06,12,13,11,1_2,1", "line 4 (2020-01-06) column Close: must be a finite number"),
        (
            "2020-01-06,12,13,-11,12,100",
            "prices.csv line 4 (2020-01-06) column Low: must be > 0, but got Low='-11'",
        ),
        ("2020-01-06,0,13,11,12,100", "line 4 (2020-01-06) column Open: must be > 0"),
        ("2020-01-06,12,13,11,12,-1", "line 4 (2020-01-06) column Volume: must be >= 0"),
        (
            "2020-01-06,12,11.5,11,12,100",
            "prices.csv line 4 (2020-01-06) column High: must be >= Open, Low and Close, but got "
            "High='11.5', Open='12', Low='11', Close='12'. Take the bar from the source,",
        ),
        (
            "2020-01-06,12,13,12.5,13,100",
            "line 4 (2020-01-06) column Low: must be <= Open, High and Close, but got Low='12.5'",
        ),
        (
            "2020-01-03,12,13,11,12,100",
            "line 4 (2020-01-03) column Date: must differ from the row before",
        ),
        (
            "2019-01-06,12,13,11,12,100",
            "line 4 (2019-01-06) column Date: must be later than the row before, but got "
            "Date='2019-01-06'. Sort the file, oldest first",
        ),
        (
            "06/01/2020,12,13,11,12,100",
            "line 4 (no date) column Date: must be a date such as 2024-03-28, "
            "and not before 1700-01-01, but got Date='06/01/2020'.",
        ),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    assert message in check_rows(tmp_path, [*GOOD[:2], row, GOOD[3]])


def test_the_first_of_many_broken_rows_is_named_and_the_others_counted(tmp_path: Path) -> None:
    rows = [GOOD[0], "2020-01-03,x,1,1,1,1", "2020-01-06,x,1,1,1,1", "2020-01-07,x,1,1,1,1"]
    message = check_rows(tmp_path, rows)
    assert "line 3 (2020-01-03) column Open" in message
    assert "(and 2 more rows)" in message


def test_a_volume_in_an_unknown_unit_is_not_taken_for_an_index(tmp_path: Path) -> None:
    message = check_rows(tmp_path, [f"{row} Mio" for row in GOOD])
    assert "column Volume: must be a finite number, but got Volume='100 Mio' (and 3 more" in message
    assert "no other unit is known" in message
    assert "index" not in message


def test_a_file_without_bars_is_refused(tmp_path: Path) -> None:
    assert "must hold daily bars" in check_rows(tmp_path, [])


def test_a_high_that_misses_by_rounding_passes() -> None:
    frame = pd.DataFrame(
        [[10.0, 11.0, 9.0, 11.0 + 1e-9, 1.0]],
        columns=list(BAR_COLUMNS),
        index=pd.DatetimeIndex(["2020-01-02"]),
    )
    assert prices_from_frame("rounded", frame).warnings == ()


def test_no_row_may_be_of_a_day_to_come(sp500: Prices) -> None:
    """The last is of 2018-12-31, and tomorrow may have begun elsewhere."""
    table = table_from_frame(sp500.frame, "spx")

    def found(day: int, accept: Sequence[str] = ()) -> CheckResult:
        results = check_table(table, accept, today=date(2018, 12, day))
        return {each.name: each for each in results}["future-days"]

    assert found(30).status == "ok"
    message = found(29).messages[0]
    assert "spx row 5032 (2018-12-31) column Date: must be no day to come" in message
    assert "and today is 2018-12-29" in message
    assert "got 2018-12-26 (and 3 more, to 2018-12-31)" in found(23).messages[0]
    assert found(23, ["future-days"]).status == "accepted"


def test_oddities_are_warnings_with_their_days() -> None:
    frame = pd.DataFrame(
        [[10, 12, 9, 11, 100], [11, 12, 10, 11, 0], [12, 13, 11, 12, 100]],
        columns=list(BAR_COLUMNS),
        index=pd.DatetimeIndex(["2020-01-02", "2020-01-03", "2020-01-11"]),
    )
    by_name = {result.name: result for result in check_table(table_from_frame(frame, "odd"))}
    assert by_name["gaps over 7 days"].messages == (
        "odd row 4: 8 calendar days without a bar, 2020-01-03 to 2020-01-11",
    )
    assert by_name["zero volume"].messages == ("odd: zero volume on 1 days: 2020-01-03",)
    assert by_name["Open equals previous Close"].messages == (
        "odd: Open equals the previous Close on many days: 2020 50%",
    )


def test_midnights_of_utc_are_not_to_be_moved_to_another_zone(
    sp500: Prices, tmp_path: Path
) -> None:
    frame = sp500.frame.iloc[-300:]
    stamps = [f"{day:%Y-%m-%d}T00:00:00Z" for day in frame.index]
    frame.set_axis(stamps).to_csv(tmp_path / "utc.csv", index_label="Date")
    require_clean(check_table(read_table(tmp_path / "utc.csv")))
    moved = read_table(tmp_path / "utc.csv", ReadOptions(timezone="America/New_York"))
    with pytest.raises(DataError, match=r"midnights of UTC.*leave --timezone out") as caught:
        require_clean(check_table(moved))
    assert "import the file with" not in str(caught.value)


def test_stale_opens_of_the_sp500_tell_the_era(sp500: Prices) -> None:
    days = sp500.frame.index.to_numpy().astype("datetime64[D]")
    shares = stale_open_share(days, sp500.frame.to_numpy())
    assert min(shares[year] for year in range(1999, 2006)) > 0.9
    assert max(shares[year] for year in range(2014, 2019)) < 0.05
    assert list(shares) == list(range(1999, 2019))
    assert np.isclose(shares[2003], 0.98, atol=0.01)
