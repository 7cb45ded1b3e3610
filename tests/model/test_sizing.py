import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from study.errors import SpecError
from study.model.architecture import Head
from study.model.families.patchtst import PatchTST
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters, feasible_grid, step_flops

CHOICES = {
    "d_model": (64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048),
    "n_layers": (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 180, 192, 256),
    "n_heads": (2, 4, 8, 16, 32),
    "d_ff_ratio": (2, 4),
}
TEMPLATE = ModelConfig(n_features=25, d_model=64, n_layers=2, n_heads=2, head="flatten")
ROWS = {
    750_000: 40, 2_000_000: 80, 20_000_000: 75, 200_000_000: 125, 2_000_000_000: 75,
}  # fmt: skip


def built_count(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in PatchTST(config).parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("target", "n_rows"), ROWS.items())
def test_every_row_of_a_grid_counts_as_built(target: int, n_rows: int) -> None:
    grid = feasible_grid(target, 0.25, template=TEMPLATE, **CHOICES)
    assert len(grid) == n_rows
    counts = [count_parameters(config) for config in grid]
    assert counts == sorted(counts)
    assert all(abs(count - target) <= 0.25 * target for count in counts)
    # Heads of attention change no shape: one model per shape is built.
    shapes = {replace(config, n_heads=2): count for config, count in zip(grid, counts, strict=True)}
    for config, count in shapes.items():
        assert built_count(config) == count


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    head=st.sampled_from(["last", "mean", "flatten"]),
    revin=st.booleans(),
    skip=st.booleans(),
    auxiliary=st.booleans(),
    n_features=st.integers(1, 40),
    patching=st.sampled_from([(60, 10, 5), (80, 16, 8), (20, 20, 7), (7, 1, 1), (60, 5, 11)]),
)
def test_every_option_counts_as_built(
    head: Head,
    revin: bool,
    skip: bool,
    auxiliary: bool,
    n_features: int,
    patching: tuple[int, int, int],
) -> None:
    context, patch, stride = patching
    config = ModelConfig(
        n_features=n_features, d_model=24, n_layers=3, n_heads=4, d_ff_ratio=3, head=head,
        revin=revin, last_day_skip=skip, auxiliary_head=auxiliary,
        context_length=context, patch_length=patch, patch_stride=stride,
    )  # fmt: skip
    assert built_count(config) == count_parameters(config)


def test_a_grid_takes_milliseconds() -> None:
    start = time.perf_counter()
    feasible_grid(200_000_000, 0.25, template=TEMPLATE, **CHOICES)
    assert time.perf_counter() - start < 0.05


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_heads", 0),
        ("n_layers", 10**30),
        ("d_model", 2**70),
        ("d_ff_ratio", -1),
        ("n_heads", True),
    ],
)
def test_a_count_that_no_network_has_is_refused_before_it_is_counted_with(
    field: str, value: int
) -> None:
    changes: dict[str, Any] = {field: value}
    with pytest.raises(SpecError, match=f"ModelConfig: {field} must be a whole number"):
        replace(TEMPLATE, **changes)
    choices: dict[str, Any] = {**CHOICES, field: [value]}
    with pytest.raises(SpecError, match=f"feasible_grid: {field} must be a whole number"):
        feasible_grid(50_000, 0.25, template=TEMPLATE, **choices)


def test_a_head_that_does_not_divide_the_width_is_left_out() -> None:
    grid = feasible_grid(
        60_000, 0.9, d_model=[48], n_layers=[2], n_heads=[4, 5], d_ff_ratio=[2], template=TEMPLATE
    )
    assert [config.n_heads for config in grid] == [4]


def test_a_meaningless_tolerance_is_refused() -> None:
    with pytest.raises(SpecError, match="tolerance=1"):
        feasible_grid(2_000_000, 1.0, template=TEMPLATE, **CHOICES)


def test_a_step_costs_about_six_operations_per_weight_and_token() -> None:
    config = replace(TEMPLATE, d_model=512, n_layers=6)
    expected = 6 * count_parameters(config) * config.n_patches * 256
    assert step_flops(config, 256) == pytest.approx(expected, rel=0.05)


def test_the_last_head_does_less_in_the_last_layer() -> None:
    one_layer = replace(TEMPLATE, n_layers=1)
    full = step_flops(one_layer, 1)
    assert step_flops(replace(one_layer, head="last"), 1) < 0.5 * full
