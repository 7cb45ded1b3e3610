import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from study.data.data_config import DataConfig, Normalization
from study.data.dataset import Dataset, build_dataset
from study.data.embedded.synthetic import SyntheticMarket
from study.data.features import build_features
from study.data.inputs import make_inputs
from study.data.prices import Prices, prices_from_frame
from study.errors import DataError

NORMALIZATIONS: tuple[Normalization, ...] = ("relative", "zscore", "revin", "none")
ANY_SHIFT = 1e6


def changed_from(prices: Prices, first: int, last: int | None = None) -> Prices:
    """Return the prices with other bars in rows first..last."""
    frame = prices.frame.copy()
    rows = frame.iloc[first:last]
    noise = np.random.default_rng(0).uniform(0.9, 1.1, size=(len(rows), 1))
    frame.iloc[first:last] = rows.to_numpy() * noise
    # Bars that jump from day to day have other returns than their ranges tell.
    return prices_from_frame(prices.name, frame, accept=["range-shift"])


def row_of(prices: Prices, day: np.datetime64) -> int:
    return int(np.searchsorted(prices.frame.index.to_numpy(), day))


def assert_same(one: Dataset, two: Dataset, but: set[str]) -> None:
    for field in fields(Dataset):
        if field.name in but:
            continue
        first, second = getattr(one, field.name), getattr(two, field.name)
        if isinstance(first, np.ndarray):
            assert first.tobytes() == second.tobytes(), field.name
        else:
            assert first == second, field.name


def test_the_arrays_are_what_a_trainer_needs(sp500: Prices) -> None:
    dataset = build_dataset(DataConfig(horizon=3), sp500)
    assert dataset.features.dtype == np.float32
    assert dataset.features.flags.c_contiguous
    assert dataset.features.shape == (len(dataset.dates), 25)
    assert np.isfinite(dataset.features).all()
    days = np.append(dataset.train_days, dataset.validation_days)
    assert days.dtype == np.int64
    assert days.min() >= dataset.context_length - 1
    assert set(np.unique(dataset.labels[days])) == {0.0, 1.0}
    others = np.setdiff1d(np.arange(len(dataset.dates)), days)
    assert np.isnan(dataset.labels[others]).all()
    assert np.isnan(dataset.auxiliary[others]).all()
    target = dataset.auxiliary[dataset.train_days]
    assert target.dtype == np.float32
    assert (target.mean(), target.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))
    train = dataset.splits["train"]
    assert dataset.base_rate == train.positives / train.rows
    assert dataset.labels[dataset.train_days].sum() == train.positives
    assert dataset.fingerprint == sp500.fingerprint
    for field in fields(Dataset):
        value = getattr(dataset, field.name)
        if isinstance(value, np.ndarray):
            assert not value.flags.writeable, field.name


def test_labels_are_those_of_the_raw_prices(sp500: Prices) -> None:
    dataset = build_dataset(DataConfig(horizon=3, task="threshold_2pct"), sp500)
    bars = sp500.frame
    for day in dataset.validation_days[::50]:
        at = row_of(sp500, dataset.dates[day])
        reached = bars["High"].iloc[at + 1 : at + 4].max() >= bars["Close"].iloc[at] * 1.02
        assert dataset.labels[day] == float(reached)


@pytest.mark.parametrize("horizon", [1, 5])
def test_labels_are_bit_equal_under_every_normalization(sp500: Prices, horizon: int) -> None:
    built = [
        build_dataset(
            DataConfig(horizon=horizon, normalization=normalization, max_shift=ANY_SHIFT), sp500
        )
        for normalization in NORMALIZATIONS
    ]
    for other in built[1:]:
        assert_same(built[0], other, but={"features", "scaler", "shift"})
        assert other.features.tobytes() != built[0].features.tobytes()


def test_evaluation_days_are_the_same_for_every_cell(sp500: Prices) -> None:
    reference = build_dataset(DataConfig(horizon=1), sp500)
    for horizon in (1, 3, 5):
        for context in (20, 60, 252):
            for task in ("threshold_1pct", "direction"):
                built = build_dataset(
                    DataConfig(horizon=horizon, context_length=context, task=task), sp500
                )
                days = built.dates[built.validation_days]
                np.testing.assert_array_equal(days, reference.dates[reference.validation_days])
                assert built.splits["test"].first_day == reference.splits["test"].first_day
                assert built.splits["test"].rows == reference.splits["test"].rows
                # Inputs too: another context is another view of the same array.
                assert built.features.tobytes() == reference.features.tobytes()


def test_the_test_part_is_sealed(sp500: Prices) -> None:
    dataset = build_dataset(DataConfig(horizon=5), sp500)
    test = dataset.splits["test"]
    assert str(dataset.dates[-1]) == dataset.splits["validation"].last_day < test.first_day
    assert len(dataset.features) == dataset.validation_days[-1] + 1
    # The rows after the last label of validation: purge gap first, then the test part.
    first = row_of(sp500, dataset.dates[-1]) + 1 + 5
    other = build_dataset(DataConfig(horizon=5), changed_from(sp500, first))
    assert_same(dataset, other, but={"splits", "fingerprint", "warnings"})
    assert other.fingerprint != dataset.fingerprint
    assert other.splits["train"] == dataset.splits["train"]
    assert other.splits["validation"] == dataset.splits["validation"]
    assert other.splits["test"] != dataset.splits["test"]


def test_the_scaler_sees_no_row_after_training(sp500: Prices) -> None:
    config = DataConfig(horizon=3, max_shift=ANY_SHIFT)
    dataset = build_dataset(config, sp500)
    first = row_of(sp500, dataset.dates[dataset.train_days[-1]]) + 1
    # After the label days of the last training sample, so that the base rate stays too.
    changed = build_dataset(config, changed_from(sp500, first + 3))
    assert changed.scaler == dataset.scaler
    assert changed.base_rate == dataset.base_rate
    train = slice(0, int(dataset.train_days[-1]) + 1)
    assert changed.features[train].tobytes() == dataset.features[train].tobytes()
    assert changed.auxiliary[train].tobytes() == dataset.auxiliary[train].tobytes()
    inside = build_dataset(config, changed_from(sp500, first - 100, first))
    assert inside.scaler != dataset.scaler


def test_drifting_levels_are_refused_unless_meant(sp500: Prices) -> None:
    with pytest.raises(DataError, match=r"zscore inputs: .*max_shift=3.*sma_200=\+3\.8") as caught:
        build_dataset(DataConfig(horizon=1, normalization="zscore"), sp500)
    assert "Use the normalization relative" in str(caught.value)
    raw = build_dataset(DataConfig(horizon=1, normalization="revin"), sp500)
    assert raw.shift["sma_200"] > 3


def test_the_scaler_rebuilds_the_features(sp500: Prices) -> None:
    dataset = build_dataset(DataConfig(horizon=1), sp500)
    inputs = make_inputs(build_features(sp500), "relative").iloc[: len(dataset.dates)]
    rebuilt = (inputs.to_numpy() - np.array(dataset.scaler.mean)) / np.array(dataset.scaler.sd)
    np.testing.assert_allclose(rebuilt, dataset.features, rtol=1e-5, atol=1e-6)


def test_a_validation_part_that_is_too_small_is_refused(sp500: Prices) -> None:
    with pytest.raises(DataError, match=r"at least 50 positives.*larger validation_share"):
        build_dataset(DataConfig(horizon=1, validation_share=0.03), sp500)
    with pytest.raises(DataError, match=r"effective sample size of at least 100.*shorter horizon"):
        build_dataset(DataConfig(horizon=10, purge_days=10, validation_share=0.05), sp500)


def test_a_short_history_is_refused(market: SyntheticMarket) -> None:
    short = prices_from_frame("short", market.prices.frame.iloc[:219])
    with pytest.raises(DataError, match="more than 219 bars before its first sample"):
        build_dataset(DataConfig(horizon=1), short)


def test_a_dataset_survives_pickling(sp500: Prices) -> None:
    dataset = build_dataset(DataConfig(horizon=1), sp500)
    assert_same(dataset, pickle.loads(pickle.dumps(dataset)), but=set())


def test_the_source_is_loaded_by_name_or_path(sp500: Prices, tmp_path: Path) -> None:
    sp500.frame.to_csv(tmp_path / "copy.csv")
    by_name = build_dataset(DataConfig(horizon=1))
    by_path = build_dataset(DataConfig(horizon=1, source=str(tmp_path / "copy.csv")))
    assert_same(by_name, by_path, but={"source", "warnings", "understood"})
    assert by_path.understood.startswith("copy.csv: columns Date, Open")
    with pytest.raises(DataError, match="embedded sp500, nasdaq"):
        build_dataset(replace(DataConfig(horizon=1), source="missing"), import_folder=tmp_path)
