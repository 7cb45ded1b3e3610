from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.errors import SpecError
from study.results.convergence import (
    CompletedTrial,
    ConvergenceRule,
    completed_trials,
    configuration_key,
)
from tests.results.conftest import PARAMS, record

ABSOLUTE = ConvergenceRule(least_trials=20, threshold=0.02)
IN_ERRORS = ConvergenceRule(least_trials=20, se_share=0.1)


def trials(
    values: Sequence[float], keys: Sequence[int] | None = None, value_se: float | None = None
) -> list[CompletedTrial]:
    """Return trials with these values, of different configurations unless keys are given."""
    return [
        CompletedTrial(key=key, value=value, value_se=value_se)
        for key, value in zip(keys or range(len(values)), values, strict=True)
    ]


def descent(n: int) -> list[float]:
    """Return losses of which the five best span .04 up to trial 24, .03 after 25, then .0004."""
    far = [0.9 - 0.01 * i for i in range(n)]
    return [*far[:25], *[0.6 + 0.0001 * i for i in range(n - 25)]]


def test_the_stop_by_both_rules_is_the_planted_one() -> None:
    # Trials 0 to 24 fall by .01 each: five best .04 apart. From 25 on they lie at .6.
    values = descent(40)
    assert ABSOLUTE.first_stop(trials(values, value_se=0.02)) == 29
    assert IN_ERRORS.first_stop(trials(values, value_se=0.02)) == 29
    # The five best then span .0004: a standard error of .003 allows .0003.
    assert IN_ERRORS.first_stop(trials(values, value_se=0.003)) is None
    assert ConvergenceRule(threshold=0.04).first_stop(trials(values)) == 19


def test_a_rule_in_standard_errors_needs_one_of_the_best() -> None:
    equal = [0.5] * 30
    assert IN_ERRORS.first_stop(trials(equal)) is None
    assert IN_ERRORS.first_stop(trials(equal, value_se=0.02)) == 19
    unknown_best = [*trials(equal, value_se=0.02), CompletedTrial(key=99, value=0.4, value_se=None)]
    assert not IN_ERRORS.has_converged(unknown_best)


def test_duplicates_do_not_count_twice() -> None:
    values = [0.9 - 0.01 * i for i in range(20)]
    assert not ABSOLUTE.has_converged(trials(values))
    copies = trials([*values, *[0.7] * 5], keys=[*range(20), *[20] * 5])
    assert not ABSOLUTE.has_converged(copies)
    assert ABSOLUTE.has_converged(trials([*values, *[0.7] * 5]))
    # Nor are twenty copies twenty configurations.
    assert not ABSOLUTE.has_converged(trials([0.5] * 24, keys=[*range(19), *[0] * 5]))


def test_a_configuration_counts_with_its_best_value() -> None:
    values = [0.9 - 0.01 * i for i in range(20)]
    again = [0.71, 0.71, 0.71, 0.71]
    assert ABSOLUTE.has_converged(trials([*values, *again], keys=[*range(20), 0, 1, 2, 3]))
    worse = [0.99] * 20
    assert ConvergenceRule(threshold=0.041).has_converged(
        trials([*values, *worse], keys=[*range(20), *range(20)])
    )


@pytest.mark.parametrize(
    ("one", "other", "are_equal"),
    [
        ({"a": 1, "b": 2.5}, {"b": 2.5, "a": 1}, True),
        ({"a": 2}, {"a": 2.0}, True),
        ({"a": 2, "b": None}, {"a": 2, "b": float("nan")}, True),
        ({"a": 2, "b": None}, {"a": 2}, True),
        ({"a": [1, 2]}, {"a": (1, 2)}, True),
        ({"a": 2}, {"a": 3}, False),
        ({"a": 2}, {"b": 2}, False),
        ({"a": "2"}, {"a": 2}, False),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
    ],
)
def test_equal_configurations_have_equal_keys(
    one: dict[str, object], other: dict[str, object], are_equal: bool
) -> None:
    assert (configuration_key(one) == configuration_key(other)) == are_equal


def test_the_order_of_trials_decides_where_it_stops() -> None:
    values = [0.5] * 5 + [0.9 - 0.01 * i for i in range(25)]
    assert ABSOLUTE.first_stop(trials(values)) == 19
    assert ABSOLUTE.first_stop(trials(values[::-1])) == 29


def test_larger_is_better_where_it_is_said() -> None:
    # The five largest are .04 apart, the five smallest equal.
    values = [0.5] * 15 + [0.6, 0.61, 0.62, 0.63, 0.64]
    assert ABSOLUTE.has_converged(trials(values))
    assert not ABSOLUTE.has_converged(trials(values), larger_is_better=True)


def test_decimals_are_compared_as_they_are_written() -> None:
    assert 0.72 - 0.70 > 0.02
    values = [0.72, 0.71, 0.71, 0.71, 0.70] + [0.6] * 15
    assert ABSOLUTE.has_converged(trials(values), larger_is_better=True)


values_and_keys = st.lists(
    st.tuples(st.floats(0.3, 0.9), st.integers(0, 40)), min_size=1, max_size=60
)


@given(values_and_keys, st.floats(1e-4, 1.0), st.integers(5, 25))
def test_it_never_stops_before_enough_configurations(
    drawn: list[tuple[float, int]], threshold: float, least: int
) -> None:
    values, keys = zip(*drawn, strict=True)
    rule = ConvergenceRule(least_trials=least, threshold=threshold)
    stop = rule.first_stop(trials(values, keys))
    if stop is not None:
        assert len(set(keys[: stop + 1])) >= least
    first = [n for n in range(len(keys)) if rule.has_converged(trials(values, keys)[: n + 1])]
    assert stop == (first[0] if first else None)


@given(values_and_keys, st.floats(1e-4, 0.5), st.floats(1.0, 10.0))
def test_a_wider_threshold_never_stops_later(
    drawn: list[tuple[float, int]], threshold: float, factor: float
) -> None:
    values, keys = zip(*drawn, strict=True)
    last = len(values)
    for field in ("threshold", "se_share"):
        narrow, wide = (
            ConvergenceRule(least_trials=5, **{field: width})
            for width in (threshold, threshold * factor)
        )
        given_trials = trials(values, keys, value_se=0.02)
        stop = narrow.first_stop(given_trials)
        sooner = wide.first_stop(given_trials)
        assert (last if sooner is None else sooner) <= (last if stop is None else stop)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either a threshold or a share of the standard error"),
        ({"threshold": 0.02, "se_share": 0.1}, "either a threshold or a share"),
        ({"threshold": 0.0}, "threshold must be a number above 0, but got threshold=0.0"),
        ({"se_share": float("nan")}, "se_share must be a number above 0"),
        ({"threshold": 0.02, "least_trials": 4}, "must be at least 5"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        ConvergenceRule(**fields)  # type: ignore[arg-type]


def test_records_count_as_completed_in_the_order_of_their_ends() -> None:
    records = [
        record(0, value=0.5, ended=30.0),
        record(1, value=0.4, ended=10.0, params={**PARAMS, "dropout": 0.1}),
        record(2, value=0.3, ended=20.0, reason="asha"),
        record(3, value=None, ended=20.0, reason="diverged"),
        record(4, value=0.6, ended=20.0, seed=7, reason="early_stopping"),
    ]
    found = completed_trials(records)
    assert [trial.value for trial in found] == [0.4, 0.6, 0.5]
    assert found[1].key == found[2].key != found[0].key
    assert found[0].value_se == 0.02
