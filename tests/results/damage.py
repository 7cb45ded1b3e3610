"""Values as nobody wrote them, in places where a record has others."""

import copy
from typing import Any

from hypothesis import strategies as st

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**30), 2**63, 1e308, float("inf"), float("nan"), "", "a\nb"])
    | st.floats()
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value inside of a plain one, itself included."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [above, *(path for key, each in inner for path in places(each, (*above, key)))]


def with_value(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """Return a copy in which a place holds another value."""
    if not place:
        return new
    changed = copy.deepcopy(value)
    inside = changed
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = new
    return changed


def without(value: Any, place: tuple[Any, ...]) -> Any:
    """Return a copy in which a place is missing."""
    changed = copy.deepcopy(value)
    inside = changed
    for key in place[:-1]:
        inside = inside[key]
    del inside[place[-1]]
    return changed


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """Draw a plain value of which a place holds something else, or is missing."""
    place = draw(st.sampled_from(places(value)))
    if place and draw(st.booleans()):
        return without(value, place)
    return with_value(value, place, draw(VALUES))
