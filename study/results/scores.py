"""The scores of a model on the held-out days, in the one form in which they are kept.

None stands for a score that is undefined; no score is ever NaN or infinite.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

COLLAPSED_LOGIT_SD = 0.1
"""Standard deviation of the logits below which a model's forecasts are nearly the same on all days.
Its log-loss may still look good: at a base rate of 11.8 % that of a constant is .363."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochScores:
    """Scores of one epoch on the validation days."""

    loss: float
    """Mean log-loss, nats."""
    skill: float
    """1 - loss / loss of a constant at the training base rate."""
    skill_own_base_rate: float | None
    """1 - loss / loss of a constant at the part's own base rate; None if a class is missing."""
    auc: float | None
    """Probability that a positive outranks a negative, a tie counting half; None if a class is
    missing."""
    brier: float
    """Mean squared error of the probabilities."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation(EpochScores):
    """Scores of an epoch with the spread of its predictions, as every epoch reports them."""

    prediction_sd: float
    """Standard deviation of the probabilities, ddof 0."""
    prediction_min: float
    """Least probability."""
    prediction_max: float
    """Greatest probability."""
    logit_sd: float
    """Standard deviation of the logits, ddof 0, by which a collapsed model is recognised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HoldoutScores:
    """Scores of one final run on the test days."""

    accuracy: float
    """Share of the days on which a probability from one half on meant a positive label."""
    loss: float
    """Mean log-loss, nats."""
    auc: float | None
    """Area under the ROC curve; None if a class is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelHoldoutScores:
    """Scores of one final run on the test days of a panel."""

    rank_ic: float
    """Mean Spearman correlation of scores and returns across a day's assets."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BestEpoch(EpochScores):
    """Scores of the epoch of least log-loss with their errors, as a trial is ranked by them."""

    epoch: int
    """Number of the epoch, from 1."""
    loss_se: float | None
    """Standard error of ``loss`` over dependent days; None with too few of them."""
    half_losses: tuple[float, float] | None
    """Mean log-losses on the even and on the odd blocks of days: two halves on which ranks by
    ``loss`` can be compared. None with too few days."""
    difference: float | None
    """Mean over the days of the model's loss less the baseline's; negative is better. None without
    a baseline."""
    difference_se: float | None
    """Standard error of ``difference``, far smaller than that of either loss."""
    auc_se: float | None
    """Standard error of ``auc`` (Hanley and McNeil 1982), which takes days for independent; None
    where a trial's record was read, which does not keep it."""


COLLAPSED_SPREAD = 1e-3
"""Standard deviation of a panel's scores across a day, mean over the days and in those of the
target, below which a model ranks nothing; an own choice: a model that knows as much as an
information coefficient of .01 spreads its scores ten times as far."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelValidation:
    """Scores of one epoch on the validation days of a panel: means over days."""

    loss: float | None
    """Value that the search minimises: 1 - ``rank_ic``, or 1 less the score that it was asked for,
    or ``base_loss``; None if the score that it was asked for is undefined."""
    base_loss: float
    """Mean squared error of the scores against the target, whatever loss training minimises."""
    rank_ic: float
    """Spearman correlation of scores and returns across a day's assets; 0 on a day where the scores
    are all equal."""
    ic: float
    """Pearson correlation of the same."""
    icir: float | None
    """Mean of the daily RankICs over their standard deviation; None if that is 0."""
    hit_rate: float
    """Share of the asset-days whose score and whose return lie on the same side of the medians of
    their day."""
    long_short: float
    """Return of the assets of the highest scores less that of the lowest, before costs, per day of
    holding."""
    turnover: float
    """Weight that is traded a day, buying and selling of both sides added, as a multiple of the
    capital on either side: 0 to 4 over the horizon."""
    sharpe: float | None
    """Sharpe ratio of ``long_short`` before costs, a year; None if it never varies."""
    sharpe_net: float | None
    """The same after costs."""
    spread: float
    """Standard deviation of the scores across a day, mean over the days and in those of the target,
    by which a collapsed model is recognised."""
    further_rank_ic: Mapping[str, float] | None = None
    """RankIC of each further head by its horizon in trading days, over the days that have its
    labels; None of a network of one horizon."""
    further_ic: Mapping[str, float] | None = None
    """Pearson correlation of the same."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PanelBest(PanelValidation):
    """Scores of the epoch of least ``loss`` with their errors, as a trial is ranked by them."""

    epoch: int
    """Number of the epoch, from 1."""
    loss_se: float | None
    """Standard error of ``loss`` over dependent days; None with too few of them."""
    half_losses: tuple[float, float] | None
    """The loss on the even and on the odd blocks of days; None with too few of them, or where it is
    undefined on one half."""
    rank_ic_se: float | None
    ic_se: float | None
    sharpe_se: float | None
    """Standard error of ``sharpe``."""
    difference: float | None
    """Mean over the days of ridge's RankIC less the model's; negative is better. None without
    baselines."""
    difference_se: float | None
    boosting_difference: float | None = None
    """The same of gradient boosting; None without baselines, and in records that lack it."""
    boosting_difference_se: float | None = None
    further_rank_ic_se: Mapping[str, float | None] | None = None
    """Standard errors of ``further_rank_ic``, each None with too few days."""
