"""Numbers and comparisons of a panel in words."""

import pytest

from analysis.panel.panel_words import against, claim_on, signed
from analysis.statistics.comparison import Difference, excludes_zero
from analysis.statistics.interval import Estimate


def of(value: float, low: float | None, high: float | None) -> Estimate:
    return Estimate(value=value, low=low, high=high, se=None)


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (of(0.021, 0.004, 0.038), "+0.0210 [0.0040, 0.0380]"),
        (of(-0.021, -0.05, 0.0), "-0.0210 [-0.0500, 0.0000]"),
        # An end that four digits would show as zero has a sign.
        (of(0.01, 0.00002, 0.02), "+0.01000 [0.00002, 0.02000]"),
        (of(0.01, None, None), "+0.0100 (no interval)"),
    ],
)
def test_an_interval_shows_on_which_side_of_zero_it_lies(estimate: Estimate, shown: str) -> None:
    assert signed(estimate) == shown


@pytest.mark.parametrize(
    ("loss", "survives", "said"),
    [
        (of(-0.02, -0.03, -0.01), True, "better"),
        (of(0.02, 0.01, 0.03), True, "worse"),
        (of(-0.02, -0.03, -0.01), False, "cannot be told apart after all comparisons"),
        (of(-0.02, -0.05, 0.01), True, "cannot be told apart"),
        (of(-0.02, None, None), False, "cannot be told apart"),
    ],
)
def test_a_claim_needs_an_interval_without_zero_that_survives(
    loss: Estimate, survives: bool, said: str
) -> None:
    difference = Difference(
        model="m", other="ridge", difference=loss, excludes_zero=excludes_zero(loss),
        survives=survives,
    )  # fmt: skip
    assert claim_on(difference) == said


def test_a_comparison_is_said_as_a_gain_in_rank_ic() -> None:
    loss = of(-0.003, -0.016, 0.01)
    difference = Difference(
        model="m", other="ridge", difference=loss, excludes_zero=False, survives=False
    )
    assert against(difference) == ("against ridge +0.0030 [-0.0100, 0.0160]: cannot be told apart")
