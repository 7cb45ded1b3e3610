"""The smallest RankIC, and difference in it, that a panel's days can show, before any training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from study.data.arrays import IndexArray
from study.data.panel.panel_baselines import PanelBaseline
from study.data.panel.panel_dataset import PanelDataset
from study.names import BOOSTING, RIDGE
from study.statistics.block_length import block_days
from study.statistics.detectable import smallest_difference
from study.statistics.rank_comparison import compare_days

PUBLISHED = (0.054, 0.060)
"""Best mean RankIC of published systems on each of two sets of features of 300 Chinese stocks, one
day ahead: TRA on Alpha158, ALSTM and TCTS on Alpha360
(https://github.com/microsoft/qlib/blob/main/examples/benchmarks/README.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelPower:
    """What the validation and test days of a panel can show at one horizon.

    Measured on validation with ridge and boosting, which takes seconds. Test labels are never read:
    their error follows from the number of days and of assets.
    """

    null_day_sd: float
    """Standard deviation of a day's RankIC that knows nothing, of independent assets: the root mean
    square of 1 / sqrt(N - 1) over the validation days, whose N assets differ."""
    day_sd: float
    """Standard deviation of ridge's RankIC of a validation day, larger where assets move together.
    """
    null_se: float
    """Standard error of a mean RankIC that knows nothing, on validation, of independent assets."""
    measured_se: float | None
    """Standard error of ridge's mean RankIC over blocks of days; None with too few of them."""
    rank_ic_se: float
    """The larger of the two, by which the rest is computed."""
    rank_ic_validation: float
    """Smallest mean RankIC that is distinguishable from zero on the validation days."""
    rank_ic_test: float
    difference_se: float | None
    """Standard error of the mean difference of boosting and ridge on validation, a stand-in for
    that of a network and ridge; None with too few days."""
    difference_validation: float | None
    """Smallest difference in RankIC from ridge that validation shows."""
    difference_test: float | None
    ridge: float
    """Mean RankIC of ridge on validation: how much there is to know, as far as a simple model can
    tell."""
    sentences: tuple[str, ...]
    """Consequences, in plain words."""


def read_panel_power(raw: Mapping[str, Any] | None) -> PanelPower | None:
    """Rebuild what ``dataclasses.asdict`` made of a ``PanelPower``; None if it is not one."""
    try:
        return PanelPower(**{**(raw or {}), "sentences": tuple((raw or {})["sentences"])})
    except (KeyError, TypeError):
        return None


def measure_panel_power(data: PanelDataset, baselines: Sequence[PanelBaseline]) -> PanelPower:
    """Return what the parts of a panel can show.

    Args:
        data: the data set. Where a search has folds of its own, its latest days validate here.
        baselines: scores of ``score_panel_baselines`` on these days.
    """
    data = data.without_search_folds
    by_name = {each.name: each for each in baselines}
    ridge, boosting = by_name[RIDGE], by_name[BOOSTING]
    n_assets = data.labelled(data.validation_days).sum(axis=1)
    null = null_error(n_assets, data.horizon)
    error = max(null, ridge.rank_ic_se or 0.0)
    between = compare_days(boosting.rank_ics, ridge.rank_ics, block=block_days(data.horizon)).se
    validation, test = data.splits["validation"], data.splits["test"]
    factor = math.sqrt(
        validation.rows * (validation.assets_mean - 1) / (test.rows * (test.assets_mean - 1))
    )
    visible = smallest_difference(error)
    difference = None if between is None else smallest_difference(between)
    return PanelPower(
        null_day_sd=null_error(n_assets, 1) * math.sqrt(len(n_assets)),
        day_sd=float(np.nanstd(ridge.rank_ics)),
        null_se=null,
        measured_se=ridge.rank_ic_se,
        rank_ic_se=error,
        rank_ic_validation=visible,
        rank_ic_test=visible * factor,
        difference_se=between,
        difference_validation=difference,
        difference_test=None if difference is None else difference * factor,
        ridge=ridge.rank_ic,
        sentences=sentences(
            visible, visible * factor, difference, factor, ridge=ridge, horizon=data.horizon
        ),
    )


def null_error(n_assets: IndexArray, horizon: int) -> float:
    """Return the standard error of the mean RankIC of scores that know nothing.

    Spearman's correlation of a day's N independent assets has the variance 1 / (N - 1), ties or
    not. The returns of two days that are k < h apart have 1 - k / h of their time in common, and
    where scores last, the RankICs correlate by as much: the sum of 1 - |k| / h over all k is h, so
    that n days tell as much as n / h. Scores that change from day to day have a smaller error: at a
    horizon of 5 days, in 400 simulated panels of noise, means of slow scores had .90 to .95 times
    this error, and those of scores that are new every day .44 to .47 times.

    Args:
        n_assets: number of assets that are judged on each day, at least 2, shape (n_days,).
        horizon: days that a return covers, h.
    """
    return math.sqrt(horizon * float((1 / (n_assets - 1)).mean()) / len(n_assets))


def sentences(
    validation: float,
    test: float,
    difference: float | None,
    factor: float,
    *,
    ridge: PanelBaseline,
    horizon: int,
) -> tuple[str, ...]:
    """Say what a study of a panel can answer.

    Args:
        validation: smallest RankIC that the validation days show.
        test: smallest RankIC that the test days show.
        difference: smallest difference from ridge on validation; None where it is unknown.
        factor: of errors, from validation to test.
        ridge: the baseline to beat.
        horizon: trading days.
    """
    where, (low, high) = f"h{horizon}:", PUBLISHED
    published = (
        f"the best published systems reach {low:.3f} to {high:.3f} a day ahead on 300 stocks"
    )
    said = [
        f"{where} to be told apart from zero, a mean RankIC must be {validation:.3f} on the "
        f"validation days ({test:.3f} on test); {published}."
        if test <= high
        else f"{where} cannot tell a RankIC as good as any published apart from zero: it must be "
        f"{test:.3f} on the test days ({validation:.3f} on validation), and {published}."
    ]
    error = "" if ridge.rank_ic_se is None else f", with a standard error of {ridge.rank_ic_se:.3f}"
    own = f"ridge itself has {ridge.rank_ic:.3f} on validation{error}"
    said.append(
        f"{where} {own}."
        if difference is None
        else f"{where} to be told apart from ridge, a mean RankIC must differ from its own by "
        f"{difference:.3f} on the validation days ({difference * factor:.3f} on test), if it "
        f"differs from day to day as boosting does; {own}."
    )
    return tuple(said)
