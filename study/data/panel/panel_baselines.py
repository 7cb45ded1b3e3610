"""Simple scores that any model of a panel must beat on the same days.

None is tuned by looking at the days on which it is judged: prices alone, or textbook models of the
training days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.evaluation.probability_scores import daily_means
from study.data.panel.panel import MaskArray
from study.data.panel.panel_dataset import PAST_DAYS, PanelDataset
from study.names import BOOSTING, RIDGE
from study.statistics.block_length import block_days
from study.statistics.mean_error import standard_error
from study.statistics.rank_scores import daily_ic, daily_rank_ic, long_short, sharpe
from study.statistics.within_day_ridge import fit_within_day_ridge, ridge_scores

_YEAR_DAYS, _MONTH_DAYS, _WEEK_DAYS = PAST_DAYS, 20, 5
"""Trading days of a year, a month and a week."""
_VOLATILITY_DAYS = 60
"""Trading days over which a baseline measures volatility: about three months."""

_BOOSTED_ROWS = 200_000
"""Most asset-days that boosting learns from, which takes some seconds: more than so many are also
what scikit-learn finds the bins of its histograms from."""
_TREES, _LEAVES, _LEAF_ROWS, _STEP = 100, 8, 200, 0.05
"""Most trees, leaves of each, asset-days of a leaf at least, and the step towards each tree: small
trees and slow steps, because a day's returns are nearly all noise."""
_EARLY_SHARE = 0.8
"""Share of the training days on which boosting is fitted first, to choose the number of trees on
the others."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SeenPanel:
    """What the close of each day shows of a panel, and nothing of the returns to come."""

    inputs: SampleArray
    """Model inputs, float32 of shape (n_days, n_assets, n_features)."""
    present: MaskArray
    """Assets that are ranked on a day, shape (n_days, n_assets)."""
    closes: PriceArray
    """Closes, float64 of shape (n_past + n_days, n_assets), NaN where unknown; the last rows are
    those of ``inputs``, and the days before them let a baseline look back."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JudgedDays:
    """Days on which scores are held against the returns that followed."""

    days: IndexArray
    """Rows of the days, ascending, shape (n_days,)."""
    returns: SampleArray
    """Returns over the horizon, shape (n_days, n_assets)."""
    labelled: MaskArray
    """Assets that are ranked and have a return, likewise."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PanelBaseline:
    """Scores of one baseline on the days on which it was judged, means over the days."""

    name: str
    rank_ic: float
    """Spearman correlation of scores and returns across a day's assets."""
    rank_ic_se: float | None
    """Standard error of ``rank_ic`` over blocks of days; None with too few of them."""
    ic: float
    """Pearson correlation of the same."""
    sharpe: float | None
    """Sharpe ratio, a year, of the assets of the highest scores less those of the lowest, before
    costs; None if it never varies."""
    sharpe_net: float | None
    """The same after costs."""
    rank_ics: PriceArray
    """Values of ``rank_ic`` by day, float64 of shape (n_days,), NaN on a day on which all returns
    are equal; on the folds of a search the days of one fold after the other."""
    scores: SampleArray
    """Scores, float32 of shape (n_days, n_assets), in the order of ``rank_ics``; NaN where an asset
    is not ranked."""


def score_panel_baselines(
    data: PanelDataset, *, share: float, cost_basis_points: float
) -> tuple[PanelBaseline, ...]:
    """Score the baselines on the validation days; they are fitted on the training days alone.

    On the folds of a search they are fitted once for each, on its training days, and the scores
    are those of all validated days together.

    Args:
        data: the data set.
        share: share of a day's assets that is bought, and that is sold.
        cost_basis_points: cost of a trade, basis points of its value.
    """
    folds = data.per_network
    judged = [judged_days(fold, fold.validation_days) for fold in folds]
    scores = [panel_baseline_scores(fold, fold.validation_days) for fold in folds]
    return tuple(
        judge_panel_scores(
            name,
            [each[name] for each in scores],
            judged,
            horizon=data.horizon,
            share=share,
            cost_basis_points=cost_basis_points,
        )
        for name in scores[0]
    )


def judged_days(data: PanelDataset, days: IndexArray) -> JudgedDays:
    """Return the returns of days of a data set, by which scores are judged."""
    return JudgedDays(days=days, returns=data.returns[days], labelled=data.labelled(days))


def panel_baseline_scores(
    data: PanelDataset, days: IndexArray, seen: SeenPanel | None = None
) -> dict[str, SampleArray]:
    """Return the scores of every baseline by name, float32 of shape (n, n_assets).

    An asset that is not ranked has NaN. One whose past is too short for a baseline of prices has
    the mean score of its day.

    Args:
        data: the data set, to whose ``train_days`` models are fitted.
        days: rows of the days to score.
        seen: what is known of a longer history, whose rows continue those of ``data``, where
            ``days`` are of it; None takes ``data``.
    """
    if seen is None:
        seen = SeenPanel(inputs=data.inputs.values, present=data.present, closes=data.closes)
    present = seen.present[days]
    closes = _last_known(seen.closes)
    priced = days + len(closes) - len(seen.present)
    ridge = fit_within_day_ridge(
        data.inputs.values,
        data.targets,
        data.present & np.isfinite(data.targets),
        data.train_days,
        horizon=data.horizon,
    )
    found = {
        "zero": np.zeros(present.shape),
        "momentum": _momentum(closes, priced),
        "reversal": -_return(closes, priced, _WEEK_DAYS),
        "low volatility": -_volatility(closes, priced),
        RIDGE: ridge_scores(ridge, seen.inputs, days),
        BOOSTING: _boosting(data, seen, days),
    }
    return {name: _completed(scores, present) for name, scores in found.items()}


def judge_panel_scores(
    name: str,
    scores: Sequence[SampleArray],
    judged: Sequence[JudgedDays],
    *,
    horizon: int,
    share: float,
    cost_basis_points: float,
) -> PanelBaseline:
    """Judge scores by the returns that followed.

    Args:
        name: of the baseline.
        scores: scores of each of the parts, one unless a search has folds.
        judged: returns of the same days. A day of several parts counts once, by its mean.
        horizon: days ahead that returns look.
        share: share of a day's assets that is bought, and that is sold.
        cost_basis_points: cost of a trade, basis points of its value.
    """
    rank_ics, ics, gross, net = [], [], [], []
    for own, part in zip(scores, judged, strict=True):
        known, mask = (own, part.returns), part.labelled
        rank_ics.append(daily_rank_ic(*known, mask))
        ics.append(daily_ic(*known, mask))
        portfolio = long_short(*known, mask, horizon=horizon, share=share)
        gross.append(portfolio.returns_D)
        net.append(portfolio.net_D(cost_basis_points))
    days = [part.days for part in judged]
    # A day on which all returns are equal has no value.
    pooled = daily_means(days, rank_ics)
    pooled = pooled[np.isfinite(pooled)]
    return PanelBaseline(
        name=name,
        rank_ic=float(pooled.mean()),
        rank_ic_se=standard_error(pooled, block_days(horizon)),
        ic=float(np.nanmean(daily_means(days, ics))),
        sharpe=sharpe(daily_means(days, gross), horizon),
        sharpe_net=sharpe(daily_means(days, net), horizon),
        rank_ics=np.concatenate(rank_ics),
        scores=np.concatenate(scores),
    )


def _last_known(closes: PriceArray) -> PriceArray:
    """Return the latest close up to each day, NaN before the first: an asset may be halted."""
    rows = np.where(np.isfinite(closes), np.arange(len(closes))[:, None], 0)
    last: PriceArray = np.take_along_axis(closes, np.maximum.accumulate(rows, axis=0), axis=0)
    return last


def _close(closes: PriceArray, days: IndexArray, ago: int) -> PriceArray:
    """Return the closes so many days before each of the days, NaN before the first."""
    rows = days - ago
    return np.where(rows[:, None] >= 0, closes[np.maximum(rows, 0)], np.nan)


def _return(closes: PriceArray, days: IndexArray, ago: int) -> PriceArray:
    return _close(closes, days, 0) / _close(closes, days, ago) - 1


def _momentum(closes: PriceArray, days: IndexArray) -> PriceArray:
    """Return the return of the last year without its last month (12-1 momentum)."""
    return _close(closes, days, _MONTH_DAYS) / _close(closes, days, _YEAR_DAYS) - 1


def _volatility(closes: PriceArray, days: IndexArray) -> PriceArray:
    """Return the standard deviation of daily returns over about three months."""
    found = np.full((len(days), closes.shape[1]), np.nan)
    for row, day in enumerate(days):
        if day >= _VOLATILITY_DAYS:
            window = closes[day - _VOLATILITY_DAYS : day + 1]
            found[row] = (window[1:] / window[:-1]).std(axis=0)
    return found


def _completed(scores: PriceArray, present: MaskArray) -> SampleArray:
    """Return scores with the day's mean where unknown, and NaN where an asset is not ranked."""
    known = present & np.isfinite(scores)
    counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
    means = np.where(known, scores, 0).sum(axis=1, keepdims=True) / counts
    completed = np.where(known, scores, means)
    return np.where(present, completed, np.nan).astype(np.float32)


def _boosting(data: PanelDataset, seen: SeenPanel, days: IndexArray) -> PriceArray:
    """Return the scores of gradient boosting, a part of the days at a time."""
    model = _boosted(data)
    scores = np.full((len(days), seen.present.shape[1]), np.nan)
    for rows in np.array_split(np.arange(len(days)), -(-scores.size // _BOOSTED_ROWS)):
        present = seen.present[days[rows]]
        part = np.full(present.shape, np.nan)
        if present.any():
            part[present] = model.predict(seen.inputs[days[rows]][present])
        scores[rows] = part
    return scores


def _boosted(data: PanelDataset) -> Any:
    """Fit gradient boosting to a sample of the training asset-days.

    The number of trees is the one of least squared error on the latest of these days, of a fit to
    the earlier ones; the days on which labels of both sides overlap are left out.
    """
    # A second to import, which no other command on data need wait for.
    from sklearn.ensemble import HistGradientBoostingRegressor

    def fitted(which: MaskArray, n_trees: int) -> Any:
        model = HistGradientBoostingRegressor(
            learning_rate=_STEP,
            max_iter=n_trees,
            max_leaf_nodes=_LEAVES,
            min_samples_leaf=_LEAF_ROWS,
            # The library's own stopping takes random asset-days, whose labels overlap the others.
            early_stopping=False,
            random_state=0,
        )
        return model.fit(inputs[which], targets[which])

    at, assets = _sampled(data)
    inputs, targets = data.inputs.values[at, assets], data.targets[at, assets]
    first_late = data.train_days[int(_EARLY_SHARE * len(data.train_days))]
    late = at >= first_late
    stages = fitted(at <= first_late - data.horizon, _TREES).staged_predict(inputs[late])
    errors = [float(((each - targets[late]) ** 2).mean()) for each in stages]
    return fitted(np.ones(len(at), dtype=bool), int(np.argmin(errors)) + 1)


def _sampled(data: PanelDataset) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of a sample of the training asset-days.

    Every so many-th asset of each day is taken in the order of its target, from a random one on:
    all days and all targets count alike, and the sample does not depend on the order of assets.
    """
    mask = data.present & np.isfinite(data.targets)
    step = -(-int(mask[data.train_days].sum()) // _BOOSTED_ROWS)
    draw = np.random.default_rng(0)
    rows, columns = [], []
    for day in data.train_days:
        known = np.flatnonzero(mask[day])
        taken = known[np.argsort(data.targets[day, known], kind="stable")]
        taken = taken[int(draw.integers(step)) :: step]
        rows.append(np.full(len(taken), day))
        columns.append(taken)
    return np.concatenate(rows), np.concatenate(columns)
