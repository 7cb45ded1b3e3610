import copy
import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from study.training.kept_weights import WeightAverage
from study.training.step.adabelief import AdaBelief
from study.training.step.moments import ParameterGroup
from study.training.step.optimizer import (
    BELIEF_EPS,
    BETAS,
    EPS,
    build_optimizer,
    learning_rate,
    read_optimizer,
)
from study.training.train_config import Optimizer, TrainConfig

CONFIG = TrainConfig(learning_rate=1e-3, epochs=1)

every_optimizer = pytest.mark.parametrize("name", get_args(Optimizer))


def test_warm_up_rises_linearly_and_the_cosine_falls_to_zero() -> None:
    rates = [learning_rate(step, 100, CONFIG) for step in range(101)]
    assert rates[:10] == pytest.approx([1e-4 * k for k in range(1, 11)])
    assert max(rates) == rates[9] == rates[10] == 1e-3
    assert rates[55] == pytest.approx(0.5e-3)
    assert rates[99] == pytest.approx(0.5e-3 * (1 + math.cos(math.pi * 89 / 90)))
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_constant_stays_at_the_peak() -> None:
    config = replace(CONFIG, schedule="constant")
    assert [learning_rate(step, 20, config) for step in (0, 1, 2, 19)] == [5e-4, 1e-3, 1e-3, 1e-3]


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    assert learning_rate(0, 10, replace(CONFIG, warmup_share=0.0)) == 1e-3


@given(total=st.integers(1, 500), share=st.floats(0, 0.99), data=st.data())
def test_every_step_has_a_rate(total: int, share: float, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total - 1))
    assert 0 < learning_rate(step, total, replace(CONFIG, warmup_share=share)) <= 1e-3


@every_optimizer
@pytest.mark.parametrize("n_taken", [0, 1])
def test_a_raised_flag_keeps_weights_and_moments_as_they_are(name: Optimizer, n_taken: int) -> None:
    # The trainer relies on this where it does not wait for the device.
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = build_optimizer(
        {"all": ([weight], [])}, replace(CONFIG, optimizer=name, weight_decay=0.1)
    )
    flag = torch.zeros(())
    for _ in range(n_taken):
        weight.grad = torch.ones(4)
        optimizer.step(flag)
    before = copy.deepcopy((weight.data, optimizer.state_dict()))
    flag.logical_or_(torch.tensor(True))
    weight.grad = torch.full((4,), math.nan)
    optimizer.step(flag)
    after = (weight.data, optimizer.state_dict())
    torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.slow
def test_steps_are_those_of_torch_bit_for_bit() -> None:
    draw = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    config = replace(CONFIG, weight_decay=0.1)
    ours = [torch.nn.Parameter(drawn(*shape)) for shape in ((5, 7), (7,), (3,))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    optimizer = build_optimizer({"all": (ours[:1], ours[1:])}, config)
    reference = torch.optim.AdamW(
        [
            {"params": theirs[:1], "weight_decay": config.weight_decay},
            {"params": theirs[1:], "weight_decay": 0.0},
        ],
        betas=BETAS,
        eps=EPS,
        fused=True,
    )
    for step in range(30):
        optimizer.learning_rate = rate = learning_rate(step, 30, config)
        for group in reference.param_groups:
            group["lr"] = rate
        # The last parameter never has a gradient.
        for own, other in zip(ours[:-1], theirs[:-1], strict=True):
            own.grad = drawn(*own.shape)
            other.grad = own.grad.clone()
        optimizer.step()
        reference.step()
    for own, other in zip(ours, theirs, strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("is_captured", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_steps_of_adabelief_are_those_of_its_paper(dtype: torch.dtype, is_captured: bool) -> None:
    draw = torch.Generator().manual_seed(1)
    beta1, beta2 = BETAS
    # The last number has the same gradient in every step, down to divisors of the eps alone.
    weight = torch.nn.Parameter(torch.randn(5, generator=draw, dtype=dtype))
    unused = torch.nn.Parameter(torch.ones(2, dtype=dtype))
    optimizer = AdaBelief(
        [ParameterGroup([weight, unused], 0.1)], learning_rate=1.0, betas=BETAS, eps=BELIEF_EPS
    )
    expected = weight.detach().clone().double()
    m, s = torch.zeros(2, 5, dtype=torch.float64)
    for step in range(1, 301):
        rate = learning_rate(step - 1, 300, CONFIG)
        gradient = torch.randn(5, generator=draw, dtype=dtype) * 0.01
        gradient[-1] = 1e-9
        weight.grad = gradient
        # A captured step reads its rate from the tensor alone.
        optimizer.learning_rate = 9.0 if is_captured else rate
        if is_captured:
            optimizer.step(torch.zeros(()), torch.tensor(rate, dtype=torch.float64))
        else:
            optimizer.step()

        g = gradient.double()
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * (g - m) ** 2 + BELIEF_EPS
        expected = expected - rate * 0.1 * expected
        divisor = (s / (1 - beta2**step)).sqrt() + BELIEF_EPS
        expected = expected - rate * m / (1 - beta1**step) / divisor
    relative = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(weight.detach().double(), expected, rtol=relative, atol=0)
    assert torch.equal(unused, torch.ones_like(unused))


def test_the_record_names_the_optimizer_that_was_built() -> None:
    weight = torch.nn.Parameter(torch.ones(4))
    built = build_optimizer({"all": ([weight], [])}, replace(CONFIG, optimizer="adabelief"))
    record = read_optimizer(built)
    assert (record.name, record.eps, record.is_fused) == ("AdaBelief", 1e-16, False)


@every_optimizer
def test_a_loaded_state_is_a_copy_that_continues_bit_for_bit(name: Optimizer) -> None:
    weights = [torch.nn.Parameter(torch.ones(4)) for _ in range(2)]
    config = replace(CONFIG, optimizer=name)
    first, second = (build_optimizer({"all": ([weight], [])}, config) for weight in weights)
    weights[0].grad = torch.arange(4.0)
    first.step()
    weights[1].data.copy_(weights[0].data)
    second.load_state_dict(first.state_dict())
    for weight, optimizer in zip(weights, (first, second), strict=True):
        weight.grad = torch.arange(4.0).flip(0)
        optimizer.step()
    assert torch.equal(weights[0], weights[1])
    assert str(first.state_dict()) == str(second.state_dict())


def test_the_average_follows_its_definition() -> None:
    weight = torch.zeros(3)
    average = WeightAverage([weight], 0.5)
    expected = 0.0
    for step in range(1, 30):
        weight += 1
        share = average.share_of_newest(step)
        # A captured step reads the share from a tensor.
        average.update([weight], torch.tensor(share) if step % 2 else share)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.weights[0], torch.full((3,), expected))
