"""Run as the search command: a training step of its trials takes a while on any machine.

A test that interrupts an epoch would else depend on how fast it is.
"""

import sys
import time

from study.tune import main
from study.tuner.trainable import CellTrainable

_STEP_SECONDS = 0.2
"""Seconds after each of the thirteen steps of an epoch."""


class SlowTrainable(CellTrainable):
    """A trial that waits after each training step."""

    def _should_pause(self) -> bool:
        time.sleep(_STEP_SECONDS)
        return super()._should_pause()


if __name__ == "__main__":
    sys.exit(main(trainable=SlowTrainable))
