from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.errors import SpecError, StudyError
from study.fields import (
    Rule,
    above,
    between,
    check_value,
    fits,
    is_folder_name,
    is_number,
    is_whole,
    one_of,
    or_none,
    rebuild,
    share,
    whole,
    within,
)
from tests.results.damage import VALUES


@dataclass(frozen=True)
class Inner:
    share: float
    word: Literal["a", "b"] | None


@dataclass(frozen=True)
class Outer:
    count: int
    rows: Sequence[Inner]
    seconds: Mapping[str, float]
    rest: Any
    given: bool = False


class Described(TypedDict, total=False):
    count: int


GOOD = {"count": 1, "rows": [{"share": 1, "word": None}], "seconds": {"step": 0.5}, "rest": object}


def test_a_record_is_rebuilt_and_what_it_does_not_know_is_ignored() -> None:
    found = rebuild(Outer, {**GOOD, "other": 1}, "file", "Mend it.")
    assert found == Outer(count=1, rows=[Inner(1, None)], seconds={"step": 0.5}, rest=object)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": True}, "file: count: must be a whole number of at most 64 bits, but got True"),
        ({"count": 2**63}, "file: count: must be a whole number"),
        ({"rows": {}}, "file: rows: must be a list, but got {}"),
        ({"rows": "ab"}, "file: rows: must be a list"),
        ({"rows": [1]}, r"file: rows\[0\]: must be a mapping"),
        ({"rows": [{"share": 1}]}, r"file: rows\[0\]: must be a mapping with the field word"),
        ({"rows": [{"share": "1", "word": "a"}]}, r"rows\[0\]: share: must be a finite number"),
        ({"rows": [{"share": 1, "word": "c"}]}, r"word: must be one of a, b or null, but got 'c'"),
        ({"seconds": {"step": float("nan")}}, "file: seconds: step: must be a finite number"),
        ({"seconds": {1: 1.0}}, "file: seconds: must be a mapping"),
        ({"given": None}, "file: given: must be true or false"),
    ],
)
def test_a_field_of_another_type_is_named_with_its_place(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=message):
        rebuild(Outer, {**GOOD, **change}, "file", "Mend it.")


@settings(deadline=None)
@given(VALUES)
def test_whatever_is_given_is_a_record_or_an_error(value: Any) -> None:
    for kind in (Outer, Inner, Described):
        assert fits(value, kind) in (True, False)
    for name in GOOD:
        try:
            rebuild(Outer, {**GOOD, name: value}, "file", "Mend it.")
        except StudyError:
            continue


@settings(deadline=None)
@given(st.integers() | st.floats() | st.booleans())
def test_a_number_can_be_counted_with(value: float) -> None:
    if is_number(value):
        assert abs(float(value)) < float("inf")
    if is_whole(value):
        assert value.to_bytes(8, signed=True)


RULES: dict[str, tuple[Rule, list[object], list[object]]] = {
    "whole": (whole(1, 5), [1, 5], [0, 6, 1.0, True, None, "1", 10**400]),
    "above": (above(0, 1), [1e-300, 1], [0, 1.1, float("inf"), float("nan"), True, 10**400, "1"]),
    "share": (share(one=False), [0, 0.5], [1, -0.1, float("nan"), None]),
    "part": (share(zero=False), [1, 0.5], [0, 1.1]),
    "within": (within(1, 2), [1, 2.0], [0.9, 2.1, float("nan")]),
    "between": (between(0, 1), [0.5], [0, 1, "0.5"]),
    "word": (one_of(("a", "b")), ["a"], ["c", None, ["a"]]),
    "perhaps": (or_none(whole(1, 5)), [None, 1], [0, "1"]),
}


@pytest.mark.parametrize("name", RULES)
def test_a_value_obeys_the_rule_of_its_field(name: str) -> None:
    rule, good, bad = RULES[name]
    for value in good:
        check_value({name: rule}, name, value, "file", "Mend it.")
    for value in bad:
        with pytest.raises(SpecError, match=f"^file: {name} must .*, but got {name}="):
            check_value({name: rule}, name, value, "file", "Mend it.")


def test_a_folder_name_leads_nowhere_else() -> None:
    assert is_folder_name("phase6a_2M_h3_threshold_0.5pct")
    for name in ("", ".", "..", "a/b", "../a", "a\nb", "a\0", "a" * 256, "\udc80", None, 3):
        assert not is_folder_name(name)
