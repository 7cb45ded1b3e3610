import math

import pytest
import torch
from torch import Tensor

from study.errors import SpecError
from study.model.lean_memory import BLOCK
from study.training.lean.block_code import CodedBlocks

either_sign = pytest.mark.parametrize("is_signed", [True, False])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coded(values: Tensor, *, is_signed: bool, seed: int = 0) -> Tensor:
    blocks = CodedBlocks.zeros(values.numel(), is_signed=is_signed)
    blocks.encode(0, values, generator(seed))
    return blocks.decode(0, values.numel())


def numbers(n_blocks: int, *, is_signed: bool) -> Tensor:
    draws = torch.randn(n_blocks * BLOCK, generator=generator())
    return draws if is_signed else draws.abs()


@either_sign
def test_every_level_is_kept(is_signed: bool) -> None:
    blocks = CodedBlocks.zeros(BLOCK, is_signed=is_signed)
    every = torch.arange(256, dtype=torch.uint8)
    # -128 is no code: the levels lie alike on both sides of zero.
    every = every[every != 128] if is_signed else every
    blocks.codes[: len(every)] = every
    blocks.scales.fill_(0.37)
    levels = blocks.decode(0, BLOCK)
    assert len(set(levels[: len(every)].tolist())) == len(every)
    assert float(levels.max()) == pytest.approx(0.37)
    blocks.encode(0, levels, generator())
    wrong = (blocks.codes[: len(every)] != every).sum()
    # Rounding of float32 may put a level a hair below itself, which one draw in 65536 sees.
    assert wrong <= 1


@either_sign
def test_the_mean_of_many_codings_is_the_value(is_signed: bool) -> None:
    n_codings = 4000
    # Fifth powers reach far down, where the levels' distances differ most from one to the next.
    one = numbers(1, is_signed=is_signed).pow(5)
    many = coded(one.repeat(n_codings), is_signed=is_signed).view(n_codings, BLOCK).double()
    apart = many.amax(0) - many.amin(0)
    share = ((one - many.amin(0)) / apart.clamp(min=1e-30)).clamp(0, 1)
    standard_error = apart * (share * (1 - share) / n_codings).sqrt()
    smallest_level = 0 if is_signed else float(one.max()) / 256**2
    inside = one.abs() > smallest_level
    largest, top = one.abs().max(), 127 if is_signed else 256
    distance = largest * (2 * (one.abs() / largest).sqrt() * top + 3) / top**2
    # A level that is drawn less than five times in all says little of its standard error; and
    # decoding, in float32, and draws of 16 bits have errors of their own.
    rest = 5 * distance / n_codings + 2e-5 * one.abs()
    off = (many.mean(0) - one).abs()
    assert (off < 4.5 * standard_error + rest)[inside].all()


@either_sign
def test_a_value_moves_by_less_than_the_distance_of_two_levels(is_signed: bool) -> None:
    values = numbers(64, is_signed=is_signed)
    off = (coded(values, is_signed=is_signed) - values).abs().view(-1, BLOCK)
    largest = values.abs().view(-1, BLOCK).amax(1, keepdim=True)
    top = 127 if is_signed else 256
    share = values.abs().view(-1, BLOCK) / largest
    # The squares around r^2 lie at most 2 (r + 1) + 1 steps of 1 / top^2 apart.
    assert (off <= (2 * (share.sqrt() * top + 1) + 1) / top**2 * largest).all()


@either_sign
def test_the_largest_of_a_block_is_kept_whatever_is_drawn(is_signed: bool) -> None:
    # A million draws of 16 bits: each value is drawn some sixteen times.
    largest = numbers(16, is_signed=False).repeat_interleave(BLOCK)
    torch.testing.assert_close(coded(largest, is_signed=is_signed), largest, rtol=1e-6, atol=0)


def test_no_positive_number_becomes_zero_in_a_divisor() -> None:
    # A linear code of 8 bits makes zeros of all but one of these, and steps without a bound.
    values = torch.full((BLOCK,), 1e-9)
    values[7] = 1.0
    decoded = coded(values, is_signed=False)
    assert (decoded >= 256**-2 * 0.999).all()
    assert (torch.round(values * 255) == 0).sum() == BLOCK - 1


@either_sign
def test_zeros_are_kept(is_signed: bool) -> None:
    blocks = CodedBlocks.zeros(BLOCK, is_signed=is_signed)
    blocks.encode(0, torch.zeros(BLOCK), generator())
    assert (blocks.codes == 0).all()
    assert (blocks.decode(0, BLOCK) == 0).all()


@either_sign
@pytest.mark.parametrize("largest", [1e-30, 1e-34, 1e-36, 3e-38])
def test_the_smallest_blocks_are_coded_as_others_are(is_signed: bool, largest: float) -> None:
    values = numbers(4, is_signed=is_signed)
    decoded = coded(values * largest, is_signed=is_signed) / largest
    # Levels of float32's smallest numbers have fewer digits: 1e-45 of 3e-38.
    expected = coded(values, is_signed=is_signed)
    torch.testing.assert_close(decoded, expected, rtol=1e-5, atol=1e-7)


@either_sign
def test_subnormal_numbers_are_kept(is_signed: bool) -> None:
    tiny = torch.full((BLOCK,), 1e-40)
    torch.testing.assert_close(coded(tiny, is_signed=is_signed), tiny, rtol=1e-4, atol=0)


@either_sign
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_number_breaks_its_block_and_no_other(is_signed: bool, broken: float) -> None:
    values = numbers(2, is_signed=is_signed)
    values[3] = broken
    decoded = coded(values, is_signed=is_signed).view(2, BLOCK)
    assert not decoded[0].isfinite().any()
    assert decoded[1].isfinite().all()


def test_a_part_is_coded_alone_and_the_state_holds_all() -> None:
    values = numbers(4, is_signed=True)
    blocks = CodedBlocks.zeros(4 * BLOCK, is_signed=True)
    blocks.encode(2 * BLOCK, values[: 2 * BLOCK], generator())
    assert (blocks.decode(0, 2 * BLOCK) == 0).all()
    part = blocks.decode(2 * BLOCK, 4 * BLOCK)
    assert torch.equal(part, coded(values[: 2 * BLOCK], is_signed=True))
    other = CodedBlocks.zeros(4 * BLOCK, is_signed=True)
    other.load_state_dict(blocks.state_dict())
    assert torch.equal(other.decode(2 * BLOCK, 4 * BLOCK), part)


def test_codes_without_a_scale_are_refused() -> None:
    with pytest.raises(SpecError, match="256 codes for every scale, but got 300 codes"):
        CodedBlocks(torch.zeros(300, dtype=torch.uint8), torch.zeros(1), is_signed=True)
