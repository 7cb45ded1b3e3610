from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from study.data.arrays import DayArray
from study.data.data_config import DataConfig
from study.data.splits import (
    Part,
    Splits,
    SplitSummary,
    count_folds,
    effective_size,
    require_answerable,
    split_days,
    summarise,
)
from study.errors import DataError


def days(count: int) -> DayArray:
    """Return calendar days from 2000-01-01 on."""
    return np.datetime64("2000-01-01") + np.arange(count)


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
    splits = split_days(days(n_days), config)
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
    one, two = split_days(days(n_days), config), split_days(days(n_days), other)
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
    splits = split_days(days(40), config)
    assert splits.train.tolist() == list(range(2, 18))
    assert splits.validation.tolist() == list(range(21, 28))
    assert splits.test.tolist() == list(range(31, 38))


def test_a_history_that_leaves_a_part_empty_is_refused() -> None:
    with pytest.raises(DataError, match="train=0, validation=20, test=20 of 200 days"):
        split_days(days(200), DataConfig(horizon=1, context_length=150))


WALKS = st.builds(
    lambda horizon, extra, embargo, context, validation, fold, window, first: DataConfig(
        horizon=horizon,
        purge_days=horizon + extra,
        embargo_days=embargo,
        context_length=context,
        splits="walk_forward",
        first_test_day=str(np.datetime64("2000-01-01") + first),
        fold_days=fold,
        validation_days=validation,
        window_days=None if window is None else 500 + window,
    ),
    st.integers(1, 10),
    st.integers(0, 10),
    st.integers(0, 20),
    st.integers(1, 120),
    st.integers(60, 250),
    st.integers(1, 900),
    st.one_of(st.none(), st.integers(0, 500)),
    st.integers(500, 1200),
)


@settings(deadline=None)
@given(config=WALKS, n_days=st.integers(1300, 3000))
def test_every_fold_is_trained_on_its_own_past_and_each_test_day_is_in_one(
    config: DataConfig, n_days: int
) -> None:
    dates = days(n_days)
    folds = [split_days(dates, config, fold) for fold in range(count_folds(dates, config))]
    search = split_days(dates, config)
    gap = config.purge_days + config.embargo_days
    for fold in folds:
        for part in (fold.train, fold.validation, fold.test):
            assert (np.diff(part) == 1).all()
        assert fold.train[0] >= config.context_length - 1
        for earlier, later in ((fold.train, fold.validation), (fold.validation, fold.test)):
            assert later[0] - earlier[-1] == 1 + gap
        if config.window_days is not None:
            assert fold.test[0] - (fold.train[0] - config.context_length + 1) <= config.window_days
    np.testing.assert_array_equal(np.concatenate([fold.test for fold in folds]), search.test)
    assert str(dates[search.test[0]]) == config.first_test_day
    assert search.test[-1] + config.purge_days == n_days - 1
    sizes = [len(fold.test) for fold in folds]
    assert set(sizes[:-1]) <= {config.fold_days}
    assert len(sizes) == 1 or config.fold_days / 2 <= sizes[-1] < 1.5 * config.fold_days
    # The search sees what the first fold sees.
    np.testing.assert_array_equal(search.train, folds[0].train)
    np.testing.assert_array_equal(search.validation, folds[0].validation)


def test_the_days_of_a_small_walk_by_hand() -> None:
    config = DataConfig(
        horizon=2,
        purge_days=2,
        embargo_days=1,
        context_length=3,
        splits="walk_forward",
        first_test_day="2000-01-31",
        fold_days=10,
        validation_days=8,
        window_days=25,
    )

    def ends(splits: Splits) -> list[tuple[int, int]]:
        parts = (splits.train, splits.validation, splits.test)
        return [(int(part[0]), int(part[-1])) for part in parts]

    dates = days(56)
    assert count_folds(dates, config) == 2
    assert ends(split_days(dates, config, 0)) == [(7, 19), (23, 26), (30, 39)]
    # Fourteen days are left for the last fold: four are fewer than half of one.
    assert ends(split_days(dates, config, 1)) == [(17, 29), (33, 36), (40, 53)]
    assert ends(split_days(dates, config)) == [(7, 19), (23, 26), (30, 53)]
    assert count_folds(days(57), config) == 3


@pytest.mark.parametrize("first", ["1999-01-01", "2009-01-01"])
def test_a_first_test_day_without_a_past_or_a_future_is_refused(first: str) -> None:
    config = DataConfig(horizon=1, splits="walk_forward", first_test_day=first)
    with pytest.raises(DataError, match=r"from 2000-01-01 to 2002-09-26: move first_test_day="):
        split_days(days(1000), config)


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
