import math

import optuna
import pytest

from study.spec.dimension import Choice, Dimension, End, Fixed, Range, parse_dimension

RANGE = Range(1e-5, 1e-3, log=True)
CHOICE = Choice((8, 16, 32, 256))


def test_a_value_moves_to_the_nearest_of_a_range() -> None:
    assert RANGE.nearest(5e-3) == 1e-3
    assert RANGE.nearest(1e-4) == 1e-4
    assert Choice((0.05, 0.1)).nearest(0.0) == 0.05
    assert CHOICE.nearest(100) == 32
    assert Choice(("mean", "last")).nearest("last") == "last"
    assert Fixed(3).nearest(7) == 3


@pytest.mark.parametrize("dimension", [RANGE, Range(0.0, 0.5, log=False), CHOICE, Fixed("mean")])
def test_what_is_drawn_and_the_middle_are_contained_and_the_file_form_is_read_back(
    dimension: Dimension,
) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    assert dimension.contains(dimension.suggest(trial, "it"))
    assert bool(trial.params) == dimension.is_searched
    assert dimension.contains(dimension.middle)
    assert all(map(dimension.contains, dimension.values))
    assert not dimension.contains("something else")
    assert parse_dimension(dimension.plain, "here") == dimension


def test_the_middle_of_a_logarithmic_range_is_the_geometric_mean() -> None:
    assert RANGE.middle == math.sqrt(1e-5 * 1e-3)
    assert Range(0.0, 0.5, log=False).middle == 0.25
    assert CHOICE.middle == 32


def allowed(value: object) -> bool:
    return isinstance(value, float | int) and 0 <= value < 1000


@pytest.mark.parametrize(
    ("values", "end", "added"),
    [
        # The progression's own next number, whatever its steps.
        ((1, 2, 3, 4, 6, 8, 12, 16), "largest", 24),
        ((2, 4, 8, 16), "largest", 32),
        ((50, 75, 100, 128, 150), "largest", 192),
        ((5, 10, 15, 20), "largest", 30),
        ((1e-4, 1e-3, 1e-2, 1e-1), "largest", 1.0),
        ((1e-4, 1e-3, 1e-2, 1e-1), "least", 1e-5),
        ((1e-4, 2e-4, 4e-4, 8e-4), "largest", 1.6e-3),
        ((2, 3, 4, 6), "least", 1),
        ((8, 16, 32, 64), "least", 4),
        # Nothing lies below one layer or beyond zero, and the field's rule ends the last one.
        ((1, 2, 3, 4), "least", None),
        ((0.0, 0.1, 0.2, 0.4), "least", None),
        ((125, 250, 500, 999), "largest", None),
        # Three digits would be the end itself.
        ((0.9990, 0.9992, 0.9994, 0.9996), "least", None),
        ((0.9991, 0.9993, 0.9996, 0.9999), "largest", 1.0),
    ],
)  # fmt: skip
def test_choices_become_wider_by_the_next_number(
    values: tuple[float, ...], end: End, added: float | None
) -> None:
    wider = Choice(values).wider(end, allowed)
    if added is None:
        assert wider is None
    else:
        assert wider == Choice((*values, added) if end == "largest" else (added, *values))
        assert type(wider.values[-1 if end == "largest" else 0]) is type(added)


@pytest.mark.parametrize(
    ("before", "end", "bound"),
    [
        (Range(1e-4, 1e-2, log=True), "largest", 0.0316),
        (Range(1e-4, 1e-2, log=True), "least", 3.16e-5),
        (Range(0.0, 0.2, log=False), "largest", 0.25),
        # A quarter of the width is forbidden, and an eighth; a sixteenth is not.
        (Range(100.0, 900.0, log=False), "largest", 950.0),
        (Range(0.0, 0.2, log=False), "least", None),
    ],
)
def test_a_range_becomes_wider_by_a_quarter_as_far_as_the_rule_allows(
    before: Range, end: End, bound: float | None
) -> None:
    wider = before.wider(end, allowed)
    if bound is None:
        assert wider is None
    else:
        low, high = (before.low, bound) if end == "largest" else (bound, before.high)
        assert wider == Range(low, high, log=before.log)


def test_an_end_is_named_where_enough_was_searched() -> None:
    assert CHOICE.edge(8) == "8 is the least of 4 choices"
    assert CHOICE.edge(256) == "256 is the largest of 4 choices"
    assert [CHOICE.edge(16), Choice((1, 2, 3)).edge(1), Fixed(1).edge(1)] == [None] * 3
    assert RANGE.edge(1.01e-5) == "1.01e-05 is at the end 1e-05 of its range"
    assert RANGE.edge(1e-3) == "0.001 is at the end 0.001 of its range"
    assert RANGE.edge(1e-4) is None
