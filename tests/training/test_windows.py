"""A trainer reads the parts of a data set that it is meant to read."""

import numpy as np

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.training.windows import TrainingData


def test_every_array_of_a_data_set_keeps_its_meaning() -> None:
    data = build_dataset(DataConfig(horizon=5))
    losses = np.full(len(data.validation_days), 0.5)
    found = TrainingData.of(data, losses)
    for name in ("features", "labels", "auxiliary", "train_days", "validation_days"):
        assert getattr(found, name) is getattr(data, name), name
    assert (found.base_rate, found.horizon) == (data.base_rate, 5)
    assert found.baseline_losses is losses
    # The days of one part are none of the other's.
    assert found.train_days.max() < found.validation_days.min()
