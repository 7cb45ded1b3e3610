"""Simple scores that any model of a panel must beat on the same days.

None is tuned by looking at the days on which it is judged: prices alone, or textbook models of the
training days.
"""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.evaluation.probability_scores import daily_means
from study.data.panel.arrow_cache import cached_scores
from study.data.panel.panel import MaskArray
from study.data.panel.panel_dataset import PAST_DAYS, PanelDataset
from study.data.panel.panel_inputs import code_digest
from study.errors import DataError, cause
from study.names import BOOSTING, RIDGE
from study.statistics.block_length import block_days
from study.statistics.mean_error import standard_error
from study.statistics.rank_scores import daily_ic, daily_rank_ic, long_short, sharpe
from study.statistics.within_day_ridge import fit_within_day_ridge, ridge_scores

LIGHTGBM = "lightgbm"
"""Gradient boosting of another library, a baseline where it is installed: its extra."""

_CODE = ("data/panel/panel_baselines.py", "statistics/within_day_ridge.py")
"""Modules that compute scores, in the folder of the package."""

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
    data: PanelDataset, *, share: float, cost_basis_points: float, may_write: bool = True
) -> tuple[tuple[PanelBaseline, ...], tuple[str, ...]]:
    """Score the baselines on the validation days; they are fitted on the training days alone.

    On the folds of a search they are fitted once for each, on its training days, and the scores
    are those of all validated days together. Where inputs are mapped from a file, the scores are
    kept beside it, and what was fitted to the same arrays by the same code is not fitted again.

    Args:
        data: the data set.
        share: share of a day's assets that is bought, and that is sold.
        cost_basis_points: cost of a trade, basis points of its value.
        may_write: may scores be kept? Those that are kept are read anyway.

    Returns: the baselines, and why kept scores were of no use or could not be kept, one line each.
    """
    folds = data.per_network
    judged = [judged_days(fold, fold.validation_days) for fold in folds]
    found = [_kept_scores(fold, may_write=may_write) for fold in folds]
    scores = [own for own, _ in found]
    baselines = tuple(
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
    return baselines, tuple(note for _, note in found if note)


def _kept_scores(data: PanelDataset, *, may_write: bool) -> tuple[Mapping[str, SampleArray], str]:
    """Return the scores on the validation days, from their file if there is one, and a note."""
    file = data.inputs.file
    if file is None:
        return panel_baseline_scores(data, data.validation_days), ""
    return cached_scores(
        _digest(data, file),
        file.parent,
        lambda: panel_baseline_scores(data, data.validation_days),
        may_write=may_write,
    )


def _digest(data: PanelDataset, file: Path) -> str:
    """Return the sha256 of all that the scores on the validation days depend on.

    The inputs may be a gigabyte. Their file is named by their content, so its name stands for them.
    """
    inputs = data.inputs
    place = (file.stem, inputs.offset, inputs.values.shape)
    content = hashlib.sha256(repr((_code(), data.horizon, place)).encode())
    for array in (data.targets, data.present, data.closes, data.train_days, data.validation_days):
        content.update(repr((array.dtype.str, array.shape)).encode())
        content.update(np.ascontiguousarray(array).data.cast("B"))
    return content.hexdigest()


@functools.cache
def _code() -> str:
    """Return the digest of the code and of the versions of the libraries that fit baselines."""
    return code_digest(_CODE, (np.__version__, _version("scikit-learn"), _version(LIGHTGBM)))


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
        BOOSTING: _boosting(data, seen, days, _fit_histograms),
    }
    if _version(LIGHTGBM) is not None:
        found[LIGHTGBM] = _boosting(data, seen, days, _fit_lightgbm)
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


_Rows = npt.NDArray[np.float32]
_Predict = Callable[[_Rows], PriceArray]
_Fit = Callable[[_Rows, _Rows, int, tuple[_Rows, _Rows] | None], tuple[_Predict, Sequence[float]]]
"""Fits so many trees to inputs and targets; returns what predicts, and the mean squared error after
each tree on the inputs and targets that are given last, if any are."""


def _boosting(data: PanelDataset, seen: SeenPanel, days: IndexArray, fit: _Fit) -> PriceArray:
    """Return the scores of gradient boosting by a library, a part of the days at a time."""
    predict, _ = _boosted(data, fit)
    scores = np.full((len(days), seen.present.shape[1]), np.nan)
    for rows in np.array_split(np.arange(len(days)), -(-scores.size // _BOOSTED_ROWS)):
        present = seen.present[days[rows]]
        part = np.full(present.shape, np.nan)
        if present.any():
            part[present] = predict(seen.inputs[days[rows]][present])
        scores[rows] = part
    return scores


def _boosted(data: PanelDataset, fit: _Fit) -> tuple[_Predict, int]:
    """Fit gradient boosting to a sample of the training asset-days.

    The number of trees is the one of least squared error on the latest of these days, of a fit to
    the earlier ones; the days on which labels of both sides overlap are left out.

    Returns: what predicts, and its number of trees.
    """
    at, assets = _sampled(data)
    inputs, targets = data.inputs.values[at, assets], data.targets[at, assets]
    first_late = data.train_days[int(_EARLY_SHARE * len(data.train_days))]
    early, late = at <= first_late - data.horizon, at >= first_late
    judge = inputs[late], targets[late]
    _, errors = fit(inputs[early], targets[early], _TREES, judge)
    n_trees = int(np.argmin(errors)) + 1
    return fit(inputs, targets, n_trees, None)[0], n_trees


def _fit_histograms(
    inputs: _Rows, targets: _Rows, n_trees: int, judge: tuple[_Rows, _Rows] | None
) -> tuple[_Predict, Sequence[float]]:
    """Fit the gradient boosting of scikit-learn."""
    # A second to import, which no other command on data need wait for.
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        learning_rate=_STEP,
        max_iter=n_trees,
        max_leaf_nodes=_LEAVES,
        min_samples_leaf=_LEAF_ROWS,
        # The library's own stopping takes random asset-days, whose labels overlap the others.
        early_stopping=False,
        random_state=0,
    ).fit(inputs, targets)
    if judge is None:
        return model.predict, ()
    stages = model.staged_predict(judge[0])
    return model.predict, [float(((each - judge[1]) ** 2).mean()) for each in stages]


def _fit_lightgbm(
    inputs: _Rows, targets: _Rows, n_trees: int, judge: tuple[_Rows, _Rows] | None
) -> tuple[_Predict, Sequence[float]]:
    """Fit the gradient boosting of LightGBM.

    Raises:
        DataError: it is installed and cannot be loaded.
    """
    try:
        import lightgbm
    except OSError as error:
        raise DataError(
            f"lightgbm: must load where it is installed, but got {cause(error)}. Install the "
            "OpenMP library that it names (libgomp1, libomp on macOS), or uninstall lightgbm."
        ) from error

    settings = {
        "objective": "regression", "learning_rate": _STEP, "num_leaves": _LEAVES,
        "min_data_in_leaf": _LEAF_ROWS, "seed": 0, "deterministic": True, "force_row_wise": True,
        "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    train = lightgbm.Dataset(inputs, targets)
    if judge is None:
        return lightgbm.train(settings, train, n_trees).predict, ()
    curve: dict[str, dict[str, list[float]]] = {}
    model = lightgbm.train(
        settings,
        train,
        n_trees,
        valid_sets=[lightgbm.Dataset(*judge, reference=train)],
        valid_names=["judge"],
        callbacks=[lightgbm.record_evaluation(curve)],
    )
    return model.predict, curve["judge"]["l2"]


def _version(library: str) -> str | None:
    """Return the version of a library that may not be installed, and is not loaded."""
    try:
        return version(library)
    except PackageNotFoundError:
        return None


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
