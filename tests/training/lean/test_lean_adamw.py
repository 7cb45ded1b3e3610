import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.model.lean_memory import BLOCK, CHUNK
from study.training.lean import lean_adamw
from study.training.lean.block_code import CodedBlocks
from study.training.lean.lean_adamw import LeanMoments, update
from tests.training.lean.nearest import to_nearest

SETTINGS: dict[str, Any] = {
    "rate": 1e-3,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.1,
}
UPDATE_ERROR = 0.05
"""Error of a step through codes of 8 bits, relative to it, root mean square: block_code.py."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(n_numbers: int, seed: int = 0) -> Tensor:
    return torch.randn(n_numbers, generator=generator(seed))


def root_mean_square(values: Tensor) -> float:
    return math.sqrt(float(values.double().square().mean()))


def farthest(weight: Tensor, n_steps: int) -> float:
    """Return a bound of the distance to AdamW in float32, root mean square.

    Rounding a number to one of two neighbours has a standard deviation of at most half their
    distance, which is at most 2^-7 of the number; the roundings of ``n_steps`` steps are
    independent, so their sum has that times their root. What the codes add to a step adds up to no
    more than if all errors had one sign. Both are without the pull of the loss towards its minimum.
    """
    rounding = 2**-8 * root_mean_square(weight) * math.sqrt(n_steps)
    rate: float = SETTINGS["rate"]
    return rounding + UPDATE_ERROR * rate * n_steps


def distance(
    start: Tensor, gradient_at: Callable[[Tensor, int], Tensor], n_steps: int, **changes: Any
) -> tuple[Tensor, Tensor]:
    """Return the weights after steps in little memory, and after those of torch in float32."""
    settings = SETTINGS | changes
    exact = nn.Parameter(start.clone())
    optimizer = torch.optim.AdamW(
        [exact],
        lr=settings["rate"],
        betas=settings["betas"],
        eps=settings["eps"],
        weight_decay=settings["weight_decay"],
    )
    lean, moments, random = start.bfloat16(), LeanMoments(len(start)), generator(1)
    for step in range(1, n_steps + 1):
        exact.grad = gradient_at(exact.detach(), step)
        optimizer.step()
        gradient = gradient_at(lean.float(), step)
        update(lean, gradient, moments, n_steps=step, generator=random, **settings)
    return lean.float(), exact.detach()


def test_on_a_quadratic_the_distance_to_adamw_is_that_of_rounding() -> None:
    n_steps, target = 50, 0.1 * drawn(8 * BLOCK)
    start = (0.1 * drawn(8 * BLOCK, 1)).bfloat16().float()

    def gradient_at(weight: Tensor, step: int) -> Tensor:
        return weight - target + 0.02 * drawn(8 * BLOCK, 100 + step)

    lean, exact = distance(start, gradient_at, n_steps)
    off = lean - exact
    bound = farthest(exact, n_steps)
    assert root_mean_square(off) < bound < root_mean_square(exact - start) / 3
    # No side is preferred: five standard errors of the mean.
    assert abs(float(off.mean())) < 5 * root_mean_square(off) / math.sqrt(len(off))


def flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([each.reshape(-1) for each in tensors])


def test_on_a_layer_the_distance_to_adamw_is_that_of_rounding() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.0, batch_first=True, bias=False)
    matrices = [p for p in layer.parameters() if p.ndim == 2]
    x, target = torch.randn(16, 8, 32), torch.randn(16, 8, 32)

    def loss_at(weight: Tensor) -> Tensor:
        for matrix, part in zip(
            matrices, torch.split(weight, [m.numel() for m in matrices]), strict=True
        ):
            matrix.data = part.view_as(matrix)
        return nn.functional.mse_loss(layer(x), target)

    def gradient_at(weight: Tensor, step: int) -> Tensor:
        return flat(torch.autograd.grad(loss_at(weight), matrices))

    n_steps, start = 50, flat(matrices).detach().bfloat16().float()
    first = float(loss_at(start).detach())
    lean, exact = distance(start, gradient_at, n_steps)
    assert root_mean_square(lean - exact) < farthest(exact, n_steps)
    gain = first - float(loss_at(exact).detach())
    assert gain > 0.1
    assert float(loss_at(lean).detach()) == pytest.approx(
        float(loss_at(exact).detach()), abs=0.02 * gain
    )


def test_changes_below_half_a_unit_in_the_last_place_add_up() -> None:
    n_weights, n_steps = 16 * BLOCK, 200
    lean, exact = distance(
        torch.ones(n_weights), lambda w, step: torch.ones(n_weights), n_steps, weight_decay=0.0,
        rate=1e-4,
    )  # fmt: skip
    # To the nearest no weight would ever leave one: numbers just below it are 2^-8 apart.
    assert torch.tensor(1 - 1e-4).bfloat16() == 1
    assert float(exact[0]) == pytest.approx(0.98, abs=1e-4)
    standard_error = 2**-9 * math.sqrt(n_steps / n_weights)
    assert float(lean.mean()) == pytest.approx(float(exact[0]), abs=4 * standard_error)


def test_to_the_nearest_the_same_changes_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    # As tests/bench/test_lean_fidelity.py has it, to show that its check can fail.
    monkeypatch.setattr(lean_adamw, "round_stochastically", to_nearest)
    lean, exact = distance(
        torch.ones(BLOCK), lambda w, step: torch.ones(BLOCK), 3, weight_decay=0.0, rate=1e-4
    )
    assert (lean == 1).all()
    assert (exact < 1).all()
    lean, exact = distance(
        torch.ones(BLOCK), lambda w, step: torch.ones(BLOCK), 1, weight_decay=0.0, rate=0.5
    )
    torch.testing.assert_close(lean, exact, rtol=2**-8, atol=0)


def test_a_weight_without_gradient_beside_large_ones_takes_no_large_steps() -> None:
    # A first moment that stops short of zero while the second goes on falling would push it.
    n_steps = 300
    large = torch.ones(BLOCK, dtype=torch.bool)
    large[::2] = False

    def gradient_at(weight: Tensor, step: int) -> Tensor:
        gradient = drawn(BLOCK, step)
        return gradient if step <= 20 else gradient * large

    lean, exact = distance(torch.zeros(BLOCK), gradient_at, n_steps, weight_decay=0.0, rate=1e-3)
    assert root_mean_square((lean - exact)[~large]) < 20 * 1e-3 * 0.1


def test_tiny_gradients_beside_a_huge_one_take_no_huge_steps() -> None:
    # Linear codes of the second moment make it zero there, and the step thousands of rates long.
    # Here a first moment of 1e-4 of its block's largest is at most the second level, (2 / 127)^2,
    # and the root at least the next below it, (2 / 256)^2: four times too long.
    gradient = torch.full((BLOCK,), 1e-4)
    gradient[0] = 1.0
    lean, exact = distance(torch.zeros(BLOCK), lambda w, step: gradient, 20, weight_decay=0.0)
    assert (lean.abs() <= 4.1 * exact.abs().max()).all()
    assert float(lean[1:].mean()) == pytest.approx(float(exact[1:].mean()), rel=0.3)


def test_one_state_of_the_generator_is_one_result_and_parts_do_not_matter_to_the_saved() -> None:
    n_weights = 4 * BLOCK

    def run(state: dict[str, Any] | None, first: int, last: int) -> dict[str, Any]:
        moments, weight, random = LeanMoments(n_weights), drawn(n_weights).bfloat16(), generator()
        average = CodedBlocks.zeros(n_weights, is_signed=True)
        if state is not None:
            moments.load_state_dict(state["moments"])
            average.load_state_dict(state["average"])
            weight.copy_(state["weight"])
            random.set_state(state["random"])
        for step in range(first, last + 1):
            update(
                weight, drawn(n_weights, step), moments, n_steps=step, generator=random,
                average=average, share=0.1, **SETTINGS,
            )  # fmt: skip
        return {
            "moments": moments.state_dict(), "average": average.state_dict(), "weight": weight,
            "random": random.get_state(),
        }  # fmt: skip

    whole = run(None, 1, 6)
    resumed = run(run(None, 1, 3), 4, 6)
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


def test_every_chunk_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    n_weights = 5 * BLOCK
    monkeypatch.setattr(lean_adamw, "CHUNK", 2 * BLOCK)
    assert CHUNK % BLOCK == 0
    lean, exact = distance(
        0.1 * drawn(n_weights), lambda w, step: drawn(n_weights, step), 3, weight_decay=0.0
    )
    off = (lean - exact).view(5, BLOCK)
    moved = (lean - 0.1 * drawn(n_weights)).view(5, BLOCK)
    assert all(root_mean_square(part) < farthest(exact, 3) for part in off)
    assert all(root_mean_square(part) > SETTINGS["rate"] for part in moved)


def test_the_factor_of_clipping_is_that_of_the_gradient() -> None:
    results = []
    for factor in (1.0, 0.25):
        weight, moments = torch.zeros(BLOCK, dtype=torch.bfloat16), LeanMoments(BLOCK)
        gradient = drawn(BLOCK) * 0.25 / factor
        kept = gradient.clone()
        update(
            weight, gradient, moments, n_steps=1, generator=generator(), scale=factor, **SETTINGS
        )
        assert torch.equal(gradient, kept)
        results.append((weight, moments.state_dict()))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


def test_the_average_follows_that_of_float32() -> None:
    n_weights, share = 4 * BLOCK, 0.05
    weight, moments, random = 0.1 * drawn(n_weights), LeanMoments(n_weights), generator()
    weight = weight.bfloat16()
    average, exact = CodedBlocks.zeros(n_weights, is_signed=True), weight.float()
    for step in range(1, 101):
        gradient = weight.float() + drawn(n_weights, step) * 0.1
        update(
            weight, gradient, moments, n_steps=step, generator=random, average=average,
            share=share, **SETTINGS,
        )  # fmt: skip
        exact.lerp_(weight.float(), share)
    off = weight.float() + average.decode(0, n_weights) - exact
    moved = weight.float() - exact
    assert root_mean_square(off) < 0.1 * root_mean_square(moved)
    assert abs(float(off.mean())) < 5 * root_mean_square(off) / math.sqrt(n_weights)
