"""Run as the search command: its trials train on the CPU, then wait for a device that is not there.

What a worker sees of a fast accelerator that others share: it holds a fraction of it, and its own
core has next to nothing to do.
"""

import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import Any

from study.training.step.samples import Samples
from study.training.windows import TrainingData
from study.tune import main
from study.tuner.trainable import CellTrainable

EPOCH_SECONDS = 5.0
"""That the device takes for an epoch."""

TRAIN_DAYS = 1024
"""A few steps per epoch: the arithmetic is the simulated device's, whose time is waited for."""


class WaitingTrainable(CellTrainable):
    """A trial whose epochs take the time of the simulated device, and next to none of a core."""

    def setup(
        self, config: dict[str, Any], *, data: Sequence[Sequence[Samples]], **given: Any
    ) -> None:
        few = [[_of_few_days(each) for each in own] for own in data]
        super().setup(config, data=few, **given)

    def step(self) -> dict[str, Any]:
        began = time.monotonic()
        result = super().step()
        time.sleep(max(0.0, EPOCH_SECONDS - (time.monotonic() - began)))
        return result


def _of_few_days(samples: Samples) -> Samples:
    assert isinstance(samples, TrainingData)
    return dataclasses.replace(samples, train_days=samples.train_days[-TRAIN_DAYS:])


if __name__ == "__main__":
    sys.exit(main(trainable=WaitingTrainable))
