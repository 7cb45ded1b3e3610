import math

import optuna
import pytest

from study.spec.dimension import Choice, Dimension, Fixed, Range, parse_dimension

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


def test_an_end_is_named_where_enough_was_searched() -> None:
    assert CHOICE.edge(8) == "8 is the least of 4 choices"
    assert CHOICE.edge(256) == "256 is the most of 4 choices"
    assert [CHOICE.edge(16), Choice((1, 2, 3)).edge(1), Fixed(1).edge(1)] == [None] * 3
    assert RANGE.edge(1.01e-5) == "1.01e-05 is at the end 1e-05 of its range"
    assert RANGE.edge(1e-3) == "0.001 is at the end 0.001 of its range"
    assert RANGE.edge(1e-4) is None
