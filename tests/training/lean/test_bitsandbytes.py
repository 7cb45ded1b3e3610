"""Moments in 8 bits against those of bitsandbytes.

Its wheel holds 125 MB of kernels for accelerators, so it is no part of what developers install:
``pip install --no-deps "bitsandbytes==0.50.*"`` and run this file by hand. With 0.50.2 and torch
2.13 on the CPU, errors relative to float32, ours and theirs:

    after 20 steps      first moment .025, .033    root of the second .015, .020    step .16, .21
    after 200 steps     first moment .027, .039    root of the second .036, .036    step .20, .28
"""

import pytest
import torch
from torch import Tensor

from study.training.lean.lean_adamw import LeanMoments, update

bitsandbytes = pytest.importorskip(
    "bitsandbytes", reason="bitsandbytes is not installed: 125 MB of kernels, compared by hand"
)

N_WEIGHTS = 256 * 256
BETAS, EPS, RATE = (0.9, 0.999), 1e-8, 1e-3


def gradients(n_steps: int) -> Tensor:
    """Return gradients with a common part, of sizes that differ by a factor of e from row to row
    and from column to column, as those of a layer do (n_steps, N_WEIGHTS).
    """
    draw = torch.Generator().manual_seed(0)
    size = torch.randn(256, 1, generator=draw).exp() * torch.randn(1, 256, generator=draw).exp()
    common = torch.randn(256, 256, generator=draw) * 0.5
    noise = torch.randn(n_steps, 256, 256, generator=draw)
    return (1e-3 * size * (common + noise)).view(n_steps, -1)


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact.double()).norm() / exact.double().norm())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_steps", [20, 200])
def test_moments_and_steps_are_as_exact_as_those_of_bitsandbytes(n_steps: int) -> None:
    first, second = torch.zeros(N_WEIGHTS), torch.zeros(N_WEIGHTS)
    theirs = torch.nn.Parameter(torch.zeros(N_WEIGHTS))
    optimizer = bitsandbytes.optim.AdamW8bit([theirs], lr=RATE, betas=BETAS, eps=EPS)
    moments, weight = LeanMoments(N_WEIGHTS), torch.zeros(N_WEIGHTS, dtype=torch.bfloat16)
    random = torch.Generator().manual_seed(1)
    for step, gradient in enumerate(gradients(n_steps), 1):
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        theirs.grad = gradient.clone()
        optimizer.step()
        update(
            weight, gradient, moments, rate=RATE, n_steps=step, betas=BETAS, eps=EPS,
            weight_decay=0.0, generator=random,
        )  # fmt: skip
    state = optimizer.state[theirs]
    decode = torch.ops.bitsandbytes.dequantize_blockwise
    their_first = decode(state["state1"], state["absmax1"], state["qmap1"], 256, torch.float32)
    their_second = decode(state["state2"], state["absmax2"], state["qmap2"], 256, torch.float32)
    our_first = moments.first.decode(0, N_WEIGHTS)
    our_root = moments.root_of_second.decode(0, N_WEIGHTS)
    root = second.sqrt()
    figures = {
        "first moment": (error(our_first, first), error(their_first, first)),
        "root of the second": (error(our_root, root), error(their_second.sqrt(), root)),
        "step": (
            error(our_first / (our_root + EPS), first / (root + EPS)),
            error(their_first / (their_second.sqrt() + EPS), first / (root + EPS)),
        ),
    }
    print(n_steps, figures)
    # Both errors measure a resolution; random rounding has root 2 times the error of rounding to
    # the nearest at the same levels, so equal errors come from finer levels.
    assert all(ours < 1.1 * theirs for ours, theirs in figures.values()), figures
