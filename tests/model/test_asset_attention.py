from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from study.errors import SpecError
from study.model.architecture import FAMILY_NAMES, AssetAttention, Head
from study.model.families import family_of
from study.model.memory import step_memory
from study.model.model_config import ModelConfig
from study.model.network import Network
from study.model.sizing import count_parameters, step_flops

MODEL = ModelConfig(
    n_features=3,
    n_assets=7,
    n_sectors=3,
    d_model=16,
    n_layers=2,
    n_heads=2,
    d_ff_ratio=2,
    context_length=8,
    patch_length=4,
    patch_stride=2,
)
SECTORS = torch.tensor([0, 0, 0, 1, 1, 1, 2])
KINDS: tuple[AssetAttention, ...] = ("none", "all", "sector")
HEADS: tuple[Head, ...] = ("last", "mean")


def built(config: ModelConfig) -> Network:
    network = family_of(config).build(config, bf16=False, device="cpu")
    generator = torch.Generator().manual_seed(1)
    network.initialise(generator, 0.5)
    # A head of zeros would answer 0 whatever came before it.
    network.head.weight.data.normal_(0, 0.25, generator=generator)
    return network.eval()


def days() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 7, 8, 3, generator=generator)
    present = torch.ones(2, 7, dtype=torch.bool)
    present[0, 1] = present[1, 6] = False
    return x, present


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", HEADS)
def test_the_order_of_assets_does_not_matter(kind: Any, head: Any) -> None:
    network = built(replace(MODEL, asset_attention=kind, head=head, n_horizons=2))
    x, present = days()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        straight = network(x, present, SECTORS).logit_B[:, order]
        shuffled = network(x[:, order], present[:, order], SECTORS[order]).logit_B
    torch.testing.assert_close(shuffled, straight, rtol=0, atol=1e-6)
    assert straight.std() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_an_absent_asset_changes_nothing(kind: Any) -> None:
    network = built(replace(MODEL, asset_attention=kind, n_horizons=2))
    x, present = days()
    other = x.clone()
    other[~present] = 100 * torch.randn(2, 8, 3)
    with torch.no_grad():
        before = network(x, present, SECTORS).logit_B
        after = network(other, present, SECTORS).logit_B
        # A panel without the asset is the same too, as is a day alone.
        kept = present[0]
        without = network(x[:1, kept], present[:1, kept], SECTORS[kept]).logit_B
    assert torch.equal(after[present], before[present])
    assert not torch.equal(after[~present], before[~present])
    torch.testing.assert_close(without[0], before[0][kept], rtol=0, atol=1e-6)


def test_without_attention_each_asset_is_alone() -> None:
    network = built(MODEL)
    x, present = days()
    with torch.no_grad():
        together = network(x, present, SECTORS).logit_B
        alone = torch.stack([network(x[:, asset]).logit_B for asset in range(7)], dim=1)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_an_asset_sees_other_assets_in_detail_in_its_sector_and_on_the_mean_elsewhere() -> None:
    present = torch.ones(1, 7, dtype=torch.bool)
    generator = torch.Generator().manual_seed(4)
    token, change = torch.randn(2, 1, 7, 16, generator=generator)

    def moved(kind: AssetAttention, *signs: float) -> torch.Tensor:
        """Return how far each asset moves if the change is added to assets 3, 4 and so on."""
        layer = built(replace(MODEL, asset_attention=kind)).asset_layer
        other = token.clone()
        for asset, sign in enumerate(signs, start=3):
            other[:, asset] += sign * change[:, 0]
        with torch.no_grad():
            before, after = (
                layer.mix(each, present, SECTORS, generator=generator, bf16=False)[0]
                for each in (token, other)
            )
        return torch.abs(before - after).amax(dim=1)

    # The mean of sector 1 stays.
    assert moved("sector", 1, -1)[:3].max() < 1e-6
    assert moved("sector", 1, -1)[3:6].min() > 1e-3
    assert moved("all", 1, -1).min() > 1e-3
    assert moved("sector", 1).min() > 1e-3


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_counted_parameters_are_those_of_the_network(family: str) -> None:
    grid = product(KINDS, (8, 24), (1, 3), (1, 4), HEADS, (False, True))
    for kind, width, depth, ratio, head, skip in grid:
        config = replace(
            MODEL, family=family, asset_attention=kind, d_model=width, n_layers=depth,
            d_ff_ratio=ratio, head=head, last_day_skip=skip,
        )  # fmt: skip
        network = family_of(config).build(config, bf16=False, device="meta")
        assert count_parameters(config) == sum(p.numel() for p in network.parameters())


def test_a_day_costs_as_much_as_its_windows_and_the_attention_across_them() -> None:
    alone = replace(MODEL, n_assets=1)
    assert step_flops(MODEL, 5) == 35 * step_flops(alone, 1)
    assert step_flops(replace(MODEL, asset_attention="all"), 5) > step_flops(MODEL, 5)
    memory = step_memory(MODEL, 4, bf16=False, ema=False)
    assert memory == step_memory(alone, 28, bf16=False, ema=False)
    limit = step_memory(MODEL, 8, bf16=False, ema=False).total
    assert step_memory(MODEL, 9, bf16=False, ema=False).total > limit
    # The comparisons of 4,000 assets with each other are more than a layer of short windows needs.
    wide = replace(MODEL, n_assets=4000, asset_attention="sector", patch_length=8, patch_stride=1)
    none = step_memory(replace(wide, asset_attention="none"), 1, bf16=False, ema=False)
    assert step_memory(wide, 1, bf16=False, ema=False).temporaries > none.temporaries + 4000**2


def test_attention_across_assets_that_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError, match="needs a panel of several assets"):
        replace(MODEL, n_assets=1, asset_attention="all")
    with pytest.raises(SpecError, match="needs the number of sectors"):
        replace(MODEL, n_sectors=0, asset_attention="sector")
    with pytest.raises(SpecError, match="a head that reads one token"):
        replace(MODEL, head="flatten", asset_attention="all")
