"""The terms of the loss of a ranking, as sums over days, so that micro-batches add up exactly.

Shapes: B day, A asset. Scores and targets have the shape (B, A), as has the mask, which is False
for assets that are not there: what they hold changes nothing, and their gradient is exactly zero.
Targets are standardised across the assets of each day. Every term is one value per day, (B,), which
does not depend on other days. Where a day has fewer than three assets or equal targets, a term that
compares assets is 0.

Only operations of fixed shape are used, so that a device can capture them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from study.errors import require
from study.statistics.tied_ranks import FEWEST_ASSETS
from study.training.train_config import BaseLoss

_HUBER_DELTA = 1.0
"""Error from which Huber's loss is linear, standard deviations of the target."""

_SMALLEST_SPREAD = 1e-3
"""Least standard deviation across a day by which scores are divided, in those of the target. A
correlation's gradient grows without bound as scores approach each other; with a spread below this
one, they are treated as if they had it. Scores of squared error have about that of their
correlation with the target, .02 to .1."""

_SMALLEST_TARGET_SPREAD = 1e-6
"""Least standard deviation of targets across a day that is not taken for rounding, in their own."""

_SMALLEST_RANK_SPREAD = 0.1
"""Least standard deviation of soft ranks by which they are divided, in that of exact ranks. Scores
of unit spread stay above it at every temperature up to 1 (normal scores have .76 there).

Scores that are next to each other, as those of a new network are, therefore have a gradient in the
thousands: on 20 stocks (five days ahead, 20,000 parameters, a weight of .1) the first step
has a norm of 860 to 1,320 before clipping, and the median of all steps is 1. To count the spread
that scores lack, up to .01, as independent noise in this divisor bounds it (9 to 14 in the first
step) and changes nothing above that spread. It is not done: the best validation RankIC of six
seeds was .0015 +- .0008 lower, and clipping bounds the step anyway."""

_RISK_AVERSION = 0.2
"""Weight g of half the squared return in the utility of a day. The gradient of a Sharpe ratio m / s
is that of r - g / 2 * r^2 with g = m / (m^2 + s^2): .2 at .1 a day (1.6 a year) and s = .5, the
spread of portfolios of 20 assets of independent returns, in units of the target."""

_VOLATILITY_RANGE = (0.25, 4.0)
"""Volatility, as a multiple of its median, beyond which the weight of a day does not change."""

_CHUNK_PAIRS = 2**24
"""Pairs of assets that are compared at once, a number: 64 MiB of float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankLossWeights:
    """Which terms the loss of a ranking has. A term of weight 0 is not computed."""

    base: BaseLoss = "squared"
    """Error of every asset, averaged over the assets of a day."""
    ic: float = 0.0
    """Weight of 1 less Pearson's correlation."""
    rank: float = 0.0
    """Weight of 1 less Spearman's correlation, of soft ranks."""
    rank_temperature: float = 0.2
    """Width of a soft comparison, in standard deviations of a day's scores, in (0, 1]."""
    sharpe: float = 0.0
    """Weight of the utility of a long-short portfolio."""
    regime_strength: float = 0.0
    """Power of the past volatility by which a day's weight falls; 0 weighs all days alike."""

    def __post_init__(self) -> None:
        def check(condition: bool, rule: str, got: object) -> None:
            require(condition, "loss of a ranking", rule, got=got, remedy="Change the settings.")

        check(self.base in get_args(BaseLoss), "base must be squared or huber", self.base)
        for name in ("ic", "rank", "sharpe", "regime_strength"):
            value = getattr(self, name)
            check(0 <= value < math.inf, f"{name} must be a number from 0", value)
        temperature = self.rank_temperature
        check(0 < temperature <= 1, "rank_temperature must be above 0 and at most 1", temperature)


class PanelLossSums(NamedTuple):
    """Sums over the days of a batch, each day by its own weight; scalars on the device."""

    total: Tensor
    """What is minimised: ``base`` plus the others, each times its weight."""
    base: Tensor
    ic: Tensor | None
    """None, as the next two, where the term has no weight."""
    rank: Tensor | None
    sharpe: Tensor | None


def panel_loss_sums(
    score_BA: Tensor,
    target_BA: Tensor,
    mask_BA: Tensor,
    volatility_B: Tensor,
    *,
    weights: RankLossWeights,
) -> PanelLossSums:
    """Return the terms of the loss, summed over days.

    The sums of all micro-batches, divided by the number of days of the optimizer step, are the mean
    over that step. Without any weight, ``total`` is the base loss bit for bit.

    Args:
        score_BA: outputs of the model, float32.
        target_BA: standardised targets, float32; any value outside of the mask, NaN included.
        mask_BA: assets that count, bool.
        volatility_B: past volatility of each day as a multiple of its median.
        weights: the terms.
    """
    weight_B = day_weights(volatility_B, weights.regime_strength)

    def summed(term_B: Tensor) -> Tensor:
        return (term_B if weights.regime_strength == 0 else weight_B * term_B).sum()

    inputs = score_BA, target_BA, mask_BA
    base = summed(squared_error(*inputs) if weights.base == "squared" else huber(*inputs))
    ic = summed(ic_loss(*inputs)) if weights.ic > 0 else None
    rank = (
        summed(soft_rank_spearman_loss(*inputs, temperature=weights.rank_temperature))
        if weights.rank > 0
        else None
    )
    sharpe = summed(sharpe_loss(*inputs)) if weights.sharpe > 0 else None
    total = base
    for weight, term in ((weights.ic, ic), (weights.rank, rank), (weights.sharpe, sharpe)):
        if term is not None:
            total = total + weight * term
    return PanelLossSums(total, base, ic, rank, sharpe)


def day_weights(volatility_B: Tensor, strength: float) -> Tensor:
    """Return the weight of each day by its past volatility, volatility ** -strength.

    Volatility is a multiple of its median over the training days, so that half of them weigh more
    than 1 and half less, and the mean is about 1; beyond a quarter and four times the median the
    weight stays as it is there. A strength of 0 gives exactly 1.
    """
    return volatility_B.clamp(*_VOLATILITY_RANGE) ** -strength


def squared_error(score_BA: Tensor, target_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """Return the squared error averaged over the assets of each day, (B,)."""
    score_BA, target_BA = _masked(score_BA, mask_BA), _masked(target_BA, mask_BA)
    return (score_BA - target_BA).square().sum(1) / _counts(mask_BA, score_BA)


def huber(score_BA: Tensor, target_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """Return Huber's loss averaged over the assets of each day, (B,).

    Half the squared error up to one standard deviation of the target, and linear beyond.
    """
    score_BA, target_BA = _masked(score_BA, mask_BA), _masked(target_BA, mask_BA)
    loss_BA = functional.huber_loss(score_BA, target_BA, reduction="none", delta=_HUBER_DELTA)
    return loss_BA.sum(1) / _counts(mask_BA, score_BA)


def ic_loss(score_BA: Tensor, target_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """Return 1 less Pearson's correlation of scores and targets of each day, (B,)."""
    correlation_B = _correlation(
        _centred(score_BA, mask_BA), _centred(target_BA, mask_BA), mask_BA, _SMALLEST_SPREAD
    )
    return _where_judged(1 - correlation_B, target_BA, mask_BA)


def soft_rank_spearman_loss(
    score_BA: Tensor, target_BA: Tensor, mask_BA: Tensor, *, temperature: float
) -> Tensor:
    """Return 1 less the correlation of soft ranks of scores with exact ranks of targets, (B,).

    The soft rank of an asset is 1/2 + sum over the day's assets of sigmoid((its score - theirs) /
    temperature), scores in standard deviations of the day. As the temperature falls it becomes the
    exact rank, ties having their mean, whose own gradient is zero wherever it exists. The term
    takes time in proportion to the pairs of assets, and memory for 64 MiB of them (or for those of
    one asset on every day of the batch, if that is more).

    Args:
        score_BA: outputs of the model.
        target_BA: targets.
        mask_BA: assets that count.
        temperature: in (0, 1].
    """
    count_B = _counts(mask_BA, score_BA)
    score_BA = _centred(score_BA, mask_BA)
    spread_B = (score_BA.square().sum(1) / count_B).clamp_min(_SMALLEST_SPREAD**2).sqrt()
    scaled_BA = score_BA / (spread_B * temperature).unsqueeze(1)
    # Ranks of n assets have the variance (n^2 - 1) / 12.
    unit_B1 = ((count_B.square() - 1).clamp_min(1) / 12).sqrt().unsqueeze(1)
    ranks_BA: Tensor = _SoftRanks.apply(scaled_BA, mask_BA)  # type: ignore[no-untyped-call]
    soft_BA = _centred(ranks_BA, mask_BA) / unit_B1
    with torch.no_grad():
        target_ranks_BA = _compare(_masked(target_BA, mask_BA), mask_BA, Tensor.sign_)
        exact_BA = _centred(target_ranks_BA, mask_BA)
    correlation_B = _correlation(soft_BA, exact_BA / unit_B1, mask_BA, _SMALLEST_RANK_SPREAD)
    return _where_judged(1 - correlation_B, target_BA, mask_BA)


def sharpe_loss(score_BA: Tensor, target_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """Return minus the mean-variance utility of each day's long-short portfolio, (B,).

    Weights are the scores less their mean, scaled to sum to +1 on the long and to -1 on the short
    side; r is what they earn, in units of the target; the utility is r - g / 2 * r^2. A Sharpe
    ratio, mean / sd over days, is no sum over days: its value and its gradient would depend on the
    size of the micro-batch. The utility is one, and has the gradient of the ratio where g = mean /
    (mean^2 + variance), of which g here is a typical value. As targets are standardised, days count
    alike, calm or stormy.
    """
    deviation_BA = _centred(score_BA, mask_BA)
    count_B = _counts(mask_BA, score_BA)
    mean_B = (deviation_BA.abs().sum(1) / count_B).clamp_min(_SMALLEST_SPREAD)
    weight_BA = deviation_BA / (mean_B * count_B / 2).unsqueeze(1)
    return_B = (weight_BA * _masked(target_BA, mask_BA)).sum(1)
    utility_B = return_B - _RISK_AVERSION / 2 * return_B.square()
    return _where_judged(-utility_B, target_BA, mask_BA)


class _SoftRanks(torch.autograd.Function):
    """Soft ranks less their mean, whose pairs of assets are compared anew on the way back.

    Kept comparisons would take 64 MB for each day of 4,000 assets.
    """

    @staticmethod
    def forward(ctx: Any, scaled_BA: Tensor, mask_BA: Tensor) -> Tensor:
        """Return the ranks of scores whose comparison has width 1."""
        ctx.save_for_backward(scaled_BA, mask_BA)
        # A sigmoid is (1 + tanh(x / 2)) / 2.
        return _compare(scaled_BA, mask_BA, lambda pairs_BCA: pairs_BCA.div_(2).tanh_())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BA: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the scores: what their own rank gives, less what others lose.

        The given gradient is 0 outside of the mask, where what is returned means nothing.
        """
        scaled_BA, mask_BA = ctx.saved_tensors
        result_BA = torch.empty_like(scaled_BA)
        for assets in _chunks(scaled_BA):
            slope_BCA = scaled_BA[:, assets, None] - scaled_BA[:, None, :]
            slope_BCA.div_(2).tanh_().square_().neg_().add_(1).div_(4).mul_(mask_BA[:, None, :])
            own_BC = gradient_BA[:, assets] * slope_BCA.sum(2)
            # The slope of a comparison is the same from either side.
            result_BA[:, assets] = own_BC - slope_BCA.mul_(gradient_BA[:, None, :]).sum(2)
        return result_BA, None


def _compare(value_BA: Tensor, mask_BA: Tensor, compare_: Callable[[Tensor], Tensor]) -> Tensor:
    """Return half the sum of comparisons of each asset with those in the mask, (B, A).

    With signs it is the mean rank of ties, less the mean of all ranks.

    Args:
        value_BA: what is compared.
        mask_BA: assets with which the others are compared.
        compare_: comparison of differences, in place: odd, from -1 to 1.
    """
    result_BA = torch.empty_like(value_BA)
    for assets in _chunks(value_BA):
        pairs_BCA = value_BA[:, assets, None] - value_BA[:, None, :]
        result_BA[:, assets] = compare_(pairs_BCA).mul_(mask_BA[:, None, :]).sum(2) / 2
    return result_BA


def _chunks(value_BA: Tensor) -> list[slice]:
    """Return groups of assets whose pairs with all others are few enough to be held at once."""
    n_assets = value_BA.shape[1]
    size = max(1, _CHUNK_PAIRS // max(1, value_BA.numel()))
    return [slice(start, start + size) for start in range(0, n_assets, size)]


def _correlation(x_BA: Tensor, y_BA: Tensor, mask_BA: Tensor, smallest_spread: float) -> Tensor:
    """Return the correlation of each day of values whose means are 0, (B,).

    Args:
        x_BA: scores or their ranks.
        y_BA: targets or their ranks.
        mask_BA: assets that count.
        smallest_spread: least standard deviation by which ``x_BA`` is divided.
    """
    count_B = _counts(mask_BA, x_BA)
    covariance_B = (x_BA * y_BA).sum(1) / count_B
    x_variance_B = (x_BA.square().sum(1) / count_B).clamp_min(smallest_spread**2)
    y_variance_B = (y_BA.square().sum(1) / count_B).clamp_min(_SMALLEST_TARGET_SPREAD**2)
    return covariance_B / (x_variance_B.sqrt() * y_variance_B.sqrt())


def _where_judged(term_B: Tensor, target_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """Return the term, and 0 on days on which no order of assets is better than another."""
    variance_B = _centred(target_BA, mask_BA).square().sum(1) / _counts(mask_BA, target_BA)
    is_judged_B = mask_BA.sum(1) >= FEWEST_ASSETS
    is_judged_B = is_judged_B & (variance_B > _SMALLEST_TARGET_SPREAD**2)
    return torch.where(is_judged_B, term_B, torch.zeros_like(term_B))


def _masked(value_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """Return the values, and 0 outside of the mask; a product would keep what is not finite."""
    return torch.where(mask_BA, value_BA, torch.zeros_like(value_BA))


def _counts(mask_BA: Tensor, like: Tensor) -> Tensor:
    return mask_BA.sum(1).clamp_min(1).to(like.dtype)


def _centred(value_BA: Tensor, mask_BA: Tensor) -> Tensor:
    value_BA = _masked(value_BA, mask_BA)
    mean_B = value_BA.sum(1) / _counts(mask_BA, value_BA)
    return _masked(value_BA - mean_B.unsqueeze(1), mask_BA)
