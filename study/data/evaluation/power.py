"""The smallest difference between two models that the days can show, before any is trained."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.data.arrays import PriceArray
from study.data.dataset import Dataset
from study.data.evaluation.baselines import logistic_probability
from study.data.evaluation.probability_scores import (
    auc,
    log_losses,
    resampled_day_indices,
)
from study.statistics.block_length import block_days
from study.statistics.detectable import smallest_difference
from study.statistics.mean_error import standard_error

_EXPONENT_SHARE = 0.01
"""Noise per budget, of the excess loss of the smallest one, up to which a law that levels off shows
its exponent. Simulated with exponent 0.25, excess 0.05 nat and four budgets: 95 % of the fits lie
within .195-.306 at 1 %, within .065-.466 at 4 %."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A measured share with the range in which it was found."""

    value: float
    low: float
    high: float


LOG_LOSS_SHARE = Share(value=0.4, low=0.1, high=0.75)
"""Error of the mean difference of two networks as a share of that of logistic regression and small
boosted trees on the same days, in log-loss.

Between networks of 20k to 200k parameters, trained alike on the S&P 500,
``tests/bench/test_network_difference.py`` measures medians of .39, .22 and .25 at horizons 1, 3 and
5; 80 % of pairs lie within .11 to .47. Winners of two searches differ in their training too:
medians of .37 to .54 between single runs of two budgets of ``search_spaces/small.yaml``, 80 % of
pairs within .24 to .75, and .18 to .37 between means of five runs.
"""

AUC_SHARE = Share(value=0.24, low=0.1, high=0.34)
"""The same share in AUC, measured between the networks that were trained alike.

The medians are .24, .23 and .24 at horizons 1, 3 and 5, and 80 % of pairs lie within .10 to .34.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """What validation and test can show at one horizon. Differences are true means per day.

    Measured on validation between logistic regression and small boosted trees, which takes a
    second, and scaled to two networks. Test labels are never read: their error follows from the
    number of days.
    """

    difference_sd: float
    """Standard deviation of the daily difference of the two simple models' log-losses, nats."""
    log_loss_se: float
    """Standard error of the mean difference of two networks on validation, nats."""
    auc_se: float | None
    """Standard error of their difference in AUC on validation; None if a class is missing."""
    log_loss_validation: float
    """Smallest difference of two networks in log-loss that validation shows, nats."""
    log_loss_test: float
    auc_validation: float | None
    auc_test: float | None
    gain: float
    """What logistic regression gains on a constant at the training base rate, nats: how much there
    is to gain, as far as a simple model can tell."""
    share: float
    """Error between two networks in log-loss as a share of that between the two simple models."""
    share_low: float
    """Lower end of the range in which the share was measured."""
    share_high: float
    auc_share: float
    """Share in AUC."""
    auc_share_low: float
    auc_share_high: float
    sentences: tuple[str, ...]
    """Consequences, in plain words."""


def read_power(raw: Mapping[str, Any] | None) -> Power | None:
    """Rebuild what ``dataclasses.asdict`` made of a ``Power``; None if it is not one."""
    try:
        return Power(**{**(raw or {}), "sentences": tuple((raw or {})["sentences"])})
    except (KeyError, TypeError):
        return None


def measure_power(data: Dataset) -> Power:
    """Return what the parts of a data set can show; takes about a second."""
    label = data.labels[data.validation_days].astype(np.float64)
    logits = simple_pair(data)
    losses = [log_losses(logit, label) for logit in logits]
    constant = _logit(np.full(len(label), data.base_rate))
    gain = float((log_losses(constant, label) - losses[0]).mean())
    rows = {part: data.splits[part].rows for part in ("validation", "test")}
    return _power(
        losses[1] - losses[0],
        auc_difference_error(logits, label, data.horizon),
        gain=gain,
        horizon=data.horizon,
        test_factor=math.sqrt(rows["validation"] / rows["test"]),
    )


def simple_pair(data: Dataset) -> tuple[PriceArray, PriceArray]:
    """Return the validation logits of logistic regression and of small boosted trees."""
    # A second to import, which no other command on data need wait for.
    from sklearn.ensemble import HistGradientBoostingClassifier

    train, inputs = data.train_days, data.features.astype(np.float64)
    # Small trees and slow steps: with the defaults they overfit these few days.
    boosted = HistGradientBoostingClassifier(learning_rate=0.05, max_leaf_nodes=8, random_state=0)
    boosted.fit(inputs[train], data.labels[train])
    return (
        _logit(logistic_probability(data)),
        _logit(boosted.predict_proba(inputs[data.validation_days])[:, 1]),
    )


def _power(
    differences: PriceArray,
    auc_se: float | None,
    *,
    gain: float,
    horizon: int,
    test_factor: float,
) -> Power:
    error = standard_error(differences, block_days(horizon))
    # The validation part has hundreds of days, or building it was refused.
    assert error is not None
    error *= LOG_LOSS_SHARE.value
    auc_se = None if auc_se is None else auc_se * AUC_SHARE.value
    visible = smallest_difference(error)
    auc_visible = None if auc_se is None else smallest_difference(auc_se)
    return Power(
        difference_sd=float(differences.std()),
        log_loss_se=error,
        auc_se=auc_se,
        log_loss_validation=visible,
        log_loss_test=visible * test_factor,
        auc_validation=auc_visible,
        auc_test=None if auc_visible is None else auc_visible * test_factor,
        gain=gain,
        share=LOG_LOSS_SHARE.value,
        share_low=LOG_LOSS_SHARE.low,
        share_high=LOG_LOSS_SHARE.high,
        auc_share=AUC_SHARE.value,
        auc_share_low=AUC_SHARE.low,
        auc_share_high=AUC_SHARE.high,
        sentences=sentences(error, error * test_factor, gain=gain, horizon=horizon),
    )


def sentences(
    validation_se: float, test_se: float, *, gain: float, horizon: int
) -> tuple[str, ...]:
    """Say what a study with these errors can answer.

    Args:
        validation_se: standard error of a mean difference in log-loss on validation, nats.
        test_se: the same on test.
        gain: of logistic regression on a constant, nats.
        horizon: trading days.
    """
    visible = smallest_difference(test_se)
    on_validation = smallest_difference(validation_se)
    where = f"h{horizon}:"
    if visible >= gain:
        return (
            f"{where} cannot say which budget is better: to be told apart, two networks must "
            f"differ by {visible:.4f} nat on the test days, and all that logistic regression gains "
            f"on a constant is {gain:.4f}.",
        )
    said = [
        f"{where} to be told apart, two budgets must differ by {visible:.4f} nat on the test days "
        f"({on_validation:.4f} on validation): {visible / gain:.0%} of what logistic regression "
        f"gains on a constant ({gain:.4f})."
    ]
    if test_se > _EXPONENT_SHARE * gain:
        said.append(
            f"{where} cannot identify a scaling exponent: that takes an error of at most "
            f"{_EXPONENT_SHARE * gain:.4f} nat per budget (1 % of that gain), and it is "
            f"{test_se:.4f}."
        )
    return tuple(said)


def auc_difference_error(
    logits: tuple[PriceArray, PriceArray], label: PriceArray, horizon: int
) -> float | None:
    """Return the standard error of the difference in AUC of two models on the same days.

    Args:
        logits: of the two models, each of shape (n_days,).
        label: 0 or 1, shape (n_days,).
        horizon: trading days that a label covers.

    Returns: None if resampled days lack a class.
    """
    differences = []
    for days in resampled_day_indices(len(label), block_days(horizon)):
        first, second = (auc(logit[days], label[days]) for logit in logits)
        if first is not None and second is not None:
            differences.append(second - first)
    return float(np.std(differences, ddof=1)) if len(differences) > 1 else None


def _logit(probability: PriceArray) -> PriceArray:
    logit: PriceArray = np.log(probability) - np.log1p(-probability)
    return logit
