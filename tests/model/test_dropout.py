import pytest
import torch

from study.model.dropout import apply_mask_, draw_mask, dropout, keep_probability

N = 1_000_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.1, 0.2, 0.5, 0.9, 0.999])
def test_masks_keep_the_share_they_state(rate: float) -> None:
    keep = keep_probability(rate)
    assert abs(keep - (1 - rate)) <= 1 / 256
    mask = draw_mask(N, rate, generator())
    assert mask.dtype == torch.uint8
    assert int(mask.max()) <= 1
    sigma = (keep * (1 - keep) / N) ** 0.5
    assert abs(mask.float().mean().item() - keep) <= 5 * sigma


def test_every_byte_of_a_word_is_random() -> None:
    # The top byte holds the sign bit, which random_() without a lower bound never sets.
    by_byte = draw_mask(N, 0.5, generator()).view(-1, 8).float().mean(dim=0)
    assert torch.allclose(by_byte, torch.full((8,), 0.5), atol=0.01)
    correlation = torch.corrcoef(draw_mask(N, 0.5, generator()).view(-1, 8).float().T)
    assert (correlation - torch.eye(8)).abs().max() < 0.02


def test_calls_are_independent_and_a_state_repeats_them() -> None:
    source = generator()
    first = draw_mask(N, 0.3, source)
    state = source.get_state()
    second = draw_mask(N, 0.3, source)
    both = torch.stack((first, second)).float()
    assert torch.corrcoef(both)[0, 1].abs() < 0.01
    source.set_state(state)
    assert torch.equal(draw_mask(N, 0.3, source), second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dropout_keeps_the_mean_and_scales_what_it_keeps(dtype: torch.dtype) -> None:
    x = torch.ones(N, dtype=dtype)
    out = dropout(x, 0.2, training=True, generator=generator()).double()
    assert out.mean().item() == pytest.approx(1, abs=5e-3)
    keep = keep_probability(0.2)
    assert out.var().item() == pytest.approx((1 - keep) / keep, rel=0.02)
    assert set(torch.unique(out).tolist()) <= {
        0.0,
        (torch.ones((), dtype=dtype) / keep).double().item(),
    }


def test_the_gradient_has_the_same_mask() -> None:
    x = torch.randn(1000, requires_grad=True)
    out = dropout(x, 0.4, training=True, generator=generator())
    (grad,) = torch.autograd.grad(out, x, torch.ones_like(out))
    assert torch.equal(grad == 0, out == 0)
    assert torch.allclose(grad * x, out)


def test_evaluation_and_rate_zero_change_nothing_and_draw_nothing() -> None:
    source = generator()
    before = source.get_state()
    x = torch.randn(10)
    assert dropout(x, 0.5, training=False, generator=source) is x
    assert dropout(x, 0.0, training=True, generator=source) is x
    assert torch.equal(source.get_state(), before)


def test_a_bfloat16_mask_keeps_every_bit() -> None:
    x = torch.tensor([1.5, -0.0, -3.0, float("inf")], dtype=torch.bfloat16)
    kept = apply_mask_(x.clone(), torch.ones(4, dtype=torch.uint8))
    assert torch.equal(kept.view(torch.int16), x.view(torch.int16))
    assert apply_mask_(x, torch.zeros(4, dtype=torch.uint8)).eq(0).all()
