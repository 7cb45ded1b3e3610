import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from study.training.kept_weights import WeightAverage
from study.training.optimizer import build_optimizer, learning_rate
from study.training.train_config import TrainConfig

CONFIG = TrainConfig(learning_rate=1e-3, epochs=1)


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


def test_a_raised_flag_keeps_weights_and_moments_as_they_are() -> None:
    # The trainer relies on this where it does not wait for the device.
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = build_optimizer([weight], [], CONFIG)
    flag = torch.zeros(())
    optimizer.found_inf = flag  # type: ignore[attr-defined]
    weight.grad = torch.ones(4)
    optimizer.step()
    before = copy.deepcopy((weight.data, optimizer.state_dict()["state"]))
    flag.logical_or_(torch.tensor(True))
    weight.grad = torch.full((4,), math.nan)
    optimizer.step()
    assert str(before) == str((weight.data, optimizer.state_dict()["state"]))


def test_the_average_follows_its_definition() -> None:
    weight = torch.zeros(3)
    average = WeightAverage([weight], 0.5)
    expected = 0.0
    for step in range(1, 30):
        weight += 1
        average.update([weight], step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.weights[0], torch.full((3,), expected))
