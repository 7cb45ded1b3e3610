"""Run as the search command: its trials train on the CPU, then wait for a device that is not there.

What a worker sees of a fast accelerator that others share: it holds a fraction of it, and its own
core has next to nothing to do.
"""

import sys
import time
from typing import Any

from study.search.trainable import CellTrainable
from study.tune import main

EPOCH_SECONDS = 3.0
"""That the device takes for an epoch."""


class WaitingTrainable(CellTrainable):
    """A trial whose epochs take the time of the simulated device at least."""

    def step(self) -> dict[str, Any]:
        began = time.monotonic()
        result = super().step()
        time.sleep(max(0.0, EPOCH_SECONDS - (time.monotonic() - began)))
        return result


if __name__ == "__main__":
    sys.exit(main(trainable=WaitingTrainable))
