"""How often the intervals of both exponents of E + A N^-alpha + B D^-beta hold what is planted.

Run by hand with ``make bench``. Winners of five budgets are trained on three amounts of data, with
three seeds each: what is planted is the noise of seeds, of winners, and of amounts of a winner.
"""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from analysis.statistics.day_resampling import DaySamples, daily_mean_losses, resampled_days
from analysis.statistics.law_judgement import judge
from analysis.statistics.run_resampling import Runs
from tests.bench.test_null_studies import daily

N_STUDIES = 60
N_RESAMPLES = 200
N_SEEDS = 3
N_DAYS = 712
E, A, ALPHA, B, BETA = 0.3, 3.0, 0.35, 8.0, 0.55
"""The planted law, nats: from .60 nats for the least budget and amount to .41 for the most."""

SEED_SD = 0.002
"""Standard deviation of a run's log loss by its seed."""

LEAST = int(binom.ppf(0.05, N_STUDIES, 0.9))
"""Number of studies whose interval must hold the planted exponent: where fewer do, a coverage of
90 % is excluded at 5 %."""

pytestmark = pytest.mark.bench


def study(
    draw: np.random.Generator, *, winners: float, amounts: float, days: DaySamples | None
) -> Runs:
    """Return the runs of a study, in which the law holds in the mean.

    Args:
        draw: of all noise.
        winners: standard deviation of a winner's log loss, in that of seeds.
        amounts: that of a winner with one amount of data, against its others.
        days: samples of the test days on which all runs are judged; None takes losses as known.
    """
    n, d = np.meshgrid(np.geomspace(2e4, 2e6, 5), [800.0, 1600.0, 3200.0], indexing="ij")
    logs = np.log(E + A * n**-ALPHA + B * d**-BETA)
    logs = logs + SEED_SD * winners * draw.standard_normal((5, 1))
    logs = logs + SEED_SD * amounts * draw.standard_normal(n.shape)
    logs = logs[..., None] + SEED_SD * draw.standard_normal((*n.shape, N_SEEDS))
    losses, resampled = np.exp(logs.ravel()), None
    if days is not None:
        common, own = (
            daily((1, N_DAYS), 0.3, 0.6, draw),
            daily((len(losses), N_DAYS), 0.03, 0.1, draw),
        )
        by_day = losses[:, None] + common + own
        losses, resampled = by_day.mean(axis=1), daily_mean_losses(by_day, days)
    return Runs(
        names=("parameters", "training samples"),
        sizes=np.stack([np.repeat(each.ravel(), N_SEEDS) for each in (n, d)], axis=1),
        losses=losses,
        resampled=resampled,
        budget=np.repeat(np.arange(5), 3 * N_SEEDS),
    )


@pytest.mark.parametrize(
    ("winners", "amounts", "has_days"),
    [(0.0, 0.0, False), (1.0, 0.0, False), (2.0, 0.0, False), (1.0, 1.0, False), (1.0, 0.5, True)],
)
def test_intervals_of_both_exponents_hold_them(
    winners: float, amounts: float, has_days: bool
) -> None:
    days = resampled_days(N_DAYS, 1, n_resamples=N_RESAMPLES) if has_days else None
    draw = np.random.default_rng(0)
    held = {"alpha": 0, "beta": 0}
    widths: dict[str, list[float]] = {"alpha": [], "beta": []}
    for number in range(N_STUDIES):
        runs = study(draw, winners=winners, amounts=amounts, days=days)
        found = judge(runs, n_resamples=N_RESAMPLES, seed=number).forms["saturating"].estimates
        for name, planted in (("alpha", ALPHA), ("beta", BETA)):
            low, high = found[name].low, found[name].high
            assert low is not None
            assert high is not None
            held[name] += low <= planted <= high
            widths[name].append(high - low)
    judged = f"judged on {N_DAYS} days" if has_days else "losses known"
    print(f"\nwinners {winners:g}, amounts {amounts:g} seed sds, {judged}:", end="")
    for name, n_held in held.items():
        known = binomtest(n_held, N_STUDIES).proportion_ci()
        print(
            f" {name} held by {n_held} of {N_STUDIES}, {n_held / N_STUDIES:.1%} "
            f"[{known.low:.1%}, {known.high:.1%}], median width {np.median(widths[name]):.3f};",
            end="",
        )
    assert min(held.values()) >= LEAST
