import math
import pickle
from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from study.data.data_config import DataConfig, SearchSplitKind
from study.data.dataset import Dataset, build_dataset
from study.data.evaluation.baselines import logistic_probability, score_baselines
from study.data.evaluation.probability_scores import daily_means
from study.data.prices import Prices, prices_from_frame
from study.data.splits import SearchFold, Splits, search_folds, split_days
from study.errors import DataError, SpecError

KINDS: tuple[SearchSplitKind, ...] = ("purged_k_fold", "combinatorial_purged")


def days_of_search(first: int, end: int) -> Splits:
    """Return parts whose search sees the days from ``first`` on before ``end``."""
    return Splits(
        train=np.arange(first, first + 1), validation=np.arange(end - 1, end), test=np.arange(0)
    )


CONFIGS = st.builds(
    lambda horizon, extra, embargo, groups, validation: DataConfig(
        horizon=horizon,
        purge_days=horizon + extra,
        embargo_days=embargo,
        search_splits="purged_k_fold" if validation == 1 else "combinatorial_purged",
        search_groups=groups,
        search_validation_groups=None if validation == 1 else validation,
    ),
    st.integers(1, 6),
    st.integers(0, 5),
    st.integers(0, 8),
    st.integers(4, 6),
    st.integers(1, 3),
)


@settings(deadline=None, max_examples=40)
@given(config=CONFIGS, first=st.integers(0, 80), n_days=st.integers(130, 300))
def test_folds_are_those_of_a_loop_over_label_spans(
    config: DataConfig, first: int, n_days: int
) -> None:
    folds = search_folds(days_of_search(first, first + n_days), config)
    days = range(first, first + n_days)
    groups, validation_groups = config.search_groups or 0, config.search_validation_groups or 1
    assert len(folds) == config.n_search_folds == math.comb(groups, validation_groups)
    # Every day is validated equally often.
    counts = Counter(int(day) for fold in folds for day in fold.validation)
    assert counts == dict.fromkeys(days, math.comb(groups - 1, validation_groups - 1))
    for fold in folds:
        judged = set(map(int, fold.validation))
        labels = {
            day + ahead for day in judged for ahead in range(1, config.horizon + 1)
        }  # that a network must not have learned from
        kept = []
        for day in days:
            before = judged & set(range(day + 1, day + config.purge_days + 1))
            reach = config.purge_days + config.embargo_days
            after = judged & set(range(day - reach, day))
            if day not in judged and not before and not after:
                kept.append(day)
                span = set(range(day + 1, day + config.horizon + 1))
                assert not span & (labels | judged)
        assert fold.train.tolist() == kept


@pytest.mark.parametrize(
    ("embargo", "trains"),
    [(0, [[9, 10, 11], [5, 6], [0, 1, 2]]), (1, [[10, 11], [6], [0, 1, 2]])],
)
def test_folds_are_those_of_skfolio_by_hand(embargo: int, trains: list[list[int]]) -> None:
    # CombinatorialPurgedCV(n_folds=3, n_test_folds=2, purged_size=1) on 12 rows, from its own
    # documentation, and what it gives with embargo_size=1.
    config = DataConfig(
        horizon=1,
        purge_days=1,
        embargo_days=embargo,
        search_splits="combinatorial_purged",
        search_groups=3,
    )
    folds = search_folds(days_of_search(0, 12), config)
    assert [fold.train.tolist() for fold in folds] == trains
    groups = [list(range(4)), list(range(4, 8)), list(range(8, 12))]
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert [f.validation.tolist() for f in folds] == [groups[a] + groups[b] for a, b in pairs]


@pytest.mark.parametrize("splits", ["shares", "walk_forward"])
def test_the_days_of_the_folds_end_before_the_test_days(splits: str) -> None:
    dates = np.datetime64("2000-01-01") + np.arange(3000)
    plain = DataConfig(horizon=3, splits="shares" if splits == "shares" else "walk_forward")
    config = replace(plain, search_splits="purged_k_fold")
    parts = split_days(dates, config)
    folds: list[SearchFold] = search_folds(parts, config)
    assert folds[0].validation[0] == parts.train[0]
    assert folds[-1].validation[-1] == parts.validation[-1]
    assert folds[-1].validation[-1] + config.horizon < parts.test[0]
    # The parts by time, on which the winner is trained and judged, stay as they are.
    for one, two in zip(_parts(parts), _parts(split_days(dates, plain)), strict=True):
        np.testing.assert_array_equal(one, two)


def _parts(days: Splits) -> tuple[np.ndarray, ...]:
    return days.train, days.validation, days.test


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"search_groups": 5}, "search_groups are not read where search_splits is chronological"),
        ({"search_splits": "purged_k_fold", "search_validation_groups": 2}, "are not read"),
        ({"search_splits": "combinatorial_purged", "search_groups": 2}, "leave groups to train on"),
        ({"search_splits": "purged_k_fold", "search_groups": 1}, "search_groups must be"),
        (
            {
                "search_splits": "combinatorial_purged",
                "search_groups": 12,
                "search_validation_groups": 6,
            },
            "at most 100 folds",
        ),
        ({"search_splits": "k_fold"}, "search_splits must be one of"),
    ],
)
def test_settings_of_folds_that_mean_nothing_are_refused(
    values: dict[str, object], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        DataConfig(horizon=1, **values)  # type: ignore[arg-type]


def test_a_config_knows_its_usual_folds_and_says_none_where_there_are_none() -> None:
    folded = DataConfig(horizon=1, search_splits="combinatorial_purged")
    assert (folded.search_groups, folded.search_validation_groups) == (6, 2)
    assert DataConfig(**folded.resolved()) == folded
    plain = DataConfig(horizon=1)
    # A search without folds is described as it was before there were any.
    assert not {name for name in plain.resolved() if name.startswith("search_")}
    assert DataConfig(**plain.resolved()) == plain


def test_a_group_that_purge_and_embargo_swallow_is_refused() -> None:
    config = DataConfig(horizon=1, search_splits="purged_k_fold", search_groups=20)
    with pytest.raises(DataError, match="longer than purge and embargo"):
        search_folds(days_of_search(0, 200), config)


@pytest.mark.slow
def test_the_data_sets_of_folds_know_their_own_training_days_alone(sp500: Prices) -> None:
    plain = build_dataset(DataConfig(horizon=3), sp500)
    config = DataConfig(horizon=3, search_splits="purged_k_fold", search_groups=3)
    data = build_dataset(config, sp500)
    assert plain.search_folds == ()
    assert plain.per_network == (plain,)
    assert data.per_network == data.search_folds
    assert len(data.search_folds) == 3
    # What a winner is trained on does not know of the folds.
    assert pickle.dumps(data.without_search_folds) == pickle.dumps(plain)
    for fold in data.search_folds:
        in_parts = np.union1d(fold.train_days, fold.validation_days)
        assert np.isfinite(fold.labels[in_parts]).all()
        assert np.isnan(np.delete(fold.labels, in_parts)).all()
        assert fold.base_rate == pytest.approx(fold.labels[fold.train_days].mean())
        rows = np.unique(fold.train_days[:, None] - np.arange(fold.context_length))
        np.testing.assert_allclose(fold.features[rows].mean(axis=0), 0, atol=1e-5)
        known = fold.auxiliary[fold.train_days]
        assert known.mean() == pytest.approx(0, abs=1e-5)
    frame = sp500.frame.copy()
    first = int(np.searchsorted(frame.index.to_numpy(), data.dates[-1])) + 1 + config.purge_days
    frame.iloc[first:] *= 1.07
    later = build_dataset(config, prices_from_frame("sp500", frame, accept=["level-shift"]))
    for one, two in zip(data.search_folds, later.search_folds, strict=True):
        _assert_same_arrays(one, two)


def _assert_same_arrays(one: Dataset, two: Dataset) -> None:
    for name in ("features", "labels", "auxiliary", "train_days", "validation_days"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()


@pytest.mark.slow
def test_baselines_are_fitted_again_for_each_fold_and_judged_on_all_days(sp500: Prices) -> None:
    config = DataConfig(
        horizon=1, search_splits="combinatorial_purged", search_groups=4, search_validation_groups=2
    )
    data = build_dataset(config, sp500)
    constant, logistic = score_baselines(data)
    losses = []
    for fold in data.search_folds:
        p, y = logistic_probability(fold), fold.labels[fold.validation_days]
        losses.append(-np.log(np.where(y == 1, p, 1 - p)))
    assert logistic.losses.tolist() == pytest.approx(np.concatenate(losses).tolist())
    daily = daily_means([fold.validation_days for fold in data.search_folds], losses)
    assert len(daily) == data.validation_days[-1] + 1 - data.train_days[0]
    assert logistic.log_loss == pytest.approx(daily.mean())
    assert logistic.skill == pytest.approx(1 - logistic.log_loss / constant.log_loss)
    # Measured; a leak would be far better.
    assert logistic.log_loss == pytest.approx(0.4776, abs=0.004)
    assert 0.68 < (logistic.auc or 0) < 0.76
