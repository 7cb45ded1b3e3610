import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from study.errors import SpecError
from study.training.step import rank_losses
from study.training.step.rank_losses import (
    RankLossWeights,
    day_weights,
    huber,
    ic_loss,
    panel_loss_sums,
    sharpe_loss,
    soft_rank_spearman_loss,
    squared_error,
)

Term = Callable[[Tensor, Tensor, Tensor], Tensor]

soft_rank = partial(soft_rank_spearman_loss, temperature=0.2)
TERMS: dict[str, Term] = {
    "squared": squared_error,
    "huber": huber,
    "ic": ic_loss,
    "rank": soft_rank,
    "sharpe": sharpe_loss,
}
COMPARING = [TERMS[name] for name in ("ic", "rank", "sharpe")]
ALL_WEIGHTS = RankLossWeights(base="huber", ic=0.5, rank=0.3, sharpe=0.2, regime_strength=1.0)

every_term = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)


def drawn_days(
    n_days: int = 6, n_assets: int = 8, *, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores, standardised targets with a tie, and a mask of at least four assets a day."""
    draw = torch.Generator().manual_seed(n_days)
    score_BA, target_BA = torch.randn((2, n_days, n_assets), generator=draw, dtype=dtype)
    target_BA[:, 1] = target_BA[:, 0]
    mask_BA = torch.rand((n_days, n_assets), generator=draw) < 0.7
    mask_BA[:, :4] = True
    return score_BA, target_BA, mask_BA


@every_term
def test_gradients_are_right_and_not_zero(term: Term) -> None:
    score_BA, target_BA, mask_BA = drawn_days(3, dtype=torch.float64)
    score_BA.requires_grad_()
    assert torch.autograd.gradcheck(lambda score: term(score, target_BA, mask_BA), score_BA)
    (gradient_BA,) = torch.autograd.grad(term(score_BA, target_BA, mask_BA).sum(), score_BA)
    assert (gradient_BA[mask_BA].abs() > 1e-6).all()


@every_term
def test_order_and_masked_assets_do_not_matter(term: Term) -> None:
    score_BA, target_BA, mask_BA = drawn_days()
    score_BA.requires_grad_()
    value_B = term(score_BA, target_BA, mask_BA)
    (gradient_BA,) = torch.autograd.grad(value_B.sum(), score_BA)
    assert (gradient_BA[~mask_BA] == 0).all()

    order = torch.tensor([3, 7, 0, 5, 1, 6, 2, 4])
    shuffled = score_BA.detach()[:, order].requires_grad_()
    shuffled_B = term(shuffled, target_BA[:, order], mask_BA[:, order])
    torch.testing.assert_close(shuffled_B, value_B)
    (moved,) = torch.autograd.grad(shuffled_B.sum(), shuffled)
    torch.testing.assert_close(moved, gradient_BA[:, order])

    other, unknown = (
        torch.where(mask_BA, values, torch.full_like(values, filler))
        for values, filler in ((score_BA.detach(), 1e6), (target_BA, math.nan))
    )
    other.requires_grad_()
    other_B = term(other, unknown, mask_BA)
    assert torch.equal(other_B, value_B)
    assert torch.equal(torch.autograd.grad(other_B.sum(), other)[0], gradient_BA)


@every_term
@pytest.mark.parametrize("n_known", [0, 2])
def test_days_with_too_few_assets_do_no_harm(term: Term, n_known: int) -> None:
    score_BA, target_BA, mask_BA = drawn_days()
    # The last two have different targets.
    mask_BA[2] = torch.arange(8) >= 8 - n_known
    score_BA.requires_grad_()
    value_B = term(score_BA, target_BA, mask_BA)
    torch.autograd.backward(value_B.sum())
    assert score_BA.grad is not None
    assert torch.isfinite(score_BA.grad).all()
    if n_known == 0 or term in COMPARING:
        assert value_B[2] == 0
        assert (score_BA.grad[2] == 0).all()


@pytest.mark.parametrize("term", COMPARING)
def test_equal_scores_have_a_gradient_towards_the_order_of_the_targets(term: Term) -> None:
    _, target_BA, mask_BA = drawn_days()
    score_BA = torch.full_like(target_BA, 0.1).requires_grad_()
    torch.autograd.backward(term(score_BA, target_BA, mask_BA).sum())
    assert score_BA.grad is not None
    assert torch.isfinite(score_BA.grad).all()
    for own, target, mask in zip(score_BA.grad, target_BA, mask_BA, strict=True):
        assert pearsonr(-own[mask], target[mask]).statistic > 0.9


@pytest.mark.parametrize("term", COMPARING)
def test_equal_targets_count_nothing(term: Term) -> None:
    score_BA, target_BA, mask_BA = drawn_days()
    score_BA.requires_grad_()
    value_B = term(score_BA, torch.full_like(target_BA, 0.1), mask_BA)
    torch.autograd.backward(value_B.sum())
    assert score_BA.grad is not None
    assert (value_B == 0).all()
    assert (score_BA.grad == 0).all()


def test_errors_are_means_over_the_assets_of_a_day() -> None:
    score_BA = torch.tensor([[0.0, 0.0, 9.0], [1.0, 1.0, 1.0]])
    target_BA = torch.tensor([[0.5, -3.0, 0.0], [1.0, 1.0, 2.0]])
    mask_BA = torch.tensor([[True, True, False], [True, True, True]])
    squared_B = squared_error(score_BA, target_BA, mask_BA)
    torch.testing.assert_close(squared_B, torch.tensor([9.25 / 2, 1 / 3]))
    huber_B = huber(score_BA, target_BA, mask_BA)
    torch.testing.assert_close(huber_B, torch.tensor([(0.125 + 2.5) / 2, 0.5 / 3]))


def test_the_ic_loss_is_one_less_pearsons_correlation() -> None:
    score_BA, target_BA, mask_BA = drawn_days()
    # Scores of a small spread, as those of squared error are, are not taken for equal ones.
    found = ic_loss(score_BA * 0.01 + 3, target_BA, mask_BA)
    for value, score, target, mask in zip(found, score_BA, target_BA, mask_BA, strict=True):
        expected = 1 - pearsonr(score[mask], target[mask]).statistic
        assert float(value) == pytest.approx(expected, abs=1e-4)


def test_soft_ranks_become_exact_ones_whose_own_gradient_is_zero() -> None:
    score_BA, target_BA, mask_BA = drawn_days(20)
    expected = [
        1 - spearmanr(score[mask], target[mask]).statistic
        for score, target, mask in zip(score_BA, target_BA, mask_BA, strict=True)
    ]
    gaps = []
    for temperature in (0.2, 0.02, 2e-4):
        found = soft_rank_spearman_loss(score_BA, target_BA, mask_BA, temperature=temperature)
        gaps.append(np.abs(found.numpy() - expected).max())
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-4

    scaled = soft_rank(score_BA * 0.1, target_BA, mask_BA)
    torch.testing.assert_close(scaled, soft_rank(score_BA, target_BA, mask_BA))

    score_BA.requires_grad_()
    assert not score_BA.argsort(1).argsort(1).requires_grad
    torch.autograd.backward(soft_rank(score_BA, target_BA, mask_BA).sum())
    assert score_BA.grad is not None
    assert float(score_BA.grad[mask_BA].abs().min()) > 0


def test_soft_ranks_in_parts_are_those_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = drawn_days()
    score_BA = inputs[0].requires_grad_()

    def found() -> tuple[Tensor, Tensor]:
        value_B = soft_rank(*inputs)
        return value_B, torch.autograd.grad(value_B.sum(), score_BA)[0]

    whole = found()
    monkeypatch.setattr(rank_losses, "_CHUNK_PAIRS", 3 * score_BA.numel())
    for own, other in zip(found(), whole, strict=True):
        assert torch.equal(own, other)


def test_the_utility_of_a_day_is_computed_by_hand() -> None:
    score_BA = torch.tensor([[2.0, 0.0, -1.0, -1.0]])
    target_BA = torch.tensor([[1.0, 0.5, -0.5, -1.0]])
    # Long 1 of the first, short 1/2 of the last two.
    earned = 1 + 0.25 + 0.5
    found = sharpe_loss(score_BA, target_BA, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor([-earned + 0.1 * earned**2]))


def test_a_day_weighs_by_its_past_volatility() -> None:
    volatility_B = torch.tensor([1.0, 2.0, 0.5, 0.0, 100.0])
    expected = torch.tensor([1, 0.5, 2, 4, 0.25])
    torch.testing.assert_close(day_weights(volatility_B, 1), expected)
    assert torch.equal(day_weights(volatility_B, 0), torch.ones(5))


def test_without_weights_the_total_is_the_base_loss_bit_for_bit() -> None:
    inputs = drawn_days()
    for base, term in (("squared", squared_error), ("huber", huber)):
        weights = RankLossWeights(base=base)  # type: ignore[arg-type]
        sums = panel_loss_sums(*inputs, torch.full((6,), 3.0), weights=weights)
        assert torch.equal(sums.total, term(*inputs).sum())
        assert sums[2:] == (None, None, None)


def test_the_total_is_the_weighted_sum_of_its_terms_and_days() -> None:
    inputs = drawn_days()
    volatility_B = torch.linspace(0.5, 2, 6)
    sums = panel_loss_sums(*inputs, volatility_B, weights=ALL_WEIGHTS)
    expected = ((huber(*inputs) + 0.5 * ic_loss(*inputs)) / volatility_B).sum()
    expected += ((0.3 * soft_rank(*inputs) + 0.2 * sharpe_loss(*inputs)) / volatility_B).sum()
    torch.testing.assert_close(sums.total, expected)
    torch.testing.assert_close(sums.ic, (ic_loss(*inputs) / volatility_B).sum())


def test_micro_batches_add_up_to_the_batch() -> None:
    score_BA, target_BA, mask_BA = drawn_days(7)
    volatility_B = torch.linspace(0.5, 2, 7)
    score_BA.requires_grad_()

    def gradient(size: int) -> tuple[float, Tensor]:
        score_BA.grad = None
        total = 0.0
        for days in torch.split(torch.arange(7), size):
            inputs = (values[days] for values in (score_BA, target_BA, mask_BA, volatility_B))
            own = panel_loss_sums(*inputs, weights=ALL_WEIGHTS).total / 7
            torch.autograd.backward(own)
            total += float(own.detach())
        assert score_BA.grad is not None
        return total, score_BA.grad

    whole, whole_gradient = gradient(7)
    for size in (1, 2, 3):
        total, own_gradient = gradient(size)
        assert total == pytest.approx(whole, abs=1e-6)
        torch.testing.assert_close(own_gradient, whole_gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"base": "absolute"}, "base must be squared or huber"),
        ({"ic": -0.1}, "ic must be a number from 0"),
        ({"sharpe": math.nan}, "sharpe must be a number from 0"),
        ({"rank_temperature": 0.0}, "rank_temperature must be above 0"),
        ({"rank_temperature": 2.0}, "rank_temperature must be above 0 and at most 1"),
    ],
)
def test_weights_without_meaning_are_refused(change: dict[str, object], rule: str) -> None:
    with pytest.raises(SpecError, match=rule):
        RankLossWeights(**change)  # type: ignore[arg-type]
