"""Codes of 8 bits for the two moments of AdamW, on the gradients of an encoder that trains.

Run by hand with ``make bench ARGS="-k block_codes"``: half a minute. It prints the table in
``study.training.lean.block_code``.
"""

from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.model.families import family_of
from study.model.model_config import ModelConfig
from study.training.windows import TrainingData

pytestmark = pytest.mark.bench

BLOCK, N_STEPS, BATCH = 256, 480, 64
BETA1, BETA2, EPS, RATE = 0.9, 0.999, 1e-8, 1e-3
CONTEXT = 60


class Code(NamedTuple):
    """A code of one of the moments."""

    levels: Tensor
    """Ascending, in units of a block's largest; float32."""
    is_random: bool
    of_root: bool = False
    """Is the root of the moment coded?"""

    def __call__(self, numbers: Tensor, draw: torch.Generator) -> Tensor:
        """Return numbers (n,), n a multiple of ``BLOCK``, after they were coded and decoded."""
        blocks = (numbers.sqrt() if self.of_root else numbers).view(-1, BLOCK)
        scales = blocks.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        shares = (blocks / scales).contiguous()
        above = torch.searchsorted(self.levels, shares).clamp_(1, len(self.levels) - 1)
        low, high = self.levels[above - 1], self.levels[above]
        part = ((shares - low) / (high - low)).clamp_(0, 1)
        threshold = torch.rand(part.shape, generator=draw) if self.is_random else 0.5
        coded = torch.where(part > threshold, high, low) * scales
        return (coded.square() if self.of_root else coded).view(-1)


def powers(exponent: int, *, is_signed: bool) -> Tensor:
    """Return levels that are powers of equal steps: with a sign and zero, or without either."""
    steps = torch.arange(-127, 128) / 127 if is_signed else torch.arange(1, 257) / 256
    return steps.sign() * steps.abs() ** exponent


def octaves(number: int) -> Tensor:
    """Return 256 levels at equal steps of the logarithm."""
    return 2.0 ** torch.linspace(-number, 0, 256)


def dynamic_map(*, is_signed: bool) -> Tensor:
    """Return levels with a variable number of bits for the exponent, as bitsandbytes 0.50 has them.

    Source: Dettmers et al. 2022, https://arxiv.org/abs/2110.02861, section 2.1.
    """
    n_bits = 7 if is_signed else 8
    found = [0.0, 1.0]
    for exponent in range(7):
        n_fractions = 2 ** (exponent + n_bits - 7) + 1
        bounds = torch.linspace(0.1, 1, n_fractions)
        means = (bounds[:-1] + bounds[1:]) / 2
        scaled = (10.0 ** (exponent - 6) * means).tolist()
        found += scaled + ([-value for value in scaled] if is_signed else [])
    return torch.tensor(sorted(found))


def gradients() -> Iterator[Tensor]:
    """Train an encoder with AdamW, and yield the gradients of its eight matrices at every step."""
    data = TrainingData.of(build_dataset(DataConfig(horizon=3, context_length=CONTEXT)))
    config = ModelConfig(
        n_features=data.features.shape[1], d_model=96, n_layers=2, n_heads=8, d_ff_ratio=4,
        context_length=CONTEXT, patch_length=10, patch_stride=5, dropout=0.2, head="last",
        last_day_skip=True, auxiliary_head=False,
    )  # fmt: skip
    model = family_of(config).build(config, bf16=False, device="cpu")
    model.initialise(torch.Generator().manual_seed(0), data.base_rate)
    model.dropout_generator.manual_seed(0)
    matrices = [p for name, p in model.named_parameters() if "layers" in name and p.ndim == 2]
    assert len(matrices) == 8
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    draw = torch.Generator().manual_seed(0)
    features, labels = torch.tensor(data.features), torch.tensor(data.labels)
    days = torch.tensor(data.train_days)
    for _ in range(N_STEPS):
        own = days[torch.randint(len(days), (BATCH,), generator=draw)]
        windows = torch.stack([features[day - CONTEXT + 1 : day + 1] for day in own.tolist()])
        logits = model(windows).logit_B
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[own])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        yield torch.cat([p.grad.flatten() for p in matrices if p.grad is not None])


def error_of_step(first: Tensor, second: Tensor, exact: Tensor) -> float:
    """Return the relative error of m / (sqrt(v) + eps), root mean square."""
    return float(((first / (second.sqrt() + EPS)) - exact).norm() / exact.norm())


CODES: dict[str, tuple[Code | None, Code | None]] = {
    "m linear, nearest": (Code(powers(1, is_signed=True), False), None),
    "m squares, nearest": (Code(powers(2, is_signed=True), False), None),
    "m cubes, nearest": (Code(powers(3, is_signed=True), False), None),
    "m dynamic map, nearest": (Code(dynamic_map(is_signed=True), False), None),
    "v root in squares, random": (None, Code(powers(2, is_signed=False), True, True)),
    "v root in equal steps, random": (None, Code(powers(1, is_signed=False), True, True)),
    "v root in cubes, random": (None, Code(powers(3, is_signed=False), True, True)),
    "v root, 12 octaves, random": (None, Code(octaves(12), True, True)),
    "v dynamic map, random": (None, Code(dynamic_map(is_signed=False), True)),
    "both as lean memory has them": (
        Code(powers(2, is_signed=True), True),
        Code(powers(2, is_signed=False), True, True),
    ),
    "both the same, nearest": (
        Code(powers(2, is_signed=True), False),
        Code(powers(2, is_signed=False), False, True),
    ),
    "both dynamic map, nearest": (
        Code(dynamic_map(is_signed=True), False),
        Code(dynamic_map(is_signed=False), False),
    ),
}


def test_the_codes_of_lean_memory_are_as_good_as_any_here() -> None:
    moments: dict[str, tuple[Tensor, Tensor]] = {}
    draw = torch.Generator().manual_seed(1)
    exact_first = exact_second = torch.zeros(0)
    for gradient in gradients():
        if not moments:
            exact_first, exact_second = torch.zeros_like(gradient), torch.zeros_like(gradient)
            moments = {
                name: (torch.zeros_like(gradient), torch.zeros_like(gradient)) for name in CODES
            }
        square = gradient.square()
        exact_first.lerp_(gradient, 1 - BETA1)
        exact_second.lerp_(square, 1 - BETA2)
        for name, (first, second) in moments.items():
            of_first, of_second = CODES[name]
            first.lerp_(gradient, 1 - BETA1)
            second.lerp_(square, 1 - BETA2)
            if of_first is not None:
                first.copy_(of_first(first, draw))
            if of_second is not None:
                second.copy_(of_second(second, draw))
    exact = exact_first / (exact_second.sqrt() + EPS)
    errors = {name: error_of_step(*own, exact) for name, own in moments.items()}
    drift = {
        name: float((own[1].sqrt().sum() / exact_second.sqrt().sum()) - 1)
        for name, own in moments.items()
    }
    print()
    for name, found in errors.items():
        print(f"{name:32s} error of the step {found:7.3f}, mean of the root {drift[name]:+.2%}")
    ours = "both as lean memory has them"
    assert errors[ours] < errors["both dynamic map, nearest"]
    assert abs(drift[ours]) < abs(drift["both the same, nearest"])
    others = [n for n in errors if n.startswith("v ") and "equal steps" not in n]
    assert min(others, key=errors.__getitem__) == "v root in squares, random"
