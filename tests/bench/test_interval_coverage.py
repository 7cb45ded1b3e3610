"""How often a nominal 95 % interval of a paired difference holds what is true.

Run by hand with ``make bench``. Days hang together as volatility makes them, and the truth is known
because the probabilities are.
"""

import numpy as np
import pytest

from analysis.statistics.comparison import paired_difference
from analysis.statistics.day_resampling import resampled_days
from analysis.statistics.floats import Floats

N_STUDIES = 400
N_DAYS = 700
N_SEEDS = 5
LEAST, MOST = 0.90, 0.98
"""The bar of the design."""

pytestmark = pytest.mark.bench


def market(n_days: int, draw: np.random.Generator) -> tuple[Floats, Floats]:
    logit = np.convolve(draw.standard_normal(n_days + 49), np.full(50, 0.2), mode="valid") - 1
    p = 1 / (1 + np.exp(-logit))
    return p, (draw.random(n_days) < p).astype(np.float64)


def losses(
    p: Floats, y: Floats, noise: float, spread: float, n_seeds: int, draw: np.random.Generator
) -> Floats:
    """Return the daily losses of seeds, some of which are better than others."""
    own = noise * np.exp(spread * draw.standard_normal((n_seeds, 1)))
    logit = np.log(p) - np.log1p(-p) + own * draw.standard_normal((n_seeds, len(p)))
    return np.asarray(np.logaddexp(0, logit) - y * logit)


@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3])
def test_coverage(spread: float) -> None:
    draw = np.random.default_rng(10**6)
    # Of all days and seeds that could come, not of those that came: of that an interval speaks.
    p, _ = market(2_000, draw)
    levels = [losses(p, p, noise, spread, 2_000, draw).mean() for noise in (0.3, 0.6)]
    true = float(levels[0] - levels[1])
    covered = 0
    for study in range(N_STUDIES):
        draw = np.random.default_rng(study)
        p, y = market(N_DAYS, draw)
        first, second = (losses(p, y, noise, spread, N_SEEDS, draw) for noise in (0.3, 0.6))
        found = paired_difference(first, second, resampled_days(N_DAYS, 1, seed=study))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= true <= found.high
    share = covered / N_STUDIES
    print(
        f"\n95 % intervals of {N_STUDIES} studies, seeds that differ by {spread:.0%}: "
        f"{share:.1%} hold the true difference"
    )
    assert LEAST <= share <= MOST
