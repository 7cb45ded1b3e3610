"""A trainer reads the parts of a data set that it is meant to read."""

import dataclasses

import numpy as np
import pytest

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.training.windows import TrainingData


def test_every_array_of_a_data_set_keeps_its_meaning() -> None:
    data = build_dataset(DataConfig(horizon=5))
    losses = np.full(len(data.validation_days), 0.5)
    found = TrainingData.of(data, losses)
    for name in ("features", "labels", "auxiliary", "falls", "train_days", "validation_days"):
        assert getattr(found, name) is getattr(data, name), name
    assert (found.base_rate, found.horizon) == (data.base_rate, 5)
    assert found.baseline_losses is losses
    # The days of one part are none of the other's.
    assert found.train_days.max() < found.validation_days.min()


def test_the_shift_to_a_fall_is_the_difference_of_the_log_odds_of_the_training_days() -> None:
    data = TrainingData.of(build_dataset(DataConfig(horizon=1)))
    assert data.falls is not None
    rise, fall = data.labels[data.train_days].mean(), data.falls[data.train_days].mean()
    expected = np.log(fall / (1 - fall)) - np.log(rise / (1 - rise))
    assert data.fall_shift == pytest.approx(expected, abs=1e-3)
    # Days without any fall leave it finite.
    calm = dataclasses.replace(data, falls=np.zeros_like(data.falls))
    assert np.isfinite(calm.fall_shift)
