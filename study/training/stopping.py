"""When a trial has nothing more to gain, or nothing to show."""

import math
from typing import Any

from study.results.scores import COLLAPSED_LOGIT_SD
from study.training.metrics import Metrics
from study.training.train_config import TrainConfig

COLLAPSED_SKILL = 0.0
"""Skill against the training base rate at or under which nothing was learned."""


def is_collapsed(metrics: Metrics) -> bool:
    """Has the model fallen back to the prior?"""
    return metrics.skill <= COLLAPSED_SKILL or metrics.logit_sd < COLLAPSED_LOGIT_SD


class EarlyStopping:
    """Counts the epochs since the validation loss last fell by more than ``min_delta``.

    It decides when to stop and nothing else: which weights are the best is for the trainer, and
    there any gain counts.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._patience = config.patience
        self._min_delta = config.min_delta
        self._reference = math.inf
        self._epochs_without = 0

    def update(self, loss: float) -> None:
        """Take in the validation loss of one more epoch."""
        if loss < self._reference - self._min_delta:
            self._reference = loss
            self._epochs_without = 0
        else:
            self._epochs_without += 1

    @property
    def is_exhausted(self) -> bool:
        """Has the patience run out? Never, if there is no limit to it."""
        return self._patience is not None and self._epochs_without >= self._patience

    def state_dict(self) -> dict[str, Any]:
        """The counters."""
        return {"reference": self._reference, "epochs_without": self._epochs_without}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved counters."""
        self._reference = state["reference"]
        self._epochs_without = state["epochs_without"]
