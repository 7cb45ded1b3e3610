"""Run as the search command: its trials train a small network in the place of the asked one.

What a search decides (what is tried, in which order, who competes) does not depend on how large
the networks are, and two hundred million parameters take an hour on two cores.
"""

import dataclasses
import sys

from study.search.trial_config import Assignment
from study.training.trainer import Trainer
from study.tune import main
from study.tuner.trainable import CellTrainable


class StandIn(CellTrainable):
    """A trial whose network is small; all else is as it was asked for."""

    def _new_trainer(self, trial: Assignment) -> Trainer:
        small = dataclasses.replace(trial.config.model, d_model=16, n_layers=1, n_heads=2)
        config = dataclasses.replace(trial.config, model=small)
        return super()._new_trainer(dataclasses.replace(trial, config=config))


if __name__ == "__main__":
    sys.exit(main(trainable=StandIn))
