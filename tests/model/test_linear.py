from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from study.model.encoder import EncoderLayer
from study.model.linear import KeptCasts, Linear
from study.model.network import Network
from tests.training.planted import MODEL, make_trainer, run_to_end, trace

BF16 = torch.bfloat16


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layer() -> Linear:
    linear = Linear(24, 40)
    with torch.no_grad():
        linear.weight.copy_(drawn(40, 24, seed=1))
        linear.bias.copy_(drawn(40, seed=2))
    return linear


def gradients(linear: Linear) -> list[Tensor]:
    """Return the gradients of two micro-batches."""
    linear.zero_grad()
    for seed in (3, 4):
        torch.autograd.backward(
            linear.product(drawn(16, 24, seed=seed), BF16).float().square().sum()
        )
    return [p.grad for p in linear.parameters() if p.grad is not None]


def test_kept_casts_change_no_product_and_no_gradient() -> None:
    plain, kept = layer(), layer()
    casts = KeptCasts([kept], BF16)
    x = drawn(16, 24, seed=5)
    for _ in range(2):
        assert torch.equal(plain.product(x, BF16), kept.product(x, BF16))
        for a, b in zip(gradients(plain), gradients(kept), strict=True):
            assert a.dtype == torch.float32
            assert torch.equal(a, b)
        for linear in (plain, kept):
            with torch.no_grad():
                linear.weight.mul_(1.1)
        assert not torch.equal(plain.product(x, BF16), kept.product(x, BF16))
        casts.refresh()


def test_only_training_reads_kept_casts() -> None:
    linear = layer()
    KeptCasts([linear], BF16)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
    x = drawn(16, 24, seed=5)
    # A validation gives the layer other weights, such as averaged ones.
    assert linear.product(x, BF16).any()
    assert not linear.eval().product(x, BF16).any()
    assert linear.state_dict().keys() == {"weight", "bias"}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["informer", "patchtst"])
def test_a_trial_with_kept_casts_is_the_trial_without(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On the CPU too the layer is composed of library kernels, as on an accelerator.
    monkeypatch.setattr(EncoderLayer, "is_fused", False)
    model = replace(MODEL, family=family)
    parts: dict[str, Any] = {
        "model": model,
        "micro_batch": 24,
        "bf16": True,
        "ema_decay": 0.9,
        "epochs": 2,
    }
    kept = run_to_end(make_trainer(**parts))
    monkeypatch.setattr(Network, "cast_maps", lambda network, device: [])
    assert trace(kept) == trace(run_to_end(make_trainer(**parts)))
