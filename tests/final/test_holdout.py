"""The held-out days of a search: they follow its own days, and their labels are right."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from study.data.data_config import DataConfig
from study.data.dataset import Dataset, build_dataset
from study.data.holdout import open_holdout
from study.data.labels import make_labels
from study.data.prices import prices_from_frame
from study.data.sources import load_prices
from study.data.splits import split_days
from study.errors import DataError
from study.final.answers.baseline_predictions import BASELINES
from study.final.answers.holdout_predictions import baselines_once
from study.final.run_plan import with_validation_days
from study.training.windows import TrainingData

CONFIG = DataConfig(horizon=5)


def test_what_a_search_saw_is_not_changed_and_test_days_follow_it() -> None:
    data = build_dataset(CONFIG)
    found = open_holdout(CONFIG, data)
    n = len(data.features)
    assert np.array_equal(found.features[:n], data.features)
    assert np.array_equal(found.validation_days, data.validation_days)
    assert found.test_days[0] > data.validation_days[-1] + CONFIG.horizon
    assert np.array_equal(found.test_days, split_days(found.dates, CONFIG).test)
    assert len(found.test_days) == data.splits["test"].rows
    assert found.labels[found.test_days].sum() == data.splits["test"].positives


@pytest.mark.slow
def test_labels_of_test_days_are_those_of_the_prices() -> None:
    found = open_holdout(CONFIG, build_dataset(CONFIG))
    bars = load_prices("sp500").frame
    labels = make_labels(bars, kind="high", horizon=5, threshold=0.01)
    days = found.test_days
    assert np.array_equal(found.labels[days], labels[found.bars[days]])
    assert (
        found.dates[days] == bars.index.to_numpy().astype("datetime64[D]")[found.bars[days]]
    ).all()
    assert np.isfinite(found.labels[days]).all()


def test_other_prices_are_refused() -> None:
    data = build_dataset(CONFIG)
    prices = load_prices("sp500")
    frame = prices.frame.copy()
    frame["Volume"] = frame["Volume"].to_numpy() + 1.0
    other = prices_from_frame("sp500", frame)
    with pytest.raises(DataError, match="must hold the prices that the search saw"):
        open_holdout(CONFIG, data, other)
    same = dataclasses.replace(prices)
    assert len(open_holdout(CONFIG, data, same).features) == data.n_rows


@pytest.mark.slow
def test_predictions_kept_before_a_baseline_joined_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = build_dataset(CONFIG)
    held = open_holdout(CONFIG, data)
    for name in [each for each in BASELINES if each not in ("constant", "trailing prior", "HAR")]:
        monkeypatch.delitem(BASELINES, name)

    def models() -> list[str]:
        return list(baselines_once(CONFIG, data, held, tmp_path, fold=None)["model"].unique())

    with monkeypatch.context() as before:
        before.delitem(BASELINES, "HAR")
        assert models() == ["constant", "trailing prior"]
    assert models() == ["constant", "trailing prior", "HAR"]


def test_training_on_validation_days_too_reaches_no_test_day() -> None:
    data = build_dataset(CONFIG)
    later = with_validation_days(data)
    assert isinstance(later, Dataset)
    assert len(later.train_days) == len(data.train_days) + len(data.validation_days)
    assert set(later.train_days) == set(data.train_days) | set(data.validation_days)
    known = data.labels[later.train_days]
    assert later.base_rate == pytest.approx(known.mean())
    # The labels of its last day end before the test part begins.
    first_test = open_holdout(CONFIG, data).test_days[0]
    assert later.train_days.max() + CONFIG.horizon < first_test
    assert TrainingData.of(later).train_days is later.train_days
