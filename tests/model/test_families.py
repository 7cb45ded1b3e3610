"""What holds for the networks of every family, and that a family is one file."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from study.errors import SpecError
from study.model import architecture
from study.model.architecture import FAMILY_NAMES, Architecture, Head
from study.model.families import FAMILIES, family_of
from study.model.families.itransformer import ITransformer
from study.model.memory import step_memory
from study.model.model_config import ModelConfig
from study.model.network import Network, decay_groups
from study.model.sensitivity import require_sensitivity
from study.model.sizing import count_parameters, feasible_grid, step_flops

HEADS: tuple[Head, ...] = ("last", "mean", "flatten")


def small(**changes: Any) -> ModelConfig:
    fields: dict[str, Any] = {"n_features": 5, "d_model": 16, "n_layers": 2, "n_heads": 4}
    return ModelConfig(**{**fields, **changes})


def make(seed: int = 0, *, bf16: bool = False, **changes: Any) -> Network:
    config = small(**changes)
    model = family_of(config).build(config, bf16=bf16, device="cpu")
    model.initialise(torch.Generator().manual_seed(seed), 0.3)
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "head" in name or "skip" in name or "revin" in name:
                parameter.add_(torch.randn(parameter.shape, generator=source))
    return model


def windows(model: Network, n: int = 4) -> Tensor:
    c = model.config
    source = torch.Generator().manual_seed(2)
    return torch.randn(n, c.context_length, c.n_features, generator=source)


def test_a_command_refuses_the_families_that_there_are_none_of() -> None:
    assert tuple(FAMILIES) == FAMILY_NAMES
    assert {"patchtst", "itransformer"} <= set(FAMILIES)
    with pytest.raises(SpecError, match=r"family must be one of .*, patchtst, .*'autoformer'"):
        make(family="autoformer")


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(
    family=st.sampled_from(FAMILY_NAMES),
    head=st.sampled_from(HEADS),
    revin=st.booleans(),
    skip=st.booleans(),
    auxiliary=st.booleans(),
    n_horizons=st.sampled_from([1, 4]),
    n_features=st.sampled_from([1, 2, 7, 25, 211]),
    shape=st.sampled_from([(24, 1, 3), (24, 3, 4), (64, 2, 2), (192, 5, 1)]),
    patching=st.sampled_from([(60, 10, 5), (80, 16, 8), (20, 20, 7), (7, 1, 1)]),
)
def test_every_network_counts_as_built(
    family: str,
    head: Head,
    revin: bool,
    skip: bool,
    auxiliary: bool,
    n_horizons: int,
    n_features: int,
    shape: tuple[int, int, int],
    patching: tuple[int, int, int],
) -> None:
    (d_model, n_layers, ratio), (context, patch, stride) = shape, patching
    config = ModelConfig(
        family=family, n_features=n_features, d_model=d_model, n_layers=n_layers, n_heads=4,
        d_ff_ratio=ratio, head=head, revin=revin, last_day_skip=skip,
        auxiliary_head=auxiliary and n_horizons == 1, n_horizons=n_horizons, n_assets=n_horizons,
        context_length=context, patch_length=patch, patch_stride=stride,
    )  # fmt: skip
    built = family_of(config).build(config, bf16=False, device="meta")
    assert count_parameters(config) == sum(p.numel() for p in built.parameters())
    assert built.position.shape[0] == family_of(config).n_tokens(config)


@pytest.mark.parametrize("n_features", [25, 211])
def test_a_grid_of_itransformers_is_counted_as_such(n_features: int) -> None:
    template = ModelConfig(
        family="itransformer", n_features=n_features, d_model=64, n_layers=2, n_heads=2
    )
    grid = feasible_grid(
        2_000_000, 0.25, template=template,
        d_model=[64, 128, 192, 256, 384], n_layers=[1, 2, 4, 8, 48], n_heads=[4], d_ff_ratio=[2, 4],
    )  # fmt: skip
    assert grid
    for config in grid:
        assert config.family == "itransformer"
        built = family_of(config).build(config, bf16=False, device="meta")
        count = sum(p.numel() for p in built.parameters())
        assert count == count_parameters(config)
        assert abs(count / 2_000_000 - 1) <= 0.25


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("head", HEADS)
def test_a_logit_per_window(family: str, head: Head) -> None:
    model = make(family=family, head=head, auxiliary_head=True)
    prediction = model(windows(model, 3))
    assert prediction.logit_B.shape == (3,)
    assert prediction.auxiliary_B is not None
    assert prediction.auxiliary_B.shape == (3,)
    assert make(family=family)(windows(model)).auxiliary_B is None


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("revin", [False, True])
def test_every_feature_and_the_last_day_reach_the_logit(
    family: str, head: Head, revin: bool
) -> None:
    model = make(family=family, head=head, revin=revin).eval()
    x = windows(model)
    before = model(x).logit_B
    for feature in range(model.config.n_features):
        changed = x.clone()
        changed[:, -1, feature] += 1
        assert (model(changed).logit_B != before).all()


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("head", HEADS)
def test_it_matters_which_feature_is_which(family: str, head: Head) -> None:
    model = make(family=family, head=head).eval().double()
    x = windows(model).double()
    swapped = x[:, :, [1, 0, 2, 3, 4]]
    assert ((model(swapped).logit_B - model(x).logit_B).abs() > 1e-6).all()


def test_without_positions_an_itransformer_would_not_know_its_features() -> None:
    model = make(family="itransformer").eval().double()
    with torch.no_grad():
        model.position.zero_()
    x = windows(model).double()
    torch.testing.assert_close(model(x[:, :, [1, 0, 2, 3, 4]]).logit_B, model(x).logit_B)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_last_head_equals_the_full_encoder_read_at_its_last_token(family: str) -> None:
    model = make(family=family, head="last").eval()
    x = windows(model)
    stream = model.embedding(model._patches(x)) + model.position
    for layer in model.layers:
        stream = layer(stream, generator=model.dropout_generator)
    expected = model.head(model.final_norm(stream)[:, -1]).squeeze(-1)
    torch.testing.assert_close(model(x).logit_B, expected)


def test_the_last_token_of_an_itransformer_reads_no_day_by_itself() -> None:
    model = make(family="itransformer", n_layers=1)
    assert isinstance(model, ITransformer)
    patch_BNP = model._patches(windows(model))
    assert patch_BNP.shape == (4, 6, 60)
    assert patch_BNP[:, -1].eq(0).all()
    assert torch.equal(patch_BNP[:, 2], windows(model)[:, :, 2])
    assert make(family="itransformer", head="mean")._patches(windows(model)).shape == (4, 5, 60)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_parameter_learns_and_decay_reaches_matrices_only(family: str) -> None:
    model = make(family=family, auxiliary_head=True, revin=True, last_day_skip=True, dropout=0.2)
    prediction = model(windows(model))
    (prediction.logit_B.square().sum() + prediction.auxiliary_B.square().sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.ne(0).any(), name
    decayed, undecayed = decay_groups(model)
    assert all(p.ndim == 2 for p in decayed)
    assert any(p is model.position for p in undecayed)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_seed_alone_decides_weights_and_dropout(family: str) -> None:
    a, b, other = (make(seed, family=family, dropout=0.3) for seed in (5, 5, 6))
    x = windows(a)
    torch.manual_seed(0)
    first = a(x).logit_B
    torch.manual_seed(1)
    assert torch.equal(b(x).logit_B, first)
    assert not torch.equal(other(x).logit_B, first)


@pytest.mark.parametrize("n_features", [5, 50])
@pytest.mark.parametrize("head", HEADS)
def test_an_itransformer_in_bfloat16_stays_close_to_float32(head: Head, n_features: int) -> None:
    fields: dict[str, Any] = {"family": "itransformer", "n_features": n_features, "n_layers": 6}
    exact, rounded = (make(head=head, bf16=b, **fields).eval() for b in (False, True))
    x = windows(exact, 64)
    a, b = exact(x).logit_B, rounded(x).logit_B
    assert b.dtype == torch.float32
    assert (a - b).abs().max() < 0.1 * a.std()


def test_an_itransformer_takes_any_context_and_ignores_patches() -> None:
    a = ModelConfig(family="itransformer", n_features=3, d_model=8, n_layers=1, n_heads=2,
                    context_length=61, patch_length=10, patch_stride=7)  # fmt: skip
    b = ModelConfig(family="itransformer", n_features=3, d_model=8, n_layers=1, n_heads=2,
                    context_length=61, patch_length=99, patch_stride=1)  # fmt: skip
    assert count_parameters(a) == count_parameters(b)
    assert step_flops(a, 2) == step_flops(b, 2)
    assert step_memory(a, 2, bf16=False, ema=True) == step_memory(b, 2, bf16=False, ema=True)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("head", HEADS)
def test_the_operations_of_a_step_are_those_that_are_done(family: str, head: Head) -> None:
    config = ModelConfig(
        family=family, n_features=40, d_model=64, n_layers=3, n_heads=4, head=head,
        auxiliary_head=True,
    )  # fmt: skip
    model = family_of(config).build(config, bf16=False, device="meta")
    with torch.device("meta"):
        x = torch.empty(2, config.context_length, config.n_features)
        # Not on the CPU, the layers are composed of products that can be counted.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            prediction = model(x)
            (prediction.logit_B + prediction.auxiliary_B).sum().backward()
    assert counter.get_total_flops() == step_flops(config, 2)


class Days(Network):
    """A token is a day."""

    unread = ("patch_length", "patch_stride")

    @classmethod
    def check(cls, config: Architecture) -> None:
        pass

    @classmethod
    def n_tokens(cls, config: Architecture) -> int:
        return config.context_length

    @classmethod
    def patch_width(cls, config: Architecture) -> int:
        return config.n_features

    def _patches(self, x_BTF: Tensor) -> Tensor:
        return x_BTF


class Blind(Days):
    """Two features of five are not read."""

    def _patches(self, x_BTF: Tensor) -> Tensor:
        return x_BTF * x_BTF.new_tensor([1, 0, 1, 1, 0])


@pytest.fixture
def more_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register a family that is sound, and one that is not."""
    monkeypatch.setitem(FAMILIES, "days", Days)
    monkeypatch.setitem(FAMILIES, "blind", Blind)
    monkeypatch.setattr(architecture, "FAMILY_NAMES", tuple(FAMILIES))


def test_another_family_is_one_class(more_families: None) -> None:
    config, model = small(family="days"), make(family="days")
    assert count_parameters(config) == sum(p.numel() for p in model.parameters())
    assert model(windows(model)).logit_B.shape == (4,)
    assert require_sensitivity(config, list("abcde")).least[1] > 0
    assert step_memory(config, 8, bf16=True, ema=True).activations > 0


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("head", HEADS)
def test_a_feature_that_is_not_read_is_an_error(
    more_families: None, head: Head, skip: bool
) -> None:
    # The linear path reads them all, and must not excuse the encoder.
    config = small(family="blind", head=head, last_day_skip=skip)
    names = ["open", "vix", "high", "low", "volume"]
    with pytest.raises(SpecError, match=r"family blind: .* but got none from vix, volume with"):
        require_sensitivity(config, names)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("options", [{}, {"revin": True, "last_day_skip": True, "dropout": 0.5}])
def test_every_feature_of_a_family_is_read(
    family: str, head: Head, options: dict[str, Any]
) -> None:
    config = ModelConfig(
        family=family, n_features=25, d_model=1536, n_layers=32, n_heads=32, head=head, **options
    )
    names = [f"feature {number}" for number in range(25)]
    found = require_sensitivity(config, names)
    assert list(found.changes) == names
    name, change = found.least
    assert change == min(found.changes.values()) == found.changes[name] > 1e-6


def test_one_layer_that_asks_for_one_token_reads_every_feature() -> None:
    for family in FAMILY_NAMES:
        config = ModelConfig(family=family, n_features=211, d_model=64, n_layers=1, n_heads=4)
        assert len(require_sensitivity(config, list(map(str, range(211)))).changes) == 211
