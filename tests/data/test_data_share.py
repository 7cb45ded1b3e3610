"""A share of the training days: which days it has, and what depends on them."""

import dataclasses

import numpy as np
import pytest

from study.data.data_config import DataConfig
from study.data.data_share import DataChoice, DataShare
from study.data.dataset import build_dataset
from study.data.inputs import build_inputs
from study.data.sources import load_prices
from study.errors import SpecError
from study.statistics.block_length import block_days

DAYS = np.arange(59, 1009)
CONFIG = DataConfig(horizon=3)


def share(part: float, choice: DataChoice = "recent", seed: int = 42) -> DataShare:
    return DataShare(share=part, choice=choice, seed=seed)


@pytest.mark.parametrize("choice", ["recent", "blocks"])
def test_a_share_has_its_number_of_days_and_is_a_part_of_every_larger_one(
    choice: DataChoice,
) -> None:
    quarter, half = (share(part, choice).of(DAYS, horizon=3) for part in (0.25, 0.5))
    assert (len(quarter), len(half)) == (238, 475)
    assert set(quarter) < set(half) < set(DAYS)
    for found in (quarter, half):
        assert np.all(np.diff(found) > 0)


def test_recent_days_are_the_latest_and_blocks_are_whole_but_for_one() -> None:
    np.testing.assert_array_equal(share(0.25).of(DAYS, horizon=3), DAYS[-238:])
    length = block_days(3)
    drawn = share(0.3, "blocks").of(DAYS, horizon=3)
    # Counted from the last day backwards; the first days may be a shorter block.
    block, counts = np.unique((DAYS[-1] - drawn) // length, return_counts=True)
    assert counts.sum() == 285
    assert np.sum(counts != length) <= 2
    assert np.ptp(block) > len(block)
    np.testing.assert_array_equal(drawn, share(0.3, "blocks").of(DAYS, horizon=3))
    assert set(drawn) != set(share(0.3, "blocks", seed=43).of(DAYS, horizon=3))


@pytest.mark.parametrize("part", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_lies_between_nothing_and_everything(part: float) -> None:
    with pytest.raises(SpecError, match="must lie between 0 and 1"):
        share(part)


@pytest.mark.parametrize("choice", ["recent", "blocks"])
def test_only_the_training_days_of_a_share_differ_and_decide_its_scaling(
    choice: DataChoice,
) -> None:
    prices = load_prices("sp500")
    whole = build_dataset(CONFIG, prices)
    part = build_dataset(CONFIG, prices, share=share(0.25, choice))
    n_train = round(0.25 * len(whole.train_days))
    assert (len(part.train_days), part.fold_train_rows) == (n_train, (n_train,))
    np.testing.assert_array_equal(part.validation_days, whole.validation_days)
    assert part.splits["test"] == whole.splits["test"]
    assert part.base_rate == pytest.approx(whole.labels[part.train_days].mean())
    np.testing.assert_array_equal(part.labels[part.train_days], whole.labels[part.train_days])
    assert part.auxiliary[part.train_days].mean() == pytest.approx(0, abs=1e-5)
    # The scaler has seen the rows of the share's windows and no others.
    rows = {int(day) - back for day in part.train_days for back in range(CONFIG.context_length)}
    inputs = build_inputs(prices, CONFIG.tier, CONFIG.normalization).to_numpy()
    assert part.scaler.mean == pytest.approx(inputs[sorted(rows)].mean(axis=0))
    assert part.scaler.sd == pytest.approx(inputs[sorted(rows)].std(axis=0))


def test_every_fold_is_cut_by_the_same_share() -> None:
    walk = dataclasses.replace(
        CONFIG, splits="walk_forward", first_test_day="2008-01-02", fold_days=900,
        validation_days=520,
    )  # fmt: skip
    half = share(0.5, "blocks")
    whole, part = build_dataset(walk, fold=1), build_dataset(walk, fold=1, share=half)
    assert part.fold_train_rows == tuple(round(0.5 * n) for n in whole.fold_train_rows)
    np.testing.assert_array_equal(part.train_days, half.of(whole.train_days, horizon=3))
