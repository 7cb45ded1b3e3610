"""The modelled memory of a lean step follows what such a step holds."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from study.model.families import family_of
from study.model.lean_memory import coded_bytes, layer_numbers, lean_step_memory
from study.model.memory import step_memory
from study.model.model_config import ModelConfig
from study.model.sizing import count_parameters
from study.training.lean.block_code import CodedBlocks
from tests.bench.test_step_memory import LEAN_CASES

GIB = 2**30


def config(**changes: Any) -> ModelConfig:
    wide = {"n_features": 25, "dropout": 0.2, "d_model": 256, "n_layers": 6, "n_heads": 8}
    return ModelConfig(**{**wide, **changes})


def lean(model: ModelConfig, micro_batch: int = 1, **changes: Any) -> Any:
    given = {"effective_batch": 64, "bf16": True, "ema": True, "maps_files": True}
    return lean_step_memory(model, micro_batch, **{**given, **changes})


@pytest.mark.parametrize("changes", [{}, {"d_model": 36, "n_heads": 4}, {"family": "informer"}])
def test_the_numbers_of_layers_and_rest_are_all_parameters(changes: dict[str, Any]) -> None:
    model = config(**changes)
    network = family_of(model).build(model, bf16=False, device="meta")
    own = [(name, p) for name, p in network.named_parameters() if name.startswith("layers.0.")]
    matrices, vectors, rest = layer_numbers(model)
    exact = sum(p.numel() for _, p in own if p.dim() > 1)
    # The last block is filled up.
    assert 0 <= matrices - exact < 256
    assert matrices % 256 == 0
    assert vectors == sum(p.numel() for _, p in own if p.dim() == 1)
    assert rest == count_parameters(model) - model.n_layers * (exact + vectors)


def test_eight_bits_have_a_scale_for_each_block() -> None:
    assert coded_bytes(1024) == 1024 + 4 * 4
    held = CodedBlocks.zeros(1024, is_signed=False, device=torch.device("cpu"))
    assert sum(t.nbytes for t in held.state_dict().values()) == coded_bytes(1024)


def test_state_grows_with_depth_by_its_bytes_and_gradients_do_not() -> None:
    shallow, deep = lean(config()), lean(config(n_layers=12))
    matrices, vectors, _ = layer_numbers(config())
    # Gradients outlive their layer for what an ordinary optimizer changes alone.
    assert deep.gradients - shallow.gradients == 6 * 4 * vectors
    assert deep.weights - shallow.weights == 6 * (2 * matrices + 4 * vectors)
    assert deep.moments - shallow.moments == 6 * (2 * coded_bytes(matrices) + 8 * vectors)
    assert deep.temporaries == shallow.temporaries
    # The inputs of six layers for 64 windows of 11 tokens.
    assert deep.activations - shallow.activations == 6 * 64 * 11 * 256 * 2


def test_the_average_of_the_layers_is_on_the_disk_or_in_the_memory_of_an_accelerator() -> None:
    mapped, held, none = (
        lean(config(), maps_files=True), lean(config(), maps_files=False), lean(config(), ema=False)
    )  # fmt: skip
    assert none.ema_copy == 0
    # The scales of the blocks are in memory in any case.
    assert held.ema_copy - mapped.ema_copy == 6 * layer_numbers(config())[0]
    assert mapped.best_copy < mapped.weights / 10


def test_the_batch_is_held_by_the_inputs_of_layers_and_the_micro_batch_by_one_layer() -> None:
    small, large = (lean(config(), effective_batch=n).total for n in (64, 128))
    more = lean(config(), 32).total - small
    assert large - small >= 6 * 64 * 11 * 256 * 2
    full = step_memory(config(), 32, bf16=True, ema=True)
    one_window = step_memory(config(), 1, bf16=True, ema=True)
    assert 0 < more < (full.total - one_window.total) / 3


@pytest.mark.parametrize(
    ("n_params", "shape"),
    [
        (2.41e9, {"d_model": 2048, "n_layers": 48, "n_heads": 16}),
        (2.15e9, {"d_model": 1024, "n_layers": 256, "n_heads": 16, "d_ff_ratio": 2}),
    ],
)
def test_two_billion_parameters_take_less_than_twelve_gibibytes(
    n_params: float, shape: dict[str, Any]
) -> None:
    model = config(**shape)
    assert count_parameters(model) > n_params
    assert 9 * GIB < lean(model, 32, effective_batch=256).total < 12 * GIB
    assert step_memory(model, 32, bf16=True, ema=True).total > 55 * GIB


def test_the_page_has_the_cases_of_the_bench_and_what_is_modelled_of_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "memory.md").read_text()
    number = r"([\d,.]+)"
    rows = re.findall(
        rf"^\| d(\d+) L(\d+) x(\d)(, float32)? \| {number}M \| (\d+) of (\d+) \| {number} MiB "
        r"\| ([-+]\d+) % \|$",
        page,
        flags=re.MULTILINE,
    )
    assert len(rows) == len(LEAN_CASES)
    for row, (_, (width, depth, ratio, n_heads), micro_batch, batch, bf16) in zip(
        rows, LEAN_CASES, strict=True
    ):
        numbers = (width, depth, ratio, "" if bf16 else ", float32")
        assert row[:4] == tuple(map(str, numbers))
        assert row[5:7] == (str(micro_batch), str(batch))
        shape = {"d_model": width, "n_layers": depth, "d_ff_ratio": ratio, "n_heads": n_heads}
        model = config(**shape, last_day_skip=True, auxiliary_head=True)
        assert f"{count_parameters(model) / 1e6:.1f}" == row[4]
        modelled = lean(model, micro_batch, effective_batch=batch, bf16=bf16).total / 2**20
        off = 100 * (modelled / float(row[7].replace(",", "")) - 1)
        assert off == pytest.approx(int(row[8]), abs=0.6)


def test_a_lean_step_in_float32_has_larger_activations() -> None:
    model = dataclasses.replace(config(), n_layers=2)
    assert lean(model, 32, bf16=False).activations > lean(model, 32).activations
