import sys
from typing import Any

import pytest
import torch

from study.model.memory import largest_micro_batch, step_memory
from study.model.model_config import ModelConfig
from study.training.device import supports_bf16
from tests.model.trial_peak import measured_peak

ITRANSFORMER = {"family": "itransformer"}
INFORMER = {"family": "informer"}
WIDE_20M = {"d_model": 512, "n_layers": 6, "n_heads": 8}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak cannot be begun anew elsewhere")
@pytest.mark.parametrize(
    ("architecture", "micro_batch", "bf16"),
    [
        ({"d_model": 64, "n_layers": 32, "n_heads": 8}, 128, False),
        ({"d_model": 384, "n_layers": 2, "n_heads": 8, "d_ff_ratio": 2}, 256, True),
        ({**ITRANSFORMER, "d_model": 192, "n_layers": 4, "n_heads": 8}, 64, False),
        ({**ITRANSFORMER, "n_features": 211, "d_model": 192, "n_layers": 4, "n_heads": 8}, 8, True),
        ({**INFORMER, "d_model": 192, "n_layers": 4, "n_heads": 8}, 64, True),
        ({**INFORMER, "d_model": 64, "n_layers": 32, "n_heads": 8}, 32, False),
    ],
    ids=str,
)
def test_modelled_memory_is_the_measured_peak(
    architecture: dict[str, Any], micro_batch: int, bf16: bool
) -> None:
    if bf16 and not supports_bf16(torch.device("cpu")):
        pytest.skip("bfloat16 is emulated")
    fields: dict[str, Any] = {"n_features": 25, "last_day_skip": True, "auxiliary_head": True}
    model = ModelConfig(**{**fields, "dropout": 0.2, **architecture})
    measured = measured_peak(model, micro_batch, bf16=bf16)
    modelled = step_memory(model, micro_batch, bf16=bf16, ema=True).total
    assert 0.85 <= modelled / measured <= 1.15


def config(**changes: Any) -> ModelConfig:
    return ModelConfig(**{"n_features": 25, "dropout": 0.2, **WIDE_20M, **changes})


def test_parts_follow_the_parameters() -> None:
    memory = step_memory(config(), 1, bf16=False, ema=True)
    assert memory.moments == 2 * memory.weights == 2 * memory.gradients == 2 * memory.ema_copy
    assert step_memory(config(), 1, bf16=False, ema=False).ema_copy == 0


def test_attention_between_many_tokens_is_counted() -> None:
    few, many = (
        step_memory(config(family="itransformer", n_features=n), 32, bf16=True, ema=False)
        for n in (40, 400)
    )
    # The weights of attention alone: heads x tokens x tokens, in the five layers kept whole.
    square = 32 * 5 * 8 * 2 * (401**2 - 41**2)
    assert many.activations - few.activations > square
    assert many.temporaries - few.temporaries > 2 * square / 5


def test_the_deepest_2b_model_needs_more_than_a_workstation_in_float32() -> None:
    deep = config(d_model=1024, n_layers=256, d_ff_ratio=4, head="flatten")
    assert step_memory(deep, 128, bf16=False, ema=True).total > 100e9


def needed(micro_batch: int) -> int:
    return step_memory(config(), micro_batch, bf16=False, ema=False).total


def test_the_largest_micro_batch_fits_and_twice_of_it_does_not() -> None:
    limit = 1100 * 2**20
    found = largest_micro_batch(needed, effective_batch=200, limit_bytes=limit)
    assert found is not None
    assert 1 <= found <= 128
    assert needed(found) <= limit < needed(2 * found)


def test_the_micro_batch_never_exceeds_the_effective_batch() -> None:
    for effective, expected in ((256, 256), (200, 128), (1, 1)):
        found = largest_micro_batch(needed, effective_batch=effective, limit_bytes=10**15)
        assert found == expected


def test_where_not_one_sample_fits_there_is_no_micro_batch() -> None:
    assert largest_micro_batch(needed, effective_batch=256, limit_bytes=needed(1) - 1) is None
    assert largest_micro_batch(needed, effective_batch=256, limit_bytes=needed(1)) == 1


@pytest.mark.parametrize("n_layers", [1, 3])
def test_a_pretrained_encoder_needs_all_tokens_of_its_last_layer(n_layers: int) -> None:
    last, mean = (config(head=head, n_layers=n_layers) for head in ("last", "mean"))
    pretrained = step_memory(last, 8, bf16=False, ema=False, pretrains=True)
    assert pretrained.activations == step_memory(mean, 8, bf16=False, ema=False).activations
    assert pretrained.total > step_memory(last, 8, bf16=False, ema=False).total
    # The head computes all tokens in any case.
    assert step_memory(mean, 8, bf16=False, ema=False, pretrains=True) == step_memory(
        mean, 8, bf16=False, ema=False
    )
