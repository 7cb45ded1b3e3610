"""Computes the scores of a panel's ranks over all days of a part, in numpy."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from study.data.arrays import IndexArray, PriceArray, SampleArray
from study.data.evaluation.probability_scores import daily_means, half_means
from study.data.panel.panel import MaskArray
from study.results.scores import PanelBest, PanelValidation
from study.statistics.block_length import block_days
from study.statistics.mean_error import standard_error
from study.statistics.rank_scores import (
    daily_hit_rate,
    daily_ic,
    daily_rank_ic,
    icir,
    long_short,
    sharpe,
    sharpe_influence,
)

PanelMetric = Literal["rank_ic", "ic", "loss", "sharpe"]
"""Score that a search maximises, or the loss that it minimises."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelMetrics(PanelValidation):
    """All scores of one part of the days, with their errors: a ``PanelBest`` without its epoch."""

    loss_se: float | None
    half_losses: tuple[float, float] | None
    rank_ic_se: float | None
    ic_se: float | None
    sharpe_se: float | None
    difference: float | None
    difference_se: float | None
    further_rank_ic_se: Mapping[str, float | None] | None
    boosting_difference: float | None
    boosting_difference_se: float | None

    def validation(self) -> PanelValidation:
        """Return the scores that every epoch reports."""
        return PanelValidation(**{f.name: getattr(self, f.name) for f in fields(PanelValidation)})

    def best(self, epoch: int) -> PanelBest:
        """Return the scores that are kept if ``epoch`` is the best one."""
        names = [field.name for field in fields(PanelBest) if field.name != "epoch"]
        return PanelBest(epoch=epoch, **{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HorizonScores:
    """The scores of each day for a further horizon, float64 of shape (n_days,).

    They are NaN on a day without its labels.
    """

    horizon: int
    rank_ic: PriceArray
    ic: PriceArray

    @classmethod
    def of(
        cls, score_DA: SampleArray, *, return_DA: SampleArray, mask_DA: MaskArray, horizon: int
    ) -> "HorizonScores | None":
        """Return the scores of each day; None if a score that counts is not finite.

        Args:
            score_DA: scores of the assets.
            return_DA: their returns over the next ``horizon`` days, known where the mask is True.
            mask_DA: assets that count.
            horizon: days that a return looks ahead.
        """
        if not np.isfinite(score_DA[mask_DA]).all():
            return None
        score, returns = score_DA.astype(np.float64), return_DA.astype(np.float64)
        return cls(
            horizon=horizon,
            rank_ic=daily_rank_ic(score, returns, mask_DA),
            ic=daily_ic(score, returns, mask_DA),
        )

    @classmethod
    def pooled(
        cls, days: Sequence[IndexArray], scores: Sequence["HorizonScores"]
    ) -> "HorizonScores":
        """Return the means of each day over the folds that judge it, in the order of time."""
        return cls(
            horizon=scores[0].horizon,
            rank_ic=daily_means(days, [each.rank_ic for each in scores]),
            ic=daily_means(days, [each.ic for each in scores]),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DailyScores:
    """The scores of each day, float64 of shape (n_days,).

    A day on which all returns are equal has no RankIC, IC and hit rate, which are NaN.
    """

    base_loss: PriceArray
    """Mean squared error of the scores against the target."""
    rank_ic: PriceArray
    ic: PriceArray
    hit_rate: PriceArray
    long_short: PriceArray
    """Return of the long-short portfolio, before costs, per day of holding."""
    net: PriceArray
    """The same after costs."""
    turnover: PriceArray
    score_sd: PriceArray
    """Standard deviation of the scores across the day."""
    target_sd: PriceArray
    """Standard deviation of the target across the day."""
    further: Sequence[HorizonScores] = ()
    """Scores for further horizons."""

    @classmethod
    def of(
        cls,
        score_DA: SampleArray,
        *,
        return_DA: SampleArray,
        target_DA: SampleArray,
        mask_DA: MaskArray,
        horizon: int,
        share: float,
        cost_bps: float,
        further: Sequence[HorizonScores | None] = (),
    ) -> "DailyScores | None":
        """Return the scores of each day; None if a score that counts is not finite.

        Args:
            score_DA: scores of the assets.
            return_DA: their returns over the next ``horizon`` days, known where the mask is True.
            target_DA: what training aims at, known there too.
            mask_DA: assets that count; at least three of each day.
            horizon: days that a return looks ahead.
            share: share of the assets that is bought, and that is sold.
            cost_bps: cost of trading, basis points of what is traded.
            further: scores for further horizons, each None if one that counts is not finite.
        """
        of_heads = [each for each in further if each is not None]
        if not np.isfinite(score_DA[mask_DA]).all() or len(of_heads) < len(further):
            return None
        score, returns, target = (
            values.astype(np.float64) for values in (score_DA, return_DA, target_DA)
        )
        earned = long_short(score, returns, mask_DA, horizon=horizon, share=share)
        return cls(
            base_loss=((score - target) ** 2).mean(axis=1, where=mask_DA),
            rank_ic=daily_rank_ic(score, returns, mask_DA),
            ic=daily_ic(score, returns, mask_DA),
            hit_rate=daily_hit_rate(score, returns, mask_DA),
            long_short=earned.returns_D,
            net=earned.net_D(cost_bps),
            turnover=earned.turnover_D,
            score_sd=score.std(axis=1, where=mask_DA),
            target_sd=target.std(axis=1, where=mask_DA),
            further=of_heads,
        )

    @classmethod
    def pooled(cls, days: Sequence[IndexArray], scores: Sequence["DailyScores"]) -> "DailyScores":
        """Return the means of each day over the folds that judge it, in the order of time."""
        daily = functools.partial(daily_means, days)
        names = [field.name for field in fields(cls) if field.name != "further"]
        return cls(
            **{name: daily([getattr(each, name) for each in scores]) for name in names},
            further=[
                HorizonScores.pooled(days, own)
                for own in zip(*(each.further for each in scores), strict=True)
            ],
        )


def panel_metrics(
    daily: DailyScores,
    *,
    horizon: int,
    metric: PanelMetric,
    baseline_rank_ics: PriceArray | None,
    boosting_rank_ics: PriceArray | None = None,
) -> PanelMetrics:
    """Return the scores over all days.

    Args:
        daily: the scores of each day.
        horizon: days that a return looks ahead, for the errors and the Sharpe ratio.
        metric: what ``loss`` is computed from.
        baseline_rank_ics: RankICs of the baseline to beat on the same days.
        boosting_rank_ics: those of gradient boosting.
    """
    block = block_days(horizon)
    ratio = sharpe(daily.long_short, horizon)
    ratio_error = _sharpe_error(daily.long_short, horizon, block)
    rank_ic, ic = _known(daily.rank_ic), _known(daily.ic)
    loss: float | None
    if metric == "sharpe":
        # A ratio of 0 in the place of one that is undefined would beat every negative ratio.
        loss, loss_error = None if ratio is None else 1 - ratio, ratio_error
        halves = _sharpe_halves(daily.long_short, horizon, block)
    else:
        losses = {"rank_ic": 1 - rank_ic, "ic": 1 - ic, "loss": daily.base_loss}[metric]
        loss, loss_error = float(losses.mean()), standard_error(losses, block)
        halves = half_means(losses, block)
    difference, difference_se = _less(baseline_rank_ics, daily.rank_ic, block)
    of_boosting, of_boosting_se = _less(boosting_rank_ics, daily.rank_ic, block)
    target_sd = float(daily.target_sd.mean())
    return PanelMetrics(
        loss=loss,
        loss_se=loss_error,
        half_losses=halves,
        base_loss=float(daily.base_loss.mean()),
        rank_ic=float(rank_ic.mean()),
        rank_ic_se=standard_error(rank_ic, block),
        ic=float(ic.mean()),
        ic_se=standard_error(ic, block),
        icir=icir(rank_ic),
        hit_rate=float(_known(daily.hit_rate).mean()),
        long_short=float(daily.long_short.mean()),
        turnover=float(daily.turnover.mean()),
        sharpe=ratio,
        sharpe_se=ratio_error,
        sharpe_net=sharpe(daily.net, horizon),
        spread=float(daily.score_sd.mean()) / target_sd if target_sd > 0 else 0.0,
        difference=difference,
        difference_se=difference_se,
        boosting_difference=of_boosting,
        boosting_difference_se=of_boosting_se,
        **_further_means(daily.further),
    )


def _less(
    baseline: PriceArray | None, model: PriceArray, block: int
) -> tuple[float | None, float | None]:
    """Return the mean of a baseline's daily scores less the model's, and its error."""
    if baseline is None:
        return None, None
    difference = _known(baseline - model)
    return float(difference.mean()), standard_error(difference, block)


def _further_means(scores: Sequence[HorizonScores]) -> dict[str, Any]:
    """Return the scores of further heads by horizon, without those that have no label here."""
    known = {each.horizon: (_known(each.rank_ic), _known(each.ic)) for each in scores}
    further = {h: own for h, own in known.items() if len(own[0]) > 0}
    errors = {str(h): standard_error(ranks, block_days(h)) for h, (ranks, _) in further.items()}
    return {
        "further_rank_ic": {str(h): float(ranks.mean()) for h, (ranks, _) in further.items()}
        or None,
        "further_ic": {str(h): float(ics.mean()) for h, (_, ics) in further.items()} or None,
        "further_rank_ic_se": errors or None,
    }


def _known(values: PriceArray) -> PriceArray:
    return values[np.isfinite(values)]


def _sharpe_error(returns: PriceArray, horizon: int, block: int) -> float | None:
    influence = sharpe_influence(returns, horizon)
    return None if influence is None else standard_error(influence, block)


def _sharpe_halves(returns: PriceArray, horizon: int, block: int) -> tuple[float, float] | None:
    """Return one less the Sharpe ratios of the even and of the odd blocks; None if undefined."""
    if len(returns) < 2 * block:
        return None
    is_odd = np.arange(len(returns)) // block % 2 == 1
    even, odd = (sharpe(returns[which], horizon) for which in (~is_odd, is_odd))
    return None if even is None or odd is None else (1 - even, 1 - odd)
