"""A panel of simulated stocks whose best possible ranking of each day is known exactly."""

import math
from dataclasses import dataclass

import numpy as np

from study.data.arrays import IndexArray, PriceArray
from study.data.panel.panel import Panel, panel_fingerprint
from study.errors import DataError, require

SYNTHETIC_PANEL = "synthetic-panel"
"""Name of the simulated panel."""

_SKIP, _FAR = 20, 250
"""Days back at which the return that the signal is made of ends and begins, as of the feature
``momentum_12_1``. As it skips the latest 20 days, the expected returns of the next 21 days are
known today, whatever happens until then."""

HORIZONS = range(1, _SKIP + 2)
"""Horizons in trading days for which the best possible scores are known exactly."""

_TURN = 0.7
"""Standardised return at which the signal is least. Of a smaller one the furthest leaders would
have more than the mean and run away from the others; of a larger one the signal is nearly a line,
which ridge finds. An own choice."""

_MARKET_SD, _SECTOR_SD, _OWN_SD = 0.008, 0.005, 0.015
"""Standard deviations of a day's market, sector and own log return, in a mean regime."""

_DRIFT = 3e-4
"""Expected return of a day that all assets share, about 8 % a year."""

_TURBULENT = 2.0
"""Ratio of the volatilities of the turbulent and the calm regime."""

_STAYS_CALM, _STAYS_TURBULENT = 0.99, 0.97
"""Probabilities that a regime lasts another day: 100 days of calm on average, and 33 of
turbulence."""

_FIRST_PRICE = 100.0
_FIRST_DAY = np.datetime64("1900-01-01")

_NODES = 200
"""Nodes of the quadrature of the expected correlation: it is exact to more than 9 digits."""

_DAYS_AT_ONCE = 200
"""Days whose pairs of assets are compared at once, which bounds the memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelLaw:
    """The law of a simulated panel."""

    n_days: int = 5_000
    n_assets: int = 50
    """Number of assets, a multiple of ``n_sectors``."""
    n_sectors: int = 5
    signal_ic: float = 0.05
    """Standard deviation of the expected returns of a day across the assets over that of the
    returns, in a mean regime; it is about the information coefficient of one day. 0 gives a panel
    of which nothing can be known."""
    seed: int = 7
    """Seed of the one generator that draws everything."""

    def __post_init__(self) -> None:
        for holds, rule, got in (
            (self.n_days >= 2, "n_days must be >= 2", self.n_days),
            (self.n_sectors >= 1, "n_sectors must be >= 1", self.n_sectors),
            (
                self.n_assets >= 3
                and self.n_assets % self.n_sectors == 0
                and self.n_assets >= 2 * self.n_sectors,
                "n_assets must be >= 3 and a multiple of n_sectors, two or more a sector",
                self.n_assets,
            ),
            (0 <= self.signal_ic < 1, "signal_ic must lie in [0, 1)", self.signal_ic),
        ):
            require(holds, "PanelLaw", rule, got=got, remedy="Change it.", error=DataError)

    @property
    def drift_sd(self) -> float:
        """Standard deviation of a day's expected returns across the assets."""
        noise = math.hypot(_OWN_SD, _SECTOR_SD)
        return noise * self.signal_ic / math.sqrt(1 - self.signal_ic**2)


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticPanel:
    """A simulated panel, and what an observer of its prices cannot see."""

    law: PanelLaw
    panel: Panel
    volatility: PriceArray
    """Factor of the noise of each day's returns, sqrt(mean square) = 1, shape (n_days,)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BayesIC:
    """The expected correlations of the best scores with the returns, by day, shape (n_days,).

    They are 0 on days without a signal, and NaN where the horizon reaches past the last day.
    """

    ic: PriceArray
    """Expected Pearson correlation."""
    rank_ic: PriceArray
    """Expected Spearman correlation."""


def default_panel() -> SyntheticPanel:
    """Return the market of the source ``synthetic-panel``."""
    return simulate_panel(PanelLaw())


def simulate_panel(law: PanelLaw) -> SyntheticPanel:
    """Draw the closes of stocks that a market, their sectors and themselves move.

    The log return of asset i from day t to t + 1 is

        log(1 + drift) + m[t, i] - v[t + 1] / 2 + s[t + 1] (market + sector(i) + own(i)),

    with independent normal terms of constant standard deviations, whose variances sum to
    v[t + 1] / s[t + 1]^2. The factor s is that of the day's regime, calm or turbulent, a Markov
    chain of two states; it gives the returns fat tails. The signal m is a function of the closes up
    to day t - 20. With x[t, i] the log price (before the first day that of the first day),

        z = x[t - 20] - x[t - 250], standardised across the assets of the day,
        w = 2 tanh(z / 2),

    and m is (0.7 - w)^2, standardised likewise, times ``drift_sd``: assets that fell behind over
    the year catch up, the faster the further they are behind, and the leaders rise a little more
    than those in the middle. The feature ``momentum_12_1`` of the tier ``closes`` is z, so the
    inputs of a day tell the whole signal of the next one; a line through z has a correlation of
    -.84 with it where z is normal, which leaves something to find for what bends.

    So m[t], ..., m[t + h - 1] are known on day t for h up to 21, and as the noise that follows is
    independent of them and has the mean 1 after the term v / 2, the expected return of the next h
    days is exactly (1 + drift)^h exp(m[t] + ... + m[t + h - 1]) - 1, whatever the regimes are:
    ``Panel.oracle``. No score can have a larger expected correlation with the returns.

    Args:
        law: sizes, strength of the signal and seed.
    """
    generator = np.random.default_rng(law.seed)
    volatility = _volatility(generator.random(law.n_days))
    sectors = _sector_rows(law)
    noise = (
        _MARKET_SD * generator.standard_normal((law.n_days, 1))
        + _SECTOR_SD * generator.standard_normal((law.n_days, law.n_sectors))[:, sectors]
        + _OWN_SD * generator.standard_normal((law.n_days, law.n_assets))
    )
    variance = (_MARKET_SD**2 + _SECTOR_SD**2 + _OWN_SD**2) * volatility**2
    steps = math.log1p(_DRIFT) - variance[:, None] / 2 + volatility[:, None] * noise
    logs = np.full((law.n_days, law.n_assets), math.log(_FIRST_PRICE))
    for first in range(1, law.n_days, _SKIP):
        days = np.arange(first, min(first + _SKIP, law.n_days))
        drifts = _drifts(logs[:first], days - 1, law)
        logs[days] = logs[first - 1] + np.cumsum(drifts + steps[days], axis=0)
    close = np.exp(logs)
    dates = np.busday_offset(np.full(law.n_days, _FIRST_DAY), np.arange(law.n_days))
    width = len(str(law.n_assets))
    assets = tuple(f"asset-{number:0{width}}" for number in range(1, law.n_assets + 1))
    names = tuple(f"sector-{row + 1}" for row in sectors.tolist())
    panel = Panel(
        name=SYNTHETIC_PANEL,
        dates=dates,
        assets=assets,
        close=close,
        sectors=names,
        fingerprint=panel_fingerprint(dates, assets, {"Close": close}, names),
        oracle=oracle_scores(close, law),
    )
    return SyntheticPanel(law=law, panel=panel, volatility=volatility)


def oracle_scores(close: PriceArray, law: PanelLaw) -> dict[int, PriceArray]:
    """Return the expected returns of the next days by horizon, given the closes up to each day.

    Args:
        close: closes from the first day of a simulated panel on, shape (n_days, n_assets).
        law: of that panel.
    """
    n_days, sums = len(close), _signal_sums(np.log(close), HORIZONS[-1], law)
    return {
        horizon: np.expm1(horizon * math.log1p(_DRIFT) + sums[horizon:][:n_days] - sums[:n_days])
        for horizon in HORIZONS
    }


def bayes_ic(market: SyntheticPanel, horizon: int) -> BayesIC:
    """Return the exact expected correlations of the oracle with the returns of the next days.

    Both are given the closes up to each day and the regimes of the days that follow. With N assets
    in S sectors, M the sum of the signals over the horizon, V that of the squared volatility
    factors, s^2 = own_sd^2 V and a = 1 + (N / S) (sector_sd / own_sd)^2, the log returns less their
    mean lie around M as normal variables of the variance a s^2 in the S - 1 directions between the
    sectors, and s^2 in the N - S within them. Let b = |part of M between the sectors|^2 / s^2, c
    likewise within them, p = 1 / (1 + 2 w^2) and q = 1 / (1 + 2 a w^2). Hence

        E[IC] = 2 / sqrt(pi (b + c)) * integral over w > 0 of
            p^((N - S) / 2) q^((S - 1) / 2) (c p + b q) exp(-w^2 (c p + b q)),

    and as the rank of an asset is one and the number of those below it,

        E[RankIC] = 12 / (N (N^2 - 1)) * sum over i of (rank(M[i]) - (N + 1) / 2)
            * sum over j of Phi((M[i] - M[j]) / sd[i, j]),

    where sd^2 is 2 s^2, and 2 V sector_sd^2 more for assets of two sectors. The first is that of
    log returns; that of simple ones differs by a share of the variance of a few days' returns. The
    second holds for both.

    Args:
        market: a simulated panel.
        horizon: trading days, of ``HORIZONS``.
    """
    law, n_days = market.law, len(market.panel.dates)
    signal_sums = _signal_sums(np.log(market.panel.close), horizon, law)
    signal = signal_sums[horizon:] - signal_sums[:n_days]
    # What lies beyond the last day was not drawn.
    sums = np.append(0.0, np.cumsum(market.volatility**2))
    variance = np.full(n_days, np.nan)
    variance[: n_days - horizon] = sums[horizon + 1 :] - sums[1 : n_days - horizon + 1]
    return BayesIC(
        ic=_expected_pearson(signal, variance, law),
        rank_ic=_expected_spearman(signal, variance, law),
    )


def _volatility(uniforms: PriceArray) -> PriceArray:
    """Return the factor of each day's noise, whose mean square over a long time is 1."""
    to_turbulence, to_calm = 1 - _STAYS_CALM, 1 - _STAYS_TURBULENT
    share = to_turbulence / (to_turbulence + to_calm)
    is_turbulent = uniforms < share
    turbulent = bool(is_turbulent[0])
    for day in range(1, len(uniforms)):
        turbulent = bool(uniforms[day] < (_STAYS_TURBULENT if turbulent else to_turbulence))
        is_turbulent[day] = turbulent
    calm = 1 / math.sqrt(1 - share + share * _TURBULENT**2)
    return np.where(is_turbulent, calm * _TURBULENT, calm)


def _sector_rows(law: PanelLaw) -> IndexArray:
    return np.repeat(np.arange(law.n_sectors), law.n_assets // law.n_sectors)


def _signal_sums(logs: PriceArray, horizon: int, law: PanelLaw) -> PriceArray:
    """Return the sum of the signals before each day, up to a horizon after the last day.

    The difference of day t + h and day t is that of the next h days, which the closes up to day t
    show. The shape is (n_days + horizon, n_assets).
    """
    sums = np.zeros((len(logs) + horizon, law.n_assets))
    sums[1:] = np.cumsum(_drifts(logs, np.arange(len(sums) - 1), law), axis=0)
    return sums


def _drifts(logs: PriceArray, days: IndexArray, law: PanelLaw) -> PriceArray:
    """Return the signal of some days, of which the closes are needed up to 20 days before."""
    late, far = (logs[np.maximum(days - back, 0)] for back in (_SKIP, _FAR))
    led = 2 * np.tanh(_standardised(late - far) / 2)
    signal: PriceArray = law.drift_sd * _standardised((_TURN - led) ** 2)
    return signal


def _standardised(values: PriceArray) -> PriceArray:
    """Return values less their day's mean, over their standard deviation; 0 where none differ."""
    centred = values - values.mean(axis=1, keepdims=True)
    sd = np.sqrt((centred**2).mean(axis=1, keepdims=True))
    found: PriceArray = np.divide(centred, sd, out=np.zeros_like(centred), where=sd > 1e-9)
    return found


def _expected_pearson(signal: PriceArray, variance: PriceArray, law: PanelLaw) -> PriceArray:
    ratio = 1 + law.n_assets / law.n_sectors * (_SECTOR_SD / _OWN_SD) ** 2
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    # Half a turn of the angle covers the line; the integrand is as wide as one over sqrt(N).
    angle = (nodes + 1) * math.pi / 4
    square = np.tan(angle) ** 2 / law.n_assets
    narrow, wide = 1 / (1 + 2 * square), 1 / (1 + 2 * ratio * square)
    density = (
        narrow ** ((law.n_assets - law.n_sectors) / 2)
        * wide ** ((law.n_sectors - 1) / 2)
        / (np.cos(angle) ** 2 * math.sqrt(law.n_assets))
        * (weights * math.pi / 4)
    )
    by_sector = signal.reshape(len(signal), law.n_sectors, -1)
    # Over the variance of an asset's own returns.
    whole = (signal**2).sum(axis=1) / (_OWN_SD**2 * variance)
    between = (by_sector.mean(axis=2) ** 2).sum(axis=1) * by_sector.shape[2]
    between = between / (_OWN_SD**2 * variance)
    mean = (whole - between)[:, None] * narrow + between[:, None] * wide
    integral = (mean * np.exp(-mean * square)) @ density
    length = np.sqrt(whole)
    found: PriceArray = np.divide(
        2 / math.sqrt(math.pi) * integral, length, out=np.zeros_like(length), where=length > 0
    )
    found[np.isnan(length)] = np.nan
    return found


def _expected_spearman(signal: PriceArray, variance: PriceArray, law: PanelLaw) -> PriceArray:
    # Half a second, which the workers of a search need not wait for.
    from scipy.special import ndtr
    from scipy.stats import rankdata

    sectors, n = _sector_rows(law), law.n_assets
    differ = sectors[:, None] != sectors
    pair_sd = np.sqrt(2 * _OWN_SD**2 + 2 * _SECTOR_SD**2 * differ)
    found = np.empty(len(signal))
    for first in range(0, len(signal), _DAYS_AT_ONCE):
        part = slice(first, first + _DAYS_AT_ONCE)
        sd = pair_sd * np.sqrt(variance[part])[:, None, None]
        above = ndtr((signal[part, :, None] - signal[part, None, :]) / sd).sum(axis=2)
        centred = rankdata(signal[part], axis=1) - (n + 1) / 2
        found[part] = (centred * above).sum(axis=1) * 12 / (n * (n**2 - 1))
    return found
