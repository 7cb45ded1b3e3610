from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from study.data.data_config import DataConfig
from study.data.splits import (
    Part,
    SplitSummary,
    effective_size,
    require_answerable,
    split_days,
    summarise,
)
from study.errors import DataError

CONFIGS = st.builds(
    lambda horizon, extra, embargo, context, validation, test: DataConfig(
        horizon=horizon,
        purge_days=horizon + extra,
        embargo_days=embargo,
        context_length=context,
        validation_share=validation,
        test_share=test,
    ),
    st.integers(1, 10),
    st.integers(0, 10),
    st.integers(0, 20),
    st.integers(1, 120),
    st.floats(0.05, 0.3),
    st.floats(0.05, 0.3),
)


@settings(deadline=None)
@given(config=CONFIGS, n_days=st.integers(900, 3000))
def test_no_label_reaches_another_part_and_every_window_exists(
    config: DataConfig, n_days: int
) -> None:
    splits = split_days(n_days, config)
    parts = (splits.train, splits.validation, splits.test)
    for part in parts:
        assert (np.diff(part) == 1).all()
        assert part[0] >= config.context_length - 1
        assert part[-1] + config.horizon < n_days
    for earlier, later in ((splits.train, splits.validation), (splits.validation, splits.test)):
        # The last label day of one part lies before the first sample of the next, and the
        # embargo comes on top.
        assert earlier[-1] + config.horizon + config.embargo_days < later[0]
        assert later[0] - earlier[-1] == 1 + config.purge_days + config.embargo_days


@settings(deadline=None)
@given(config=CONFIGS, n_days=st.integers(900, 3000), data=st.data())
def test_evaluation_days_do_not_depend_on_horizon_or_context(
    config: DataConfig, n_days: int, data: st.DataObject
) -> None:
    other = replace(
        config,
        horizon=data.draw(st.integers(1, config.purge_days)),
        context_length=data.draw(st.integers(1, 120)),
    )
    one, two = split_days(n_days, config), split_days(n_days, other)
    np.testing.assert_array_equal(one.validation, two.validation)
    np.testing.assert_array_equal(one.test, two.test)
    assert one.train[-1] == two.train[-1]


def test_the_days_of_a_small_split_by_hand() -> None:
    config = DataConfig(
        horizon=2,
        purge_days=2,
        embargo_days=1,
        context_length=3,
        validation_share=0.25,
        test_share=0.25,
    )
    splits = split_days(40, config)
    assert splits.train.tolist() == list(range(2, 18))
    assert splits.validation.tolist() == list(range(21, 28))
    assert splits.test.tolist() == list(range(31, 38))


def test_a_history_that_leaves_a_part_empty_is_refused() -> None:
    with pytest.raises(DataError, match="train=0, validation=20, test=20 of 200 days"):
        split_days(200, DataConfig(horizon=1, context_length=150))


def test_independent_labels_count_in_full_and_repeated_ones_once() -> None:
    labels = (np.random.default_rng(0).random(20_000) < 0.2).astype(np.float32)
    assert effective_size(labels, 1) == pytest.approx(20_000, rel=0.1)
    # Each label stands for ten days: block means of 20 days hold two and a half of them at least.
    assert effective_size(np.repeat(labels[:2_000], 10), 1) == pytest.approx(2_000, rel=0.25)


def test_labels_that_overlap_are_worth_more_than_one_per_horizon() -> None:
    # The highest of five independent draws: neighbours share four of them, and yet may differ. The
    # correlations at lags of one to four days are .756, .536, .338 and .160.
    draws = np.random.default_rng(1).random(20_004)
    highest = np.lib.stride_tricks.sliding_window_view(draws, 5).max(axis=1)
    size = effective_size((highest > 0.9).astype(np.float32), 5)
    assert 20_000 / 5 < size == pytest.approx(20_000 / (1 + 2 * 1.79), rel=0.08)


@pytest.mark.parametrize("labels", [np.zeros(300), np.array([1, 0] * 15)])
def test_where_blocks_give_no_error_labels_count_that_do_not_overlap(labels: np.ndarray) -> None:
    assert effective_size(labels.astype(np.float32), 5) == len(labels) / 5


def test_a_summary_counts_its_own_days_only() -> None:
    labels = np.array([1, 0, 1, 1, np.nan], dtype=np.float32)
    dates = np.arange("2020-01-01", "2020-01-06", dtype="datetime64[D]")
    summary = summarise(np.array([1, 2, 3]), labels, dates, 1)
    assert summary == SplitSummary(
        rows=3,
        positives=2,
        base_rate=2 / 3,
        effective_size=3.0,
        first_day="2020-01-02",
        last_day="2020-01-04",
    )


@pytest.mark.parametrize(
    ("positives", "size", "words"),
    [
        (49, 400.0, "validation part: needs at least 50 positives, but got positives=49"),
        (352, 400.0, "needs at least 50 negatives, but got negatives=48 of 400 days"),
        (100, 99.0, "needs an effective sample size of at least 100"),
    ],
)
def test_a_validation_part_that_cannot_answer_is_refused(
    positives: int, size: float, words: str
) -> None:
    good = SplitSummary(
        rows=400,
        positives=100,
        base_rate=0.25,
        effective_size=400.0,
        first_day="2020-01-01",
        last_day="2021-08-01",
    )
    summaries: dict[Part, SplitSummary] = {"train": good, "validation": good, "test": good}
    require_answerable(summaries)
    poor = replace(good, positives=positives, effective_size=size)
    with pytest.raises(DataError, match="longer history") as caught:
        require_answerable({**summaries, "validation": poor})
    assert words in str(caught.value)
