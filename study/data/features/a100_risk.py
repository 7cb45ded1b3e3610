"""Tier a100, risk: the features of the spread and shape of returns that it adds to a50."""

import numpy as np

from study.data.arrays import PriceArray
from study.data.features.a50 import (
    YEAR,
    log_returns,
    realized_volatility,
)
from study.data.features.feature import Bars, FeatureSpec, feature
from study.data.features.rolling import (
    change,
    highest,
    over_windows,
    percent_change,
    ratio,
    trailing_mean,
    trailing_sd,
    trailing_sum,
)


def _value_at_risk(name: str, share: float, n_days: int) -> FeatureSpec:
    return feature(
        name,
        f"-({share:.0%} quantile of {n_days} daily returns), %",
        n_days + 1,
        lambda bars: over_windows(
            percent_change(bars.close, 1),
            n_days,
            lambda windows: -np.quantile(windows, share, axis=1),
        ),
    )


def _expected_shortfall(name: str, n_worst: int, n_days: int) -> FeatureSpec:
    return feature(
        name,
        f"-mean of the {n_worst} lowest of {n_days} daily returns, %",
        n_days + 1,
        lambda bars: over_windows(
            percent_change(bars.close, 1),
            n_days,
            lambda windows: -np.sort(windows, axis=1)[:, :n_worst].mean(axis=1),
        ),
    )


def _parkinson(bars: Bars) -> PriceArray:
    squares = np.log(bars.high / bars.low) ** 2
    volatility: PriceArray = 100 * YEAR * np.sqrt(trailing_mean(squares, 20) / (4 * np.log(2)))
    return volatility


def _garman_klass(bars: Bars) -> PriceArray:
    spread, move = np.log(bars.high / bars.low), np.log(bars.close / bars.open)
    variance = trailing_mean(spread**2 / 2 - (2 * np.log(2) - 1) * move**2, 20)
    return 100 * YEAR * np.sqrt(np.maximum(variance, 0))


def _volatility_of_volatility(bars: Bars) -> PriceArray:
    volatility = realized_volatility(bars, 20)
    return 100 * ratio(trailing_sd(volatility, 20), trailing_mean(volatility, 20))


def _expectancy(bars: Bars) -> PriceArray:
    returns = percent_change(bars.close, 1)
    losses = np.maximum(-returns, 0)
    n_losses = trailing_sum(np.where(np.isnan(returns), np.nan, returns < 0), 20)
    mean_loss = ratio(trailing_sum(losses, 20), n_losses)
    mean = trailing_mean(returns, 20)
    return np.where((mean_loss == 0) & (mean > 0), 3.0, ratio(mean, mean_loss)).clip(-3, 3)


def _win_rate(bars: Bars) -> PriceArray:
    returns = change(bars.close, 1)
    return 100 * trailing_mean(np.where(np.isnan(returns), np.nan, returns > 0), 20)


def _moment(bars: Bars, power: int) -> PriceArray:
    """Return the mean of standardised log returns to a power, 60 days; 0 if they are equal."""

    def reduce(windows: PriceArray) -> PriceArray:
        centred = windows - windows.mean(axis=1, keepdims=True)
        sd = np.sqrt((centred**2).mean(axis=1))
        sd[windows.max(axis=1) == windows.min(axis=1)] = 0.0
        return ratio((centred**power).mean(axis=1), sd**power)

    return over_windows(log_returns(bars), 60, reduce)


def _autocorrelation(bars: Bars) -> PriceArray:
    def reduce(windows: PriceArray) -> PriceArray:
        centred = windows - windows.mean(axis=1, keepdims=True)
        flat = windows.max(axis=1) == windows.min(axis=1)
        products = (centred[:, 1:] * centred[:, :-1]).sum(axis=1)
        return ratio(products, np.where(flat, 0.0, (centred**2).sum(axis=1)))

    return over_windows(log_returns(bars), 20, reduce)


ADDED: tuple[FeatureSpec, ...] = (
    _value_at_risk("var_95_60d", 0.05, 60),
    _value_at_risk("var_99_252d", 0.01, 252),
    _expected_shortfall("cvar_95_60d", 3, 60),
    _expected_shortfall("cvar_99_252d", 3, 252),
    feature(
        "parkinson_vol_20d",
        "sqrt(mean of ln(High / Low)^2 / (4 ln 2)), 20 days, % per year",
        20,
        _parkinson,
    ),
    feature(
        "garman_klass_vol_20d",
        "sqrt(mean of ln(High/Low)^2 / 2 - (2 ln 2 - 1) ln(Close/Open)^2), 20 days, % per year",
        20,
        _garman_klass,
    ),
    feature(
        "realized_vol_20d",
        "sd of log returns, 20 days, % per year",
        21,
        lambda bars: realized_volatility(bars, 20),
    ),
    feature(
        "realized_vol_60d",
        "sd of log returns, 60 days, % per year",
        61,
        lambda bars: realized_volatility(bars, 60),
    ),
    feature(
        "vol_of_vol_20d",
        "100 sd / mean of realized_vol_20d, 20 days; 0 if no mean",
        40,
        _volatility_of_volatility,
    ),
    feature(
        "vol_ratio_20_60",
        "realized_vol_20d / realized_vol_60d; 1 if no sd",
        61,
        lambda bars: ratio(realized_volatility(bars, 20), realized_volatility(bars, 60), empty=1.0),
    ),
    feature(
        "expectancy_20d",
        "mean daily return / mean loss of losing days, 20 days, within +-3; 0 if no move",
        21,
        _expectancy,
    ),
    feature("win_rate_20d", "percentage of days with a higher Close, 20 days", 21, _win_rate),
    feature(
        "skewness_60d",
        "third moment of standardised log returns, 60 days; 0 if no sd",
        61,
        lambda bars: _moment(bars, 3),
    ),
    feature(
        "kurtosis_60d",
        "fourth moment of standardised log returns, 60 days; 0 if no sd",
        61,
        lambda bars: _moment(bars, 4),
    ),
    feature(
        "autocorrelation_20d",
        "autocorrelation of log returns at lag 1, 20 days; 0 if no sd",
        21,
        _autocorrelation,
    ),
    feature(
        "drawdown_60d",
        "100 (Close / highest Close of 60 days - 1)",
        60,
        lambda bars: 100 * (bars.close / highest(bars.close, 60) - 1),
    ),
)
