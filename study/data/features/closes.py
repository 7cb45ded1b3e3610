"""Tier closes: features of one asset of a panel, made of closes alone.

Every look-back counts the asset's own days. The market and the sector are equally weighted; each is
an index of mean daily log returns, read at the asset's own days, so that its return spans the same
days as the asset's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import talib

from study.data.arrays import PriceArray
from study.data.features.rolling import change, earlier, ratio, trailing_sd

_MARKET_DAYS = 60
"""Daily returns in a regression on the market: one quarter, as the longest volatility has."""

_STILL = 1e-12
"""Standard deviation of daily returns below which they are the rounding of prices at rest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketRegression:
    """Regressions of an asset's daily returns on the market's, arrays of shape (n_days,)."""

    beta: PriceArray
    correlation: PriceArray
    residual_sd: PriceArray
    """Standard deviation of what the market leaves unexplained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AssetCloses:
    """What features are computed from, float64 of shape (n_days,), the asset's own days."""

    close: PriceArray
    returns: PriceArray
    """Log returns of one day, NaN on the first."""
    market: PriceArray
    """Log of the index of all assets."""
    sector: PriceArray
    """Log of the index of the asset's sector; that of all assets where no sectors are known."""
    on_market: MarketRegression
    """The regression over the 60 daily returns up to each day."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CloseFeature:
    """The meaning of one column, and how far it looks back."""

    name: str
    formula: str
    look_back: int
    """Own days needed for the first value, the current one included."""
    compute: Callable[[AssetCloses], PriceArray]
    """Function that returns one value per day, free of the level of the price; those of the first
    ``look_back - 1`` days are not used."""


def asset_closes(close: PriceArray, market: PriceArray, sector: PriceArray) -> AssetCloses:
    """Return the closes of an asset with what its features share.

    Args:
        close: closes of the asset's own days, positive.
        market: log index of the market on these days.
        sector: log index of the asset's sector on these days.
    """
    returns = change(np.log(close), 1)
    on_market = regress(returns, change(market, 1), _MARKET_DAYS)
    return AssetCloses(
        close=close, returns=returns, market=market, sector=sector, on_market=on_market
    )


def regress(returns: PriceArray, market: PriceArray, n_days: int) -> MarketRegression:
    """Return the regressions, with an intercept, over trailing windows; 0 where nothing moves.

    Args:
        returns: shape (n_bars,), NaN on the first bar.
        market: the market's returns, as ``returns``.
        n_days: length of the window.
    """
    beta, correlation, residual_sd = (np.full(len(returns), np.nan) for _ in range(3))
    if len(returns) > n_days:
        own, others = (_centred_windows(values[1:], n_days) for values in (returns, market))
        # Each window is summed by itself: a running sum would carry its rounding on for ever.
        own_squares, squares, products = (
            np.einsum("ij,ij->i", left, right)
            for left, right in ((own, own), (others, others), (own, others))
        )
        still = n_days * _STILL**2
        own_squares[own_squares < still] = 0.0
        squares[squares < still] = 0.0
        slope = ratio(products, squares)
        beta[n_days:] = slope
        correlation[n_days:] = ratio(products, np.sqrt(own_squares * squares)).clip(-1.0, 1.0)
        unexplained = np.maximum(own_squares - slope * products, 0.0)
        residual_sd[n_days:] = np.sqrt(unexplained / (n_days - 2))
    return MarketRegression(beta=beta, correlation=correlation, residual_sd=residual_sd)


def _centred_windows(values: PriceArray, n_days: int) -> PriceArray:
    windows = np.lib.stride_tricks.sliding_window_view(values, n_days)
    centred: PriceArray = windows - windows.mean(axis=1, keepdims=True)
    return centred


def _log_change(values: PriceArray, n_days: int) -> PriceArray:
    logs: PriceArray = np.log(values / earlier(values, n_days))
    return logs


def _return(n_days: int) -> CloseFeature:
    return CloseFeature(
        name=f"return_{n_days}d",
        formula=f"ln(Close / Close {n_days} days before)",
        look_back=n_days + 1,
        compute=lambda asset: _log_change(asset.close, n_days),
    )


def _momentum(asset: AssetCloses) -> PriceArray:
    return earlier(_log_change(asset.close, 230), 20)


def _volatility(n_days: int) -> CloseFeature:
    return CloseFeature(
        name=f"volatility_{n_days}d",
        formula=f"sd (ddof 1) of daily log returns, {n_days} days",
        look_back=n_days + 1,
        compute=lambda asset: trailing_sd(asset.returns, n_days),
    )


def _volatility_ratio(short: int, long: int) -> CloseFeature:
    return CloseFeature(
        name=f"volatility_ratio_{short}_{long}",
        formula=f"volatility_{short}d / volatility_{long}d; 1 if no sd",
        look_back=long + 1,
        compute=lambda asset: ratio(
            trailing_sd(asset.returns, short), trailing_sd(asset.returns, long), empty=1.0
        ),
    )


def _distance(
    name: str, what: str, n_days: int, level: Callable[[PriceArray, int], PriceArray]
) -> CloseFeature:
    return CloseFeature(
        name=name,
        formula=f"ln(Close / {what} Close of {n_days} days)",
        look_back=n_days,
        compute=lambda asset: np.log(asset.close / level(asset.close, n_days)),
    )


def _rsi(n_days: int) -> CloseFeature:
    return CloseFeature(
        name=f"rsi_{n_days}",
        formula=f"(Wilder RSI{n_days}(Close) - 50) / 50; -1 if Close never moved",
        look_back=n_days + 1,
        compute=lambda asset: (talib.RSI(asset.close, n_days) - 50) / 50,
    )


def _residual_return(n_days: int) -> CloseFeature:
    return CloseFeature(
        name=f"residual_return_{n_days}d",
        formula=f"return_{n_days}d - market_beta_60d x market's log return over the same days",
        look_back=_MARKET_DAYS + 1,
        compute=lambda asset: (
            _log_change(asset.close, n_days) - asset.on_market.beta * change(asset.market, n_days)
        ),
    )


def _sector_return(n_days: int) -> CloseFeature:
    return CloseFeature(
        name=f"sector_relative_return_{n_days}d",
        formula=f"return_{n_days}d - sector's log return over the same days",
        look_back=n_days + 1,
        compute=lambda asset: _log_change(asset.close, n_days) - change(asset.sector, n_days),
    )


# The day's mean of a column is lost when the assets of a day are standardised: a return less the
# market's would be the return once more, so the market enters with each asset's beta. CMO is left
# out for the same reason: TA-Lib smooths it as Wilder's RSI, which it then is, 2 RSI - 100.
CLOSES: tuple[CloseFeature, ...] = (
    _return(1),
    _return(2),
    _return(5),
    _return(10),
    _return(20),
    _return(60),
    _return(120),
    _return(250),
    CloseFeature(
        name="momentum_12_1",
        formula="ln(Close 20 days before / Close 250 days before)",
        look_back=251,
        compute=_momentum,
    ),
    _volatility(5),
    _volatility(20),
    _volatility(60),
    _volatility_ratio(5, 20),
    _volatility_ratio(20, 60),
    _distance("sma_10_distance", "mean", 10, talib.SMA),
    _distance("sma_20_distance", "mean", 20, talib.SMA),
    _distance("sma_50_distance", "mean", 50, talib.SMA),
    _distance("sma_200_distance", "mean", 200, talib.SMA),
    _distance("high_20d_distance", "highest", 20, talib.MAX),
    _distance("high_60d_distance", "highest", 60, talib.MAX),
    _distance("high_250d_distance", "highest", 250, talib.MAX),
    _distance("low_20d_distance", "lowest", 20, talib.MIN),
    _distance("low_60d_distance", "lowest", 60, talib.MIN),
    _distance("low_250d_distance", "lowest", 250, talib.MIN),
    _rsi(5),
    _rsi(14),
    CloseFeature(
        name="macd_histogram",
        formula="(MACD - EMA9(MACD)) / Close, MACD = EMA12(Close) - EMA26(Close)",
        look_back=34,
        compute=lambda asset: talib.MACD(asset.close, 12, 26, 9)[2] / asset.close,
    ),
    CloseFeature(
        name="ppo",
        formula="100 (EMA12(Close) / EMA26(Close) - 1)",
        look_back=26,
        compute=lambda asset: 100 * (talib.EMA(asset.close, 12) / talib.EMA(asset.close, 26) - 1),
    ),
    CloseFeature(
        name="highest_return_20d",
        formula="highest daily log return, 20 days",
        look_back=21,
        compute=lambda asset: talib.MAX(asset.returns, 20),
    ),
    CloseFeature(
        name="market_beta_60d",
        formula="slope of daily log returns on the market's, 60 days; 0 if the market rests",
        look_back=_MARKET_DAYS + 1,
        compute=lambda asset: asset.on_market.beta,
    ),
    CloseFeature(
        name="market_correlation_60d",
        formula="correlation of daily log returns with the market's, 60 days; 0 if one rests",
        look_back=_MARKET_DAYS + 1,
        compute=lambda asset: asset.on_market.correlation,
    ),
    CloseFeature(
        name="idiosyncratic_volatility_60d",
        formula="sd (ddof 2) of the residuals of daily log returns on the market's, 60 days",
        look_back=_MARKET_DAYS + 1,
        compute=lambda asset: asset.on_market.residual_sd,
    ),
    _residual_return(5),
    _residual_return(20),
    _sector_return(5),
    _sector_return(20),
)

WARM_UP_DAYS = max(feature.look_back for feature in CLOSES) - 1
"""Own days at the front of an asset's history without all features."""
