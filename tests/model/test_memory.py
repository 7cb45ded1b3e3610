import json
import subprocess
import sys
from typing import Any

import pytest

from study.errors import SpecError
from study.model.config import ModelConfig
from study.model.memory import largest_micro_batch, step_memory

WIDE_2M = {"d_model": 192, "n_layers": 4, "n_heads": 8}
DEEP_2M = {"d_model": 64, "n_layers": 48, "n_heads": 8}
WIDE_20M = {"d_model": 512, "n_layers": 6, "n_heads": 8}


def measured_over_modelled(
    architecture: dict[str, int], micro_batch: int, bf16: bool
) -> tuple[int, int]:
    spec: dict[str, Any] = {"n_features": 25, "dropout": 0.2, "head": "flatten", **architecture}
    step = {"micro_batch": micro_batch, "bf16": bf16, "ema": True}
    done = subprocess.run(
        [sys.executable, "-m", "tests.model.training_step", json.dumps({**spec, **step})],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout), step_memory(
        ModelConfig(**spec), micro_batch, bf16=bf16, ema=True
    ).total


@pytest.mark.skipif(sys.platform == "win32", reason="no getrusage")
@pytest.mark.parametrize(("micro_batch", "bf16"), [(128, False), (64, True)])
def test_modelled_memory_bounds_the_measured_peak(micro_batch: int, bf16: bool) -> None:
    measured, modelled = measured_over_modelled(WIDE_2M, micro_batch, bf16)
    assert measured <= modelled <= 1.5 * measured


@pytest.mark.bench
@pytest.mark.parametrize("architecture", [WIDE_2M, DEEP_2M, WIDE_20M], ids=str)
@pytest.mark.parametrize("micro_batch", [32, 256])
@pytest.mark.parametrize("bf16", [True, False])
def test_modelled_memory_bounds_the_measured_peak_widely(
    architecture: dict[str, int], micro_batch: int, bf16: bool
) -> None:
    measured, modelled = measured_over_modelled(architecture, micro_batch, bf16)
    print(f"{measured / 2**20:.0f} MiB measured, {modelled / measured:.2f} times that modelled")
    assert measured <= modelled <= 1.5 * measured


def config(**changes: Any) -> ModelConfig:
    return ModelConfig(**{"n_features": 25, "dropout": 0.2, **WIDE_20M, **changes})


def test_parts_follow_the_parameters() -> None:
    memory = step_memory(config(), 1, bf16=False, ema=True)
    assert memory.moments == 2 * memory.weights == 2 * memory.gradients == 2 * memory.ema_copy
    assert step_memory(config(), 1, bf16=False, ema=False).ema_copy == 0


def test_the_deepest_2b_model_needs_more_than_a_workstation_in_float32() -> None:
    deep = config(d_model=1024, n_layers=256, d_ff_ratio=4, head="flatten")
    assert step_memory(deep, 128, bf16=False, ema=True).total > 100e9


def test_the_largest_micro_batch_fits_and_twice_of_it_does_not() -> None:
    limit = 1100 * 2**20
    found = largest_micro_batch(
        config(), effective_batch=200, limit_bytes=limit, bf16=False, ema=False
    )
    assert 1 <= found <= 128
    assert step_memory(config(), found, bf16=False, ema=False).total <= limit
    assert step_memory(config(), 2 * found, bf16=False, ema=False).total > limit


def test_the_micro_batch_never_exceeds_the_effective_batch() -> None:
    huge = 10**15
    for effective, expected in ((256, 256), (200, 128), (1, 1)):
        found = largest_micro_batch(
            config(), effective_batch=effective, limit_bytes=huge, bf16=True, ema=False
        )
        assert found == expected


def test_a_model_that_cannot_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(SpecError, match=r"needed=[\d,]+ bytes, limit=1,000,000 bytes"):
        largest_micro_batch(config(), effective_batch=256, limit_bytes=10**6, bf16=True, ema=False)
