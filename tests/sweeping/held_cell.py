"""Run as the search command: its trials wait before an epoch until the test allows it.

A test that interrupts trials at work would else depend on how fast they are.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from study.tune import main
from study.tuner.trainable import CellTrainable

_FILE = "most_epochs"
"""Name of the file with the number of epochs that a trial may train; without it, all of them."""

_POLL_SECONDS = 0.05


def allow(here: Path, most_epochs: int | None) -> None:
    """Let trials below a folder train so many epochs; None lets them end."""
    if most_epochs is None:
        (here / _FILE).unlink()
        return
    # A worker reads the whole number or the one before.
    written = here / f"{_FILE}.new"
    written.write_text(str(most_epochs))
    os.replace(written, here / _FILE)


class HeldTrainable(CellTrainable):
    """A trial that waits before an epoch which is not allowed yet, and can be ended meanwhile."""

    def step(self) -> dict[str, Any]:
        while not self._may_step():
            self._show_life()
            time.sleep(_POLL_SECONDS)
        return super().step()

    def _may_step(self) -> bool:
        # The first step of a trial trains its first epoch, or repeats the last report.
        if self._assigned is not None or self._asked_to_pause() is not None:
            return True
        trained = 0 if self._trainer.report is None else self._trainer.report.epoch
        try:
            return trained < int((self._settings.cell_folder.parent.parent / _FILE).read_text())
        except FileNotFoundError:
            return True


if __name__ == "__main__":
    sys.exit(main(trainable=HeldTrainable))
