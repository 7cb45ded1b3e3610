"""Trials that train a small network in place of the assigned one.

The decisions of a search (which trials run, in which order, which compete) do not depend on the
size of the networks, and a trial of 200 million parameters takes an hour on two cores.
"""

import dataclasses

from study.search.assignment import Assignment
from study.training.folded_trainer import FoldedTrainer
from study.training.trainer import Trainer
from study.tuner.trainable import CellTrainable


class StandIn(CellTrainable):
    """A trial with a small network; all other settings are as assigned."""

    def _new_trainer(self, trial: Assignment) -> Trainer | FoldedTrainer:
        small = dataclasses.replace(trial.config.model, d_model=16, n_layers=1, n_heads=2)
        config = dataclasses.replace(trial.config, model=small)
        return super()._new_trainer(dataclasses.replace(trial, config=config))
