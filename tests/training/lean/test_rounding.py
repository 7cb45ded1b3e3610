import math

import pytest
import torch

from study.training.lean.rounding import round_stochastically

N_DRAWS = 40_000
LARGEST = torch.finfo(torch.bfloat16).max


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("value", [1.001, -1.001, 0.3, -7.77e5, 1e-30, 3.3e-41, -1.2e-40])
def test_the_mean_of_many_roundings_is_the_value(value: float) -> None:
    # In float32 first: below 1e-38 it holds fewer digits.
    values = torch.full((N_DRAWS,), value)
    exact = float(values[0])
    rounded = round_stochastically(values, generator()).double()
    low, high = float(rounded.min()), float(rounded.max())
    assert low < exact < high
    assert set(rounded.tolist()) == {low, high}
    share = (exact - low) / (high - low)
    standard_error = (high - low) * math.sqrt(share * (1 - share) / N_DRAWS)
    assert abs(float(rounded.mean()) - exact) < 4 * standard_error


def test_what_bfloat16_holds_never_changes() -> None:
    exact = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    exact = exact[exact.isfinite()]
    rounded = round_stochastically(exact.float(), generator())
    assert torch.equal(rounded.view(torch.int16), exact.view(torch.int16))


@pytest.mark.parametrize("pattern", [0x7F800001, 0x7FFFFFFF, 0x7FC00000, -1, -0x7FFFFF])
def test_nan_stays_nan_whatever_its_bits(pattern: int) -> None:
    values = torch.full((1000,), pattern, dtype=torch.int32).view(torch.float32)
    assert values.isnan().all()
    assert round_stochastically(values, generator()).isnan().all()


def test_infinities_stay_and_only_what_is_nearer_to_them_joins_them() -> None:
    nearer = LARGEST * 1.002
    values = torch.tensor([math.inf, -math.inf, LARGEST * (1 + 2**-10), nearer, -nearer])
    for seed in range(50):
        rounded = round_stochastically(values, generator(seed))
        assert rounded.tolist() == [math.inf, -math.inf, LARGEST, math.inf, -math.inf]


def test_one_state_of_the_generator_is_one_result() -> None:
    values = torch.randn(1001, generator=generator())
    first, second, other = (round_stochastically(values, generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
