"""The rules by which a trial stops: its loss no longer falls, or its model has collapsed."""

import math
from dataclasses import replace
from typing import Any

from study.results.epoch_report import EpochReport
from study.results.records import StopReason
from study.results.scores import (
    COLLAPSED_LOGIT_SD,
    COLLAPSED_SPREAD,
    PanelValidation,
    Validation,
)
from study.training.train_config import TrainConfig

COLLAPSED_SKILL = 0.0
"""Skill against the training base rate at or below which a model has learned nothing.

The analysis judges a model on the test days by another rule, the upper bound of its skill. An epoch
of a search has a skill without bounds, and a collapsed trial should be stopped early.
"""


def is_collapsed(scores: Validation | PanelValidation) -> bool:
    """Does the model predict no more than a constant that training could have known?

    On a panel, where a day's mean says nothing, it scores all assets of a day alike. On one asset
    it predicts next to a constant, whatever its level, or it is no better than the constant at the
    training base rate. The constant at the judged part's own base rate, against which skill is
    reported, is no such model: it is known in hindsight alone. Judged by it, a useful model would
    be called collapsed wherever the base rate moves. Of ten folds of ``sp500-long`` at horizons 1,
    3 and 5, the base rate of the validation days is up to .20 from that of the training days, and
    logistic regression loses against the constant of hindsight in eight of the thirty in which it
    gains 1 to 16 % on that of training.

    In return, a model that varies without knowing anything, and whose level drifts to that of the
    judged part, is not called collapsed. It is ranked by its loss, as every other.
    """
    if isinstance(scores, PanelValidation):
        return scores.spread < COLLAPSED_SPREAD
    return scores.skill <= COLLAPSED_SKILL or scores.logit_sd < COLLAPSED_LOGIT_SD


class EarlyStopping:
    """Counts the epochs since the validation loss last fell by more than ``min_delta``.

    It decides only when to stop. The trainer decides which weights are the best, and for that any
    gain counts.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._config = config
        self._reference = math.inf
        self._epochs_without = 0

    def update(self, loss: float | None) -> None:
        """Count one more epoch with this validation loss; an undefined one is no improvement."""
        if loss is not None and loss < self._reference - self._config.min_delta:
            self._reference = loss
            self._epochs_without = 0
        else:
            self._epochs_without += 1

    @property
    def is_exhausted(self) -> bool:
        """Has the patience run out? A trial without a patience never stops for it."""
        patience = self._config.patience
        return patience is not None and self._epochs_without >= patience

    def reason(self, epoch: int, *, best_is_collapsed: bool) -> StopReason | None:
        """Return why the trial stops after epoch number ``epoch``; None if it does not."""
        reason: StopReason | None = None
        if epoch == self._config.epochs:
            reason = "completed"
        elif self.is_exhausted:
            reason = "early_stopping"
        is_graced = epoch < self._config.collapse_grace_share * self._config.epochs
        if best_is_collapsed:
            # A trial whose best epoch is collapsed has no result, whatever else stops it.
            return "collapsed" if reason is not None or not is_graced else None
        return reason

    def state_dict(self) -> dict[str, Any]:
        """Return the counters."""
        return {"reference": self._reference, "epochs_without": self._epochs_without}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from saved counters."""
        self._reference = state["reference"]
        self._epochs_without = state["epochs_without"]


def restored_report(state: dict[str, Any], train: TrainConfig) -> EpochReport | None:
    """Return the last report of a saved state, as the schedule of ``train`` has it."""
    if state["report"] is None:
        return None
    report = EpochReport.from_json(state["report"])
    if state["train_config"]["epochs"] >= train.epochs:
        return report
    return replace(
        report,
        stop_reason=None if report.stop_reason == "completed" else report.stop_reason,
        schedule_percent=100 * report.epoch // train.epochs,
    )
