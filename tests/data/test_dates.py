from datetime import date

import numpy as np
import pandas as pd
import pytest

from study.data.reading.dates import are_times, in_timezone, is_date, read_dates
from study.errors import DataError

WHERE = "x.csv column Date"


def days(cells: list[object]) -> list[str]:
    return [str(day) for day in read_dates(cells, None, WHERE).days]


@pytest.mark.parametrize(
    ("cells", "expected", "form"),
    [
        (["03/01/2011", "04/01/2011"], ["2011-01-03", "2011-01-04"], "dates DD/MM/YYYY"),
        (["01/03/2011", "01/04/2011"], ["2011-01-03", "2011-01-04"], "dates MM/DD/YYYY"),
        (["01/04/2011", "01/03/2011"], ["2011-01-04", "2011-01-03"], "dates MM/DD/YYYY"),
        (["1.2.2011", "13.2.2011"], ["2011-02-01", "2011-02-13"], "dates DD.MM.YYYY"),
        (["24-03-28", "24-03-29"], ["2024-03-28", "2024-03-29"], "dates YY-MM-DD"),
        (["28-03-24", "29-03-24"], ["2024-03-28", "2024-03-29"], "dates DD-MM-YY"),
        (["1/3/99", "1/4/99"], ["1999-01-03", "1999-01-04"], "dates MM/DD/YY"),
        (["12/31/49", "1/3/50"], ["2049-12-31", "1950-01-03"], "dates MM/DD/YY"),
        (["3/3/2011"], ["2011-03-03"], "dates DD/MM/YYYY"),
        (["20240328", "20240329"], ["2024-03-28", "2024-03-29"], "dates YYYYMMDD"),
        ([20240328, 20240329], ["2024-03-28", "2024-03-29"], "dates YYYYMMDD"),
        ([20240328.0, np.nan], ["2024-03-28", "NaT"], "dates YYYYMMDD"),
        (["20240328160000"], ["2024-03-28"], "dates YYYYMMDD"),
        (["Mar 28, 2024", "march 29, 2024"], ["2024-03-28", "2024-03-29"], "like Mar 28, 2024"),
        (["28 Okt 2024"], ["2024-10-28"], "dates like 28 Mar 2024"),
        ([1711584000], ["2024-03-28"], "epoch seconds, zone +00:00"),
        (["1711584000000"], ["2024-03-28"], "epoch milliseconds"),
        (["1711584000000000"], ["2024-03-28"], "epoch microseconds"),
        (["1711584000000000000"], ["2024-03-28"], "epoch nanoseconds"),
        ([date(2024, 3, 28), None, pd.NaT], ["2024-03-28", "NaT", "NaT"], "timestamps"),
        ([], [], "no dates"),
    ],
)
def test_a_column_is_read_in_one_way(cells: list[object], expected: list[str], form: str) -> None:
    found = read_dates(cells, None, WHERE)
    assert found.days.astype(str).tolist() == expected
    assert form in found.form


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["01/02/2011"], "'01/02/2011', which is 2011-02-01 by DD/MM/YYYY or 2011-01-02 by MM/DD"),
        # Both readings rise, a month apart by the one and 32 days by the other.
        (["01/02/2011", "02/03/2011"], "must show which number is the day"),
        # Neither reading is in order.
        (["01/02/2011", "05/01/2011", "03/02/2011"], "must show which number is the day"),
        (
            ["01/13/2011", "14/01/2011"],
            "one order, but got '01/13/2011', which is not DD/MM/YYYY, ",
        ),
        ([1711584000000, 1711670400000000], "one unit, but got milliseconds and microseconds"),
        ([45379, 45380], "the number 45380, which is neither a day such as 20240328 nor an epoch"),
        ([86400000 * day for day in range(-5, 5)], "must hold daily dates, but got"),
        (["soon", ""], "must hold dates, but got 'soon' and no date in 2 cells"),
        (["9" * 30], "must hold dates, but got '9999"),
        (["9" * 24], "which is neither a day such as 20240328 nor an epoch stamp"),
        (["-2020010"], "which is neither a day"),
        (["\u00b2" * 8], "must hold dates, but got"),
        (["2024-02-30"], "must hold dates, but got '2024-02-30' and no date in 1 cell"),
        (["2024-02-28 24:10"], "must hold dates"),
    ],
)
def test_what_could_be_two_days_is_refused(cells: list[object], words: str) -> None:
    with pytest.raises(DataError, match=r"x\.csv column Date: must") as caught:
        days(cells)
    assert words in str(caught.value)


def test_a_slip_in_a_row_is_no_date_and_says_nothing_of_the_others() -> None:
    assert days(["01/13/2011", "13/45/2011", "01/14/2011"]) == ["2011-01-13", "NaT", "2011-01-14"]
    assert days(["2011-01-13", "01/14/2011", "2011-01-15", ""]) == [
        "2011-01-13",
        "NaT",
        "2011-01-15",
        "NaT",
    ]


@pytest.mark.parametrize(
    ("cell", "day", "seconds", "zones"),
    [
        ("2020-01-02T23:30:00Z", "2020-01-02", 84_600, {"+00:00"}),
        ("2020-01-02 00:00:00+09:00", "2020-01-02", 0, {"+09:00"}),
        ("2020-01-02 00:00:00.000000-0330", "2020-01-02", 0, {"-03:30"}),
        ("1/13/2020 4:00:00 PM", "2020-01-13", 57_600, set()),
        ("1/13/2020 12:00 AM", "2020-01-13", 0, set()),
        ("20200102 170000", "2020-01-02", 61_200, set()),
        (1577923200 + 3600, "2020-01-02", 3600, {"+00:00"}),
        (pd.Timestamp("2020-01-02 06:00", tz="Asia/Tokyo"), "2020-01-02", 21_600, {"+09:00"}),
    ],
)
def test_a_stamp_keeps_the_day_of_its_own_clock(
    cell: object, day: str, seconds: int, zones: set[str]
) -> None:
    found = read_dates([cell], None, WHERE)
    assert found.days.astype(str).tolist() == [day]
    assert found.seconds.tolist() == [seconds]
    assert found.zones == zones


def test_months_of_a_third_language_are_refused_and_a_slip_is_not() -> None:
    with pytest.raises(
        DataError, match=r"months in English or German, but got '1 abr 2016' \(and 1"
    ):
        read_dates(["31 mar 2016", "1 abr 2016", "4 abr 2016"], None, WHERE)
    assert days(["31 mar 2016", "1 arp 2016", "4 apr 2016"]) == ["2016-03-31", "NaT", "2016-04-04"]


def test_a_time_of_day_may_stand_in_another_column() -> None:
    found = read_dates(["2014.11.25"], ["16:30"], WHERE)
    assert (str(found.days[0]), found.seconds[0]) == ("2014-11-25", 59_400)
    assert are_times(["00:00", "16:30:00"])
    assert are_times(["000000"])
    assert not are_times(["1577923200"])
    assert not are_times([])


def test_a_zone_is_followed_through_its_summer_time() -> None:
    winter, summer = 1577919600, 1593554400  # 23:00 and 22:00 UTC
    found = in_timezone(read_dates([winter], None, WHERE), "Europe/Berlin", WHERE)
    assert (str(found.days[0]), found.seconds[0]) == ("2020-01-02", 0)
    assert found.zones == {"+01:00"}
    found = in_timezone(read_dates([summer], None, WHERE), "Europe/Berlin", WHERE)
    assert (str(found.days[0]), found.seconds[0]) == ("2020-07-01", 0)
    assert found.zones == {"+02:00"}
    tokyo = read_dates(["2020-01-02 00:00:00+09:00"], None, WHERE)
    found = in_timezone(tokyo, "UTC", WHERE)
    assert (str(found.days[0]), found.seconds[0]) == ("2020-01-01", 15 * 3600)
    mixed = read_dates(["2020-01-02 00:00+01:00", "2020-01-03 00:00"], None, WHERE)
    with pytest.raises(DataError, match="must hold stamps with their zone"):
        in_timezone(mixed, "Europe/Berlin", WHERE)


def test_cells_that_could_be_dates() -> None:
    assert all(map(is_date, ["2020-01-02", "20200102", "1577923200", "1/2/20", "Jan 2, 2020"]))
    assert not any(map(is_date, ["Date", "", "2070.15", "1234567", "SPY"]))
