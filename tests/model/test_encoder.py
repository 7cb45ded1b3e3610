"""The fused layer against the plain composition, which is written from library modules."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from study.model.dropout import draw_mask, keep_probability
from study.model.encoder import EncoderLayer
from study.model.fused_layer import (
    MOST_COLUMN_TOKENS,
    LayerOptions,
    LayerWeights,
    fused_layer,
    n_masked,
)

D, H, M = 16, 4, 32


def layer(dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> EncoderLayer:
    made = EncoderLayer(D, H, M, dropout)
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=source) / 4 + 0.1)
    return made.to(dtype)


def window(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def gradients(out: Tensor, x: Tensor, made: nn.Module) -> tuple[Tensor, ...]:
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    return torch.autograd.grad((out * weight).sum(), (x, *made.parameters()))


@pytest.mark.parametrize("n_tokens", [5, MOST_COLUMN_TOKENS, MOST_COLUMN_TOKENS + 1])
@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_fused_equals_composed(
    last_only: bool, dtype: torch.dtype, tolerance: float, n_tokens: int
) -> None:
    made, source = layer(dtype), torch.Generator()
    x = window(3, n_tokens, D, dtype=dtype).requires_grad_()
    fused = made(x, generator=source, last_only=last_only)
    composed = made.compose(x, generator=source, dtype=dtype, last_only=last_only)
    torch.testing.assert_close(fused, composed, rtol=tolerance, atol=tolerance)
    for a, b in zip(gradients(fused, x, made), gradients(composed, x, made), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=10 * tolerance)


def test_composed_equals_the_encoder_layer_of_torch() -> None:
    made = layer()
    peer = nn.TransformerEncoderLayer(
        D, H, M, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    names = {
        "self_attn.in_proj_": "query_key_value.", "self_attn.out_proj.": "attention_out.",
        "linear1.": "feed_forward_in.", "linear2.": "feed_forward_out.",
        "norm1.": "attention_norm.", "norm2.": "feed_forward_norm.",
    }  # fmt: skip
    ours = made.state_dict()
    peer.load_state_dict(
        {
            their + kind: ours[our + kind]
            for their, our in names.items()
            for kind in ("weight", "bias")
        }
    )
    x = window(3, 5, D)
    torch.testing.assert_close(made(x, generator=torch.Generator()), peer(x))


@pytest.mark.parametrize("last_only", [False, True])
def test_the_last_token_alone_is_the_last_token(last_only: bool) -> None:
    made, x = layer(), window(3, 5, D)
    full = made(x, generator=torch.Generator())
    part = made(x, generator=torch.Generator(), last_only=True)
    torch.testing.assert_close(part, full[:, -1:])


@pytest.mark.slow
@pytest.mark.parametrize("last_only", [False, True])
def test_gradients_with_dropout_are_exact(last_only: bool) -> None:
    mask = draw_mask(
        n_masked(2, 1 if last_only else 3, D, M), 0.3, torch.Generator().manual_seed(2)
    )
    options = LayerOptions(H, torch.float64, last_only, keep_probability(0.3))

    def apply(x: Tensor, *weights: Tensor) -> Tensor:
        return fused_layer(x, mask, options, LayerWeights(*weights))

    inputs = (window(2, 3, D).requires_grad_(), *layer()._weights())
    assert torch.autograd.gradcheck(apply, inputs)


def test_dropout_falls_on_the_three_places_with_the_right_scale() -> None:
    made, x, rate = layer(), window(2, 3, D), 0.3
    keep = keep_probability(rate)
    mask = draw_mask(n_masked(2, 3, D, M), rate, torch.Generator().manual_seed(2))
    fused = fused_layer(x, mask, LayerOptions(H, x.dtype, False, keep), made._weights())
    attention, hidden, out = torch.split(mask.double() / keep, [6 * D, 6 * M, 6 * D])
    undropped = EncoderLayer(D, H, M, 0.0).double()
    undropped.load_state_dict(made.state_dict())
    nn.init.zeros_(undropped.feed_forward_out.weight)
    nn.init.zeros_(undropped.feed_forward_out.bias)
    update = undropped(x, generator=torch.Generator()) - x
    middle = x + update * attention.view(2, 3, D)
    inner = F.gelu(made.feed_forward_in(made.feed_forward_norm(middle))) * hidden.view(2, 3, M)
    expected = middle + made.feed_forward_out(inner) * out.view(2, 3, D)
    torch.testing.assert_close(fused, expected)


@pytest.mark.parametrize("n_tokens", [11, MOST_COLUMN_TOKENS + 1])
def test_bfloat16_products_stay_close_to_float32(n_tokens: int) -> None:
    made = layer(torch.float32)
    x = window(8, n_tokens, D, dtype=torch.float32).requires_grad_()
    exact = made(x, generator=torch.Generator())
    rounded = made(x, generator=torch.Generator(), bf16=True)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).norm() < 0.02 * exact.norm()
    for a, b in zip(gradients(rounded, x, made), gradients(exact, x, made), strict=True):
        assert (a - b).norm() < 0.05 * b.norm() + 1e-3


@pytest.mark.parametrize("n_heads", [1, 2, 8, 16])
def test_every_width_of_a_head_is_laid_out_rightly(n_heads: int) -> None:
    made = EncoderLayer(D, n_heads, M, 0.0)
    x = window(2, 7, D, dtype=torch.float32)
    torch.testing.assert_close(
        made(x, generator=torch.Generator()),
        made.compose(x, generator=torch.Generator(), dtype=torch.float32),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    made(x, generator=torch.Generator(), bf16=True).sum().backward()
