"""Scores of a ranking of assets by what they earned: day by day, and as a portfolio.

Shapes: D day, A asset. Scores, returns and mask have the shape (D, A); an asset whose mask is False
on a day is not there, whatever its score and return are. A day with fewer than three assets, or
with a score or return in the mask that is not finite, has no value: NaN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from study.statistics.tied_ranks import FEWEST_ASSETS, tie_spans

ValueArray = npt.NDArray[np.floating[Any]]
MaskArray = npt.NDArray[np.bool_]
DailyArray = npt.NDArray[np.float64]

_DAYS_A_YEAR = 252
"""Trading days of a year, by which a Sharpe ratio is annualised (Sharpe 1994)."""

_CHUNK_VALUES = 2**20
"""Values that are ranked at once, a number: temporary arrays stay below 100 MiB."""

_CONFLICT_PAIRS = 8
"""Pairs of epochs by which those in order must exceed those out of order, of the ten pairs of five
epochs: 9 in order and 1 not, which Kendall's test calls a trend at 4.2 % (one-sided)."""

_CONFLICT_EPOCHS = 5
"""Epochs over which two scores are compared: the fewest that show a trend at 5 % and allow one pair
out of order."""

_Measure = Callable[[DailyArray, DailyArray, MaskArray], DailyArray]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LongShort:
    """What a portfolio of the highest scores, financed by the lowest, earns and trades."""

    returns_D: DailyArray
    """Return of the tranche that is bought on a day, per day of holding, before costs: a fraction
    of the capital on either side. NaN on days without a portfolio."""
    turnover_D: DailyArray
    """Weight that is traded on a day as a multiple of the capital on either side: the sum over the
    assets of the change of their weights, over ``horizon``, 0 to 4 / ``horizon``. The first
    tranches are bought whole. NaN on days without a portfolio."""

    def net_D(self, cost_basis_points: float) -> DailyArray:
        """Return the returns after costs of so many basis points of the weight that is traded."""
        return self.returns_D - self.turnover_D * (cost_basis_points * 1e-4)


def daily_ic(score_DA: ValueArray, return_DA: ValueArray, mask_DA: MaskArray) -> DailyArray:
    """Return Pearson's correlation of scores and returns across the assets of each day, (D,).

    It is 0 where all scores are equal, because a model that ranks nothing knows nothing, and NaN
    where all returns are, because there was nothing to know.
    """
    return _daily(_correlation, score_DA, return_DA, mask_DA)


def daily_rank_ic(score_DA: ValueArray, return_DA: ValueArray, mask_DA: MaskArray) -> DailyArray:
    """Return Spearman's correlation of scores and returns across the assets of each day, (D,).

    Ties have their mean rank. Equal scores and equal returns count as in ``daily_ic``.
    """
    return _daily(_rank_correlation, score_DA, return_DA, mask_DA)


def daily_hit_rate(score_DA: ValueArray, return_DA: ValueArray, mask_DA: MaskArray) -> DailyArray:
    """Return the share of assets whose score and return lie on one side of their medians, (D,).

    An asset whose score or return is the median itself counts one half, so that scores that know
    nothing have .5 on the mean, be the number of assets odd or even, and equal scores exactly. NaN
    where all returns are equal.
    """
    return _daily(_hit_rate, score_DA, return_DA, mask_DA)


def long_short(
    score_DA: ValueArray,
    return_DA: ValueArray,
    mask_DA: MaskArray,
    *,
    horizon: int,
    share: float,
) -> LongShort:
    """Return what the assets of the highest scores earn above those of the lowest.

    On each day one of ``horizon`` tranches is formed: equal weights that sum to +1 on the top share
    of the day's assets and to -1 on the bottom share, held for ``horizon`` days and then replaced.
    Ties at the border of a share divide what is left of it, so that the order of the assets does
    not matter; equal scores hold nothing. Weights do not drift with prices between two trades. A
    tranche whose day has no portfolio keeps its weights until its next day.

    Args:
        score_DA: higher is better.
        return_DA: returns of the next ``horizon`` days, fractions.
        mask_DA: assets that are ranked.
        horizon: days of holding; row t - ``horizon`` holds the tranche that row t replaces.
        share: part of a day's assets on either side, in (0, .5]; rounded down, at least one asset.
    """
    n_days, n_assets = score_DA.shape
    weight_DA = np.zeros((n_days, n_assets))
    returns_D, turnover_D = np.full(n_days, np.nan), np.full(n_days, np.nan)
    has_portfolio_D = np.zeros(n_days, dtype=bool)
    for days in _chunks(n_days, n_assets):
        mask, earned = mask_DA[days], return_DA[days]
        has_portfolio_D[days] = _is_judged(score_DA[days], earned, mask)
        weight_DA[days] = _weights(score_DA[days], mask, share)
        weight_DA[days][~has_portfolio_D[days]] = 0
        # A return that is not known is NaN, and would make a sum of products with weight 0 NaN.
        known = np.where(mask, earned, 0).astype(np.float64)
        returns_D[days] = np.einsum("da,da->d", weight_DA[days], known) / horizon
    replaced_D = _replaced_days(has_portfolio_D, horizon)
    for days in _chunks(n_days, n_assets):
        is_first = (replaced_D[days] < 0)[:, None]
        before = np.where(is_first, 0, weight_DA[replaced_D[days]])
        turnover_D[days] = np.abs(weight_DA[days] - before).sum(axis=1) / horizon
    returns_D[~has_portfolio_D], turnover_D[~has_portfolio_D] = np.nan, np.nan
    return LongShort(returns_D=returns_D, turnover_D=turnover_D)


def sharpe(returns_D: DailyArray, horizon: int) -> float | None:
    """Return the Sharpe ratio a year of daily tranches that are each held ``horizon`` days.

    It is mean / sd * sqrt(252 / horizon) of the tranches' returns (sd with n - 1), which is the
    same for returns of the whole holding and per day of it. This is the ratio of one tranche that
    is replaced every ``horizon`` days, averaged over the days on which it may begin: a year has 252
    / horizon of its returns, which do not overlap. The daily returns of the portfolio of all
    tranches would be needed for the portfolio's own ratio, and returns over ``horizon`` days do not
    determine them. Bias: as the portfolio holds tranches that differ, its variance is at most that
    of one, so the value is too low, by up to a factor sqrt(horizon) for scores that change wholly
    every day, and right for scores that last. Returns that trend from one holding to the next make
    every such ratio too high (Lo 2002, https://doi.org/10.2469/faj.v58.n4.2453). With horizon 1 it
    is the usual ratio.

    Args:
        returns_D: of ``long_short``, before or after costs; NaN days are left out.
        horizon: days of holding.

    Returns: None with fewer than two returns, or where all are equal.
    """
    ratio = icir(returns_D)
    return None if ratio is None else ratio * float(np.sqrt(_DAYS_A_YEAR / horizon))


def icir(values_D: DailyArray) -> float | None:
    """Return the mean of daily values over their standard deviation (with n - 1), not annualised.

    NaN days are left out. None with fewer than two values, or where all are equal.
    """
    known = _known(values_D)
    if len(known) < 2 or known.min() == known.max():
        return None
    return float(known.mean() / known.std(ddof=1))


def sharpe_influence(returns_D: DailyArray, horizon: int) -> DailyArray | None:
    """Return what each day adds to a Sharpe ratio's deviation from the true one; the mean is 0.

    The standard error of the mean of these values over blocks of days is that of the ratio (delta
    method): with z = (return - mean) / sd, a day has z - ratio / 2 * (z^2 - 1), times the factor of
    a year. Over independent normal days the error is that of Lo (2002), sqrt((1 + ratio^2 / 2) /
    n). The difference of two models' values on the same days gives the error of the paired
    difference.

    Returns: a value for each day whose return is known; None where ``sharpe`` is None.
    """
    ratio = icir(returns_D)
    if ratio is None:
        return None
    known = _known(returns_D)
    deviation = (known - known.mean()) / known.std()
    influence = deviation - ratio / 2 * (deviation**2 - 1)
    scaled: DailyArray = influence * np.sqrt(_DAYS_A_YEAR / horizon)
    return scaled


def conflict(rank_ics: Sequence[float], sharpes: Sequence[float | None]) -> str | None:
    """Return a warning where the Sharpe ratio has risen over the last epochs and RankIC has fallen.

    A ratio that rises while the ranking gets worse lives on few assets or few days, or on chance.
    Both trends must be such as five epochs without one show in one of 24 cases, each.

    Args:
        rank_ics: mean RankIC of each epoch so far.
        sharpes: Sharpe ratio of each; None where it is unknown.

    Returns: None if there is no conflict, or with fewer than five epochs, or an unknown ratio.
    """
    ranks, ratios = rank_ics[-_CONFLICT_EPOCHS:], sharpes[-_CONFLICT_EPOCHS:]
    known = [ratio for ratio in ratios if ratio is not None]
    if len(ranks) < _CONFLICT_EPOCHS or len(known) < _CONFLICT_EPOCHS:
        return None
    if _rising_pairs(known) < _CONFLICT_PAIRS or _rising_pairs(ranks) > -_CONFLICT_PAIRS:
        return None
    return (
        f"over the last {_CONFLICT_EPOCHS} epochs the Sharpe ratio rose from {known[0]:.2f} to "
        f"{known[-1]:.2f} while RankIC fell from {ranks[0]:.4f} to {ranks[-1]:.4f}: the ratio may "
        "rest on few assets or days, judge by RankIC"
    )


def _daily(
    measure: _Measure, score_DA: ValueArray, return_DA: ValueArray, mask_DA: MaskArray
) -> DailyArray:
    n_days, n_assets = score_DA.shape
    value_D = np.full(n_days, np.nan)
    for days in _chunks(n_days, n_assets):
        mask = mask_DA[days]
        # Masked assets may hold NaN, which warns in arithmetic whose result is not used.
        score, earned = (
            np.where(mask, values[days], 0).astype(np.float64) for values in (score_DA, return_DA)
        )
        is_judged = _is_judged(score, earned, mask)
        mask = mask & is_judged[:, None]
        value = measure(np.where(mask, score, 0), np.where(mask, earned, 0), mask)
        value_D[days] = np.where(is_judged & ~_is_flat(earned, mask), value, np.nan)
    return value_D


def _chunks(n_days: int, n_assets: int) -> list[slice]:
    size = max(1, _CHUNK_VALUES // max(1, n_assets))
    return [slice(start, start + size) for start in range(0, n_days, size)]


def _is_judged(score: ValueArray, earned: ValueArray, mask: MaskArray) -> MaskArray:
    is_finite = np.isfinite(score) & np.isfinite(earned)
    judged: MaskArray = (mask.sum(axis=1) >= FEWEST_ASSETS) & (is_finite | ~mask).all(axis=1)
    return judged


def _is_flat(values: DailyArray, mask: MaskArray) -> MaskArray:
    """Return on which days the values in the mask are all equal; exact, as no sum is."""
    lowest = np.min(values, axis=1, where=mask, initial=np.inf)
    flat: MaskArray = lowest == np.max(values, axis=1, where=mask, initial=-np.inf)
    return flat


def _deviations(values: DailyArray, mask: MaskArray) -> DailyArray:
    """Return the values less their mean, scaled so that squares neither overflow nor vanish.

    They are 0 outside of the mask, and exactly 0 on days on which all are equal: as multiples of
    the largest, such values are 1, and so is their mean.
    """
    count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
    largest = np.abs(values).max(axis=1, keepdims=True)
    scaled = values / np.where(largest > 0, largest, 1)
    deviation = scaled - scaled.sum(axis=1, keepdims=True) / count
    deviation[~mask] = 0
    widest = np.abs(deviation).max(axis=1, keepdims=True)
    unit: DailyArray = deviation / np.where(widest > 0, widest, 1)
    return unit


def _correlation(score: DailyArray, earned: DailyArray, mask: MaskArray) -> DailyArray:
    x, y = _deviations(score, mask), _deviations(earned, mask)
    product, of_x, of_y = (np.einsum("da,da->d", a, b) for a, b in ((x, y), (x, x), (y, y)))
    squares = of_x * of_y
    quotient = product / np.sqrt(np.where(squares > 0, squares, 1))
    correlation: DailyArray = np.clip(quotient, -1, 1)
    return correlation


def _rank_correlation(score: DailyArray, earned: DailyArray, mask: MaskArray) -> DailyArray:
    def ranks(values: DailyArray) -> DailyArray:
        first, last = tie_spans(np.where(mask, values, np.inf))
        return np.where(mask, (first + last) / 2 + 1, 0)

    return _correlation(ranks(score), ranks(earned), mask)


def _hit_rate(score: DailyArray, earned: DailyArray, mask: MaskArray) -> DailyArray:
    count = mask.sum(axis=1, keepdims=True)

    def sides(values: DailyArray) -> DailyArray:
        ascending = np.sort(np.where(mask, values, np.inf), axis=1)
        low = np.take_along_axis(ascending, np.maximum(count - 1, 0) // 2, axis=1)
        high = np.take_along_axis(ascending, np.minimum(count // 2, mask.shape[1] - 1), axis=1)
        # The mean of the two middle values may round to one of them, which then has no side.
        return (values >= high).astype(np.float64) - (values <= low)

    agreement = np.where(mask, (1 + sides(score) * sides(earned)) / 2, 0)
    rate: DailyArray = agreement.sum(axis=1) / np.maximum(count[:, 0], 1)
    return rate


def _weights(score: ValueArray, mask: MaskArray, share: float) -> DailyArray:
    count = mask.sum(axis=1, keepdims=True)
    # A share like .29 of 100 assets is 28.999999999999996 in binary.
    size = np.maximum(np.floor(share * count + 1e-9), 1)
    first, last = tie_spans(np.where(mask, score, np.inf))
    tied = last - first + 1
    top = np.clip((size - (count - 1 - last)) / tied, 0, 1) / size
    bottom = np.clip((size - first) / tied, 0, 1) / size
    weights: DailyArray = np.where(mask, top - bottom, 0)
    return weights


def _replaced_days(has_portfolio_D: MaskArray, horizon: int) -> npt.NDArray[np.int64]:
    """Return the day whose weights each day's tranche replaces; -1 where it is the first."""
    n_days = len(has_portfolio_D)
    held_D = np.where(has_portfolio_D, np.arange(n_days), -1)
    for tranche in range(min(horizon, n_days)):
        held_D[tranche::horizon] = np.maximum.accumulate(held_D[tranche::horizon])
    replaced_D = np.full(n_days, -1)
    replaced_D[horizon:] = held_D[:-horizon]
    return replaced_D


def _known(values_D: DailyArray) -> DailyArray:
    return values_D[~np.isnan(values_D)]


def _rising_pairs(values: Sequence[float]) -> int:
    """Return by how many the pairs that rise exceed those that fall: Kendall's S of a trend."""
    array = np.asarray(values)
    return int(np.sign(array[None, :] - array[:, None])[np.triu_indices(len(array), 1)].sum())
