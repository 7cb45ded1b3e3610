"""The second reader by itself: it is as strict as the project where cells are no numbers."""

import pytest

from tests.fuzz.second_reader import day, number

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1 427.079956", 1427.079956),
        ("1,427,000", 1427000.0),
        ("-1'427.5", -1427.5),
        (" 2e5 ", 2e5),
        ("1 42", None),
        ("1427 079", None),
        ("1 4270", None),
        ("1  427", None),
        ("1,42", None),
        ("1_000", None),
        ("1.2.3", None),
        ("nan", None),
        ("", None),
    ],
)
def test_thousands_stand_in_groups_of_three(cell: str, value: float | None) -> None:
    assert number(cell) == value


def test_a_date_may_lack_its_zeros_and_have_a_time() -> None:
    assert day("2014-1-3 00:00:00") == day("2014-01-03T16:00") == "2014-01-03"
