"""Simple forecasts to compare a transformer with, fitted on the same training days.

None is tuned: each has its library's defaults or a textbook's values, because a choice by
validation would be a search too.
"""

import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from arch import arch_model
from scipy.special import ndtr
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.data_config import DataConfig
from study.data.embedded.synthetic import bayes_probability, next_variances
from study.data.holdout import Holdout
from study.data.labels import fall_labels_of
from study.data.sources import SYNTHETIC
from study.results.finals.final_records import CONSTANT, LOGISTIC, ORACLE, bounded

TRAILING_DAYS = 250
"""Trading days over which the trailing prior is a mean: about a year."""

_RANGE_DAYS = (1, 5, 20)
"""Trading days over which the ranges of a day, a week and a month are a mean."""

_HAR_DAYS = (1, 5, 22)
"""Trading days of the terms of the heterogeneous autoregressive model of realised volatility (HAR,
Corsi 2009): day, week and month."""

_LEAST_VOLATILITY = 1e-4
"""Least realised volatility that has a logarithm here, a basis point: a close may stand still."""

_TREES = 500
"""Number of trees of the forest."""

_LEAF_DAYS = 20
"""Fewest days in a leaf of the forest: noisy labels need more than scikit-learn's default of one.
"""

_PERCENT = 100.0
"""Factor of the returns: the documentation of arch advises percent, which scales its optimiser."""

_NODES = 128
"""Number of points of the quadrature of walks below a barrier."""

_FAR = 8.0
"""Standard deviations of the whole walk to which the quadrature reaches."""

_ROWS_AT_ONCE = 64
"""Number of days whose quadrature is computed together, in 8 MiB."""

_BOTH_SIDES = "logistic, both sides"
"""Name of the baseline that needs a label of falls."""

Baseline = Callable[[DataConfig, Holdout], PriceArray]
"""Function that returns the probability of every day; those of training days are not used."""


def predict_baselines(config: DataConfig, holdout: Holdout) -> dict[str, PriceArray]:
    """Return the probabilities of each baseline for every day, by name; float64, (n_days,)."""
    named = baselines_of(config)
    found = {name: bounded(predict(config, holdout)) for name, predict in named.items()}
    if holdout.prices.name == SYNTHETIC and config.label_kind == "high":
        found[ORACLE] = _oracle(config, holdout)
    return found


def _constant(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Return the base rate of the training days."""
    return np.full(len(holdout.labels), _train_labels(holdout).mean())


def _trailing(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Return the share of positives among the latest labels that are known on a day."""
    labels = pd.Series(holdout.labels).shift(config.horizon)
    prior = labels.rolling(TRAILING_DAYS, min_periods=1).mean()
    return np.asarray(prior.fillna(_train_labels(holdout).mean()).to_numpy(np.float64))


def _garch(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Return the label's probability on a Brownian path with the variances of GJR-GARCH."""
    first, last = (int(holdout.bars[holdout.train_days[end]]) for end in (0, -1))
    variance = garch_variance(
        holdout.prices.frame["Close"].to_numpy(),
        # Earlier bars, which have no inputs, are known too, unless only a window is.
        first_fitted=0 if config.window_days is None else first,
        n_fitted=last + 1,
        horizon=config.horizon,
    )
    return path_probability(config, variance[holdout.bars])


def _garch_platt(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Recalibrate GJR-GARCH by logistic regression on its own logit (Platt 1999)."""
    closed = bounded(_garch(config, holdout))
    logit = np.log(closed) - np.log1p(-closed)
    return _fitted(LogisticRegression(C=np.inf), logit[:, None], holdout)


def _logistic_ranges(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Fit a logistic regression on the mean log range of the last day, week and month."""
    bars = holdout.prices.frame
    ranges = pd.Series(np.log(bars["High"].to_numpy() / bars["Low"].to_numpy()))
    means = [np.log(ranges.rolling(days).mean().clip(lower=1e-4)) for days in _RANGE_DAYS]
    inputs = np.stack([mean.to_numpy() for mean in means], axis=1)[holdout.bars]
    return _fitted(make_pipeline(StandardScaler(), LogisticRegression()), inputs, holdout)


def _har(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Fit a logistic regression on the log realised volatility of the last day, week and month.

    Realised volatility is the root mean square of the log returns of closes; these are the terms of
    the heterogeneous autoregressive model (Corsi 2009), in logarithms.
    """
    close = holdout.prices.frame["Close"].to_numpy()
    squares = pd.Series(np.diff(np.log(close), prepend=np.nan) ** 2)
    terms = [np.sqrt(squares.rolling(days).mean()) for days in _HAR_DAYS]
    logs = [np.log(term.clip(lower=_LEAST_VOLATILITY)) for term in terms]
    inputs = np.stack([each.to_numpy() for each in logs], axis=1)[holdout.bars]
    return _fitted(make_pipeline(StandardScaler(), LogisticRegression()), inputs, holdout)


def _logistic(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Fit a logistic regression on all inputs of the day."""
    return _fitted(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        holdout.features.astype(np.float64),
        holdout,
    )


def _logistic_both_sides(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Fit one logistic regression on the inputs of the day to the label and to that of a fall.

    Every day stands twice, with a constant of its own for the move downwards: a linear model that
    learns from what ``fall_weight`` gives to a network.
    """
    falls = fall_labels_of(holdout.prices.frame, config)
    assert falls is not None, "a task without a label of falls has no such baseline"
    return both_sides_probability(
        holdout.features, holdout.labels, falls[holdout.bars], holdout.train_days
    )


def both_sides_probability(
    features: SampleArray, labels: SampleArray, falls: SampleArray, train_days: IndexArray
) -> PriceArray:
    """Return the probability of every day, of a model fitted to two labels of the training days.

    Args:
        features: inputs of every day, shape (n_days, n_features).
        labels: the label of every day, shape (n_days,).
        falls: the label of the same move downwards, likewise.
        train_days: rows of the days that are fitted.
    """
    inputs = StandardScaler().fit(features[train_days]).transform(features)
    answers = np.concatenate((labels[train_days], falls[train_days]))
    is_fall = np.repeat((0.0, 1.0), len(train_days))
    model = LogisticRegression(max_iter=1000)
    model.fit(np.column_stack((np.tile(inputs[train_days], (2, 1)), is_fall)), answers)
    upwards = np.column_stack((inputs, np.zeros(len(inputs))))
    probability: PriceArray = model.predict_proba(upwards)[:, 1]
    return probability


def _forest(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Fit a random forest on all inputs of the day."""
    model = RandomForestClassifier(
        n_estimators=_TREES, min_samples_leaf=_LEAF_DAYS, random_state=0, n_jobs=1
    )
    return _fitted(model, holdout.features, holdout)


def _boosting(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Fit gradient boosting on all inputs of the day, stopped early on a part of those days."""
    model = HistGradientBoostingClassifier(
        learning_rate=0.05, early_stopping=True, validation_fraction=0.15, random_state=0
    )
    return _fitted(model, holdout.features, holdout)


BASELINES: Mapping[str, Baseline] = {
    CONSTANT: _constant,
    "trailing prior": _trailing,
    "GJR-GARCH": _garch,
    "GJR-GARCH, Platt": _garch_platt,
    "HAR": _har,
    "logistic, ranges": _logistic_ranges,
    LOGISTIC: _logistic,
    _BOTH_SIDES: _logistic_both_sides,
    "random forest": _forest,
    "gradient boosting": _boosting,
}
"""Baselines by name, in the order of how much they learn from the training days."""


def baselines_of(config: DataConfig) -> dict[str, Baseline]:
    """Return the baselines of a task by name.

    The direction of a close has no label of falls but its complement, from which a model of both
    sides would learn nothing that logistic regression does not know: it would count twice.
    """
    if config.label_kind != "direction":
        return dict(BASELINES)
    return {name: each for name, each in BASELINES.items() if name != _BOTH_SIDES}


def garch_variance(
    close: PriceArray, *, n_fitted: int, horizon: int, first_fitted: int = 0
) -> PriceArray:
    """Return the variances of the next log returns as GJR-GARCH(1,1,1) with t errors expects them.

    Args:
        close: closing price of every day, shape (n_days,).
        n_fitted: row after the last day to which the model is fitted; later ones are only filtered.
        horizon: number of days ahead.
        first_fitted: row of the first of these days.

    Returns: for every day the variances of the days ahead, shape (n_days, horizon), given the
        prices up to that day; NaN on the first day.
    """
    returns = _PERCENT * np.diff(np.log(close))

    def model(values: PriceArray) -> object:
        return arch_model(values, mean="Constant", vol="GARCH", p=1, o=1, q=1, dist="t")

    with warnings.catch_warnings():
        # The optimiser warns of a flat optimum, whose forecasts are as good.
        warnings.simplefilter("ignore")
        fitted = model(returns[first_fitted : n_fitted - 1]).fit(disp="off")  # type: ignore[attr-defined]
        filtered = model(returns).fix(fitted.params)  # type: ignore[attr-defined]
        forecast = filtered.forecast(horizon=horizon, start=0, reindex=False)
    ahead = forecast.variance.to_numpy() / _PERCENT**2
    return np.concatenate((np.full((1, horizon), np.nan), ahead))


def path_probability(config: DataConfig, variances: PriceArray) -> PriceArray:
    """Return the probability of the label if the log price is a driftless Brownian path.

    The high of some day reaches the threshold if the path does so at any time, which by the
    reflection principle is twice as probable as that it ends above. A close reaches the threshold
    if the path is above it at the end of some day.

    Args:
        config: the definition of the label.
        variances: variance of the log return of each day ahead, shape (n, horizon).
    """
    if config.label_kind == "direction":
        return np.full(len(variances), 0.5)
    barrier = float(np.log1p(config.threshold))
    if config.label_kind == "high":
        return np.asarray(2 * ndtr(-barrier / np.sqrt(variances.sum(axis=1))))
    parts = np.split(variances, range(_ROWS_AT_ONCE, len(variances), _ROWS_AT_ONCE))
    return np.concatenate([_any_close(barrier, part) for part in parts])


def _any_close(barrier: float, variances: PriceArray) -> PriceArray:
    """Return the probability that a driftless normal walk is above a barrier after some step.

    The density of the walks that have stayed below is integrated from day to day by Gauss-Legendre
    quadrature; for one day the result is the closed form. For up to ten steps whose sizes differ
    thirty-fold, the error is 1e-6, compared with twice the nodes.

    Args:
        barrier: log return of the barrier, > 0.
        variances: variance of each step, shape (n, n_steps).
    """
    deviations = np.sqrt(variances)
    whole = np.sqrt(variances.sum(axis=1))
    # The density beyond so many standard deviations is negligible.
    low, high = -_FAR * whole, np.minimum(barrier, _FAR * whole)
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    nodes = low[:, None] + (high - low)[:, None] * (points + 1) / 2
    weights = (high - low)[:, None] * weights / 2
    # Before the first step the whole walk is at zero.
    place, mass = np.zeros((len(variances), 1)), np.ones((len(variances), 1))
    for deviation in deviations.T[:-1]:
        scaled = (nodes[:, :, None] - place[:, None, :]) / deviation[:, None, None]
        step = np.exp(-(scaled**2) / 2) / (np.sqrt(2 * np.pi) * deviation[:, None, None])
        density = np.einsum("nij,nj->ni", step, mass)
        place, mass = nodes, weights * density
    # Walks that have been above are not in this mass.
    below = np.sum(mass * ndtr((barrier - place) / deviations[:, -1:]), axis=1)
    return np.asarray(1 - below)


def _oracle(config: DataConfig, holdout: Holdout) -> PriceArray:
    """Return the best possible forecast on the synthetic market, which bounds every model."""
    variance = next_variances(holdout.prices.frame["Close"].to_numpy())
    return bayes_probability(
        variance[holdout.bars], horizon=config.horizon, threshold=config.threshold
    )


def _train_labels(holdout: Holdout) -> PriceArray:
    return holdout.labels[holdout.train_days].astype(np.float64)


def _fitted(model: object, inputs: np.ndarray, holdout: Holdout) -> PriceArray:
    """Fit a model on the training days and return the probability of every day with inputs."""
    days: IndexArray = holdout.train_days
    model.fit(inputs[days], holdout.labels[days])  # type: ignore[attr-defined]
    known = np.isfinite(inputs).all(axis=1)
    probability = np.full(len(inputs), np.nan)
    probability[known] = model.predict_proba(inputs[known])[:, 1]  # type: ignore[attr-defined]
    return probability
