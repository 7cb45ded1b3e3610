import math
from typing import Any

import pytest
import torch
from torch import Tensor

from study.errors import SpecError
from study.model.architecture import Head
from study.model.families.patchtst import PatchTST
from study.model.model_config import ModelConfig
from study.model.network import decay_groups

HEADS: tuple[Head, ...] = ("last", "mean", "flatten")
PATCHINGS = [(60, 10, 5), (80, 16, 8), (60, 12, 12), (30, 30, 4), (7, 1, 2), (20, 5, 5)]


def make(seed: int = 0, base_rate: float = 0.3, bf16: bool = False, **changes: Any) -> PatchTST:
    fields: dict[str, Any] = {"n_features": 5, "d_model": 16, "n_layers": 2, "n_heads": 4}
    model = PatchTST.build(ModelConfig(**{**fields, **changes}), bf16=bf16, device="cpu")
    model.initialise(torch.Generator().manual_seed(seed), base_rate)
    return model


def shake(model: PatchTST, scale: float = 1.0) -> PatchTST:
    """Give the heads, which start at zero, something to say."""
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "head" in name or "skip" in name or "revin" in name:
                parameter.add_(scale * torch.randn(parameter.shape, generator=source))
    return model


def windows(model: PatchTST, n: int = 4) -> Tensor:
    c = model.config
    source = torch.Generator().manual_seed(2)
    return torch.randn(n, c.context_length, c.n_features, generator=source)


@pytest.mark.parametrize(("context", "patch", "stride"), PATCHINGS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("revin", [False, True])
def test_the_last_day_and_every_feature_reach_the_logit(
    context: int, patch: int, stride: int, head: Head, revin: bool
) -> None:
    model = shake(
        make(
            context_length=context, patch_length=patch, patch_stride=stride, head=head, revin=revin
        )
    ).eval()
    x = windows(model)
    before = model(x).logit_B
    for feature in range(model.config.n_features):
        changed = x.clone()
        changed[:, -1, feature] += 1
        assert (model(changed).logit_B != before).all()


def test_only_the_last_tokens_days_enter_the_last_patch() -> None:
    model = make()
    x = windows(model)
    patch_BNP = model._patches(x)
    assert torch.equal(patch_BNP[:, -1], x[:, -10:].flatten(1))
    assert torch.equal(patch_BNP[:, 0], x[:, :10].flatten(1))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("options", [{}, {"revin": True, "last_day_skip": True}])
def test_training_starts_at_the_base_rate(head: Head, options: dict[str, bool]) -> None:
    model = make(base_rate=0.17, head=head, auxiliary_head=True, dropout=0.5, **options)
    prediction = model(windows(model))
    torch.testing.assert_close(torch.sigmoid(prediction.logit_B), torch.full((4,), 0.17))
    assert prediction.auxiliary_B is not None
    assert prediction.auxiliary_B.eq(0).all()


@pytest.mark.parametrize("base_rate", [0.0, 1.0, math.nan])
def test_a_base_rate_without_both_labels_is_refused(base_rate: float) -> None:
    with pytest.raises(SpecError, match="base_rate"):
        make(base_rate=base_rate)


def test_the_output_is_a_logit() -> None:
    model = shake(make(last_day_skip=True), scale=30)
    logit_B = model(windows(model, 64)).logit_B
    assert logit_B.dtype == torch.float32
    assert torch.sigmoid(logit_B).max() > 0.9
    assert logit_B.min() < 0 < logit_B.max()


def test_without_an_auxiliary_head_there_is_no_auxiliary_prediction() -> None:
    model = make()
    assert model(windows(model)).auxiliary_B is None


@pytest.mark.parametrize("head", HEADS)
def test_every_parameter_learns(head: Head) -> None:
    model = shake(make(head=head, auxiliary_head=True, revin=True, last_day_skip=True))
    prediction = model(windows(model))
    (prediction.logit_B.square().sum() + prediction.auxiliary_B.square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.ne(0).any(), name


def test_the_last_head_equals_the_full_encoder_read_at_its_last_token() -> None:
    model = shake(make(head="last")).eval()
    x = windows(model)
    stream = model.embedding(model._patches(x)) + model.position
    for layer in model.layers:
        stream = layer(stream, generator=model.dropout_generator)
    expected = model.head(model.final_norm(stream)[:, -1]).squeeze(-1)
    torch.testing.assert_close(model(x).logit_B, expected)


def test_revin_makes_the_logit_blind_to_the_scale_and_level_of_a_feature() -> None:
    model = shake(make(revin=True)).eval()
    x = windows(model)
    scaled = x * torch.tensor([2.0, 0.5, 30.0, 1.0, 7.0]) + torch.tensor([5.0, -3.0, 0, 100.0, 1.0])
    torch.testing.assert_close(model(scaled).logit_B, model(x).logit_B, rtol=1e-3, atol=1e-3)


def test_revin_leaves_a_constant_feature_finite() -> None:
    model = shake(make(revin=True)).eval()
    x = windows(model)
    x[:, :, 0] = 3.0
    assert model(x).logit_B.isfinite().all()


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    a = make(seed=5).state_dict()
    torch.manual_seed(2)
    b = make(seed=5).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["position"], make(seed=6).state_dict()["position"])


def test_dropout_repeats_from_a_saved_state_and_ignores_the_global_seed() -> None:
    model = shake(make(dropout=0.3))
    x = windows(model)
    state = model.dropout_generator.get_state()
    first = model(x).logit_B
    assert not torch.equal(model(x).logit_B, first)
    model.dropout_generator.set_state(state)
    torch.manual_seed(99)
    assert torch.equal(model(x).logit_B, first)


def test_evaluation_is_deterministic() -> None:
    model = shake(make(dropout=0.5)).eval()
    x = windows(model)
    assert torch.equal(model(x).logit_B, model(x).logit_B)


def test_a_window_does_not_see_its_neighbours() -> None:
    model = shake(make(revin=True)).eval()
    x = windows(model, 6)
    torch.testing.assert_close(model(x).logit_B[:2], model(x[:2]).logit_B)


@pytest.mark.parametrize("head", HEADS)
def test_bfloat16_stays_close_to_float32(head: Head) -> None:
    exact, rounded = (shake(make(head=head, n_layers=6, bf16=b)).eval() for b in (False, True))
    x = windows(exact, 64)
    a, b = exact(x).logit_B, rounded(x).logit_B
    assert b.dtype == torch.float32
    assert (a - b).abs().max() < 0.1 * a.std()


@pytest.mark.slow
def test_the_stream_stays_bounded_at_depth_256() -> None:
    model = make(n_layers=256).eval()
    x = model.embedding(model._patches(windows(model)))
    start = x.std()
    for layer in model.layers:
        x = layer(x, generator=model.dropout_generator)
    assert x.std() < 3 * start


def test_decay_reaches_matrices_only() -> None:
    model = make(revin=True, last_day_skip=True, auxiliary_head=True)
    decayed, undecayed = decay_groups(model)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in decayed} == {
        name for name in names.values()
        if name.endswith(".weight") and "norm" not in name
    }  # fmt: skip
    assert len(decayed) + len(undecayed) == len(names)
    assert "position" in {names[id(p)] for p in undecayed}


@pytest.mark.slow
def test_a_small_model_overfits_one_batch() -> None:
    model = make(dropout=0.1, bf16=True)
    x = windows(model, 32)
    label_B = torch.arange(32).remainder(2).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    for _ in range(150):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x).logit_B, label_B)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    assert loss.item() < 0.1
