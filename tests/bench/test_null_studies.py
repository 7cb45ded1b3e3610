"""How often studies without an effect claim one, and intervals hold the planted zero.

Run by hand with ``make bench``. The runs of a budget share one winner, whose effect is planted in
units of the seeds' spread; all runs are judged on the same days, whose losses are autocorrelated
and heavy-tailed.
"""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.signal import lfilter

from analysis.statistics.comparison import compare, excludes_zero, paired_difference, pairs_of
from analysis.statistics.day_resampling import DaySamples, daily_mean_losses, resampled_days
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate
from analysis.statistics.run_resampling import Runs
from analysis.statistics.trend import steps, trend_of
from study.statistics.detectable import smallest_difference

N_STUDIES = 200
SEED_SD = 0.002
"""Standard deviation of a run's loss by its seed, nats: near that of the S&P 500 at horizon 1."""
ERROR = (0.05 * 0.95 / N_STUDIES) ** 0.5
"""Standard error of a share of 5 % among the studies of a design."""

pytestmark = pytest.mark.bench


def daily(
    shape: tuple[int, int], spread: float, memory: float, draw: np.random.Generator
) -> Floats:
    """Return daily values with Student's t of four degrees and autocorrelation, a row each."""
    steps = draw.standard_t(4, shape) * spread * ((1 - memory**2) / 2) ** 0.5
    return np.asarray(lfilter([1.0], [1.0, -memory], steps, axis=1))


def null_study(
    counts: Sequence[int],
    effect: float,
    days: DaySamples,
    draw: np.random.Generator,
    *,
    n_searches: int = 1,
    tilt: float = 0.0,
) -> Runs:
    """Return runs of budgets between which nothing differs but their winners.

    Args:
        counts: runs of each search, by budget.
        effect: standard deviation of winners in that of seeds.
        days: samples of days.
        draw: of everything.
        n_searches: of each budget.
        tilt: standard deviation of a daily loss that grows with log size, at either end.
    """
    per_search = np.repeat(counts, n_searches)
    budget = np.repeat(np.repeat(np.arange(len(counts)), n_searches), per_search)
    unit = np.repeat(np.arange(len(per_search)), per_search)
    n, n_days = len(budget), days.counts.shape[1]
    levels = SEED_SD * (effect * draw.standard_normal(len(per_search))[unit]
                        + draw.standard_normal(n))  # fmt: skip
    common = 0.4 + daily((1, n_days), 0.5, 0.6, draw)
    own = daily((n, n_days), 0.03, 0.1, draw)
    sloped = np.linspace(-1, 1, len(counts))[budget][:, None] * daily((1, n_days), 1, 0.3, draw)
    losses = common + own + tilt * sloped + levels[:, None]
    return Runs(
        names=("parameters",),
        sizes=np.geomspace(2e4, 2e6, len(counts))[budget][:, None],
        losses=losses.mean(axis=1),
        resampled=daily_mean_losses(losses, days),
        budget=budget,
        search=unit,
    )


def holds_zero(found: Estimate) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= 0 <= found.high


DESIGNS: dict[str, tuple[list[int], dict[str, float]]] = {
    "3 budgets": ([5] * 3, {}),
    "5 budgets": ([5] * 5, {}),
    "8 budgets": ([5] * 8, {}),
    "5 budgets, 2 searches": ([5] * 5, {"n_searches": 2}),
    "5 budgets, one seed": ([1] * 5, {}),
    "5, 5, 5 and 1 runs": ([5, 5, 5, 1], {}),
    "5, 5, 5, 5 and 1 runs": ([5, 5, 5, 5, 1], {}),
    "days that tell small from large": ([5] * 5, {"tilt": 0.08}),
}


@pytest.mark.parametrize("n_days", [712, 7_300])
@pytest.mark.parametrize("design", DESIGNS)
def test_nothing_is_claimed_where_nothing_is(design: str, n_days: int) -> None:
    counts, more = DESIGNS[design]
    days = resampled_days(n_days, 1, n_resamples=300)
    for effect in (0.0, 1.0, 2.0):
        draw = np.random.default_rng(n_days)
        held, told, steps_held = 0, 0, 0.0
        for study in range(N_STUDIES):
            runs = null_study(counts, effect, days, draw, **more)  # type: ignore[arg-type]
            trend = trend_of(runs, seed=study)
            held += holds_zero(trend.slope)
            told += trend.is_told
            if len(runs.members) > 3:
                steps_held += float(np.mean([holds_zero(each) for each in steps(runs)]))
        cover, claims, of_steps = (n / N_STUDIES for n in (held, told, steps_held))
        print(
            f"\n{design}, {n_days} days, winners {effect:g} seed sds: {claims:.1%} claim an effect;"
            f" intervals hold zero in {cover:.1%} (slope)"
            + (f" and {of_steps:.1%} (steps)" if steps_held else ""),
            end="",
        )
        assert claims <= 0.05 + 2 * ERROR
        assert 0.93 - 2 * ERROR <= cover <= 0.97 + 2 * ERROR
        assert steps_held == 0 or of_steps >= 0.93 - 2 * ERROR


def clustered(shape: tuple[int, int], horizon: int, draw: np.random.Generator) -> Floats:
    """Return daily values of mean 0 as losses of overlapping labels have them, a row each.

    Each is the mean of ``horizon`` steps with Student's t of five degrees, in calm and stormy
    months: the log of their size has a standard deviation of a half, and forgets half of itself in
    23 days.
    """
    n_rows, n_days = shape
    burn_in, memory = 200, 0.97
    steps = draw.standard_normal((n_rows, n_days + horizon + burn_in)) * (1 - memory**2) ** 0.5
    size = np.exp(0.5 * lfilter([1.0], [1.0, -memory], steps, axis=1))
    sums = np.cumsum(size * draw.standard_t(5, steps.shape), axis=1)
    return np.asarray((sums[:, horizon:] - sums[:, :-horizon])[:, -n_days:] / horizon)


def equal_models(
    n_days: int, horizon: int, n_seeds: int, draw: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return the daily losses of a model's seeds and of a rival that is as good in the mean.

    One seed alone is as good itself: an interval without other seeds is of that run.
    """
    days = 0.05 * clustered((1, n_days), horizon, draw)
    own = 0.02 * clustered((n_seeds, n_days), horizon, draw)
    luck = SEED_SD * draw.standard_normal((n_seeds, 1)) if n_seeds > 1 else 0.0
    return days + own + luck, np.zeros((1, n_days))


KNOWN_MISSES = {
    (712, 1, 1): 0.0585,
    (712, 3, 1): 0.0573,
    (712, 5, 1): 0.0582,
    (150, 20, 5): 0.0270,
}
"""Share of equal models that are called better or worse, of 6,000 studies, by days, horizon and
seeds, where 5 % and two errors, or a coverage of 93 to 97 %, are missed. With one seed on 712 days
it is too much, because calm and stormy months make an error less well known than blocks of steady
days do; on 150 days it can be too little."""


@pytest.mark.parametrize("n_seeds", [1, 5])
@pytest.mark.parametrize("horizon", [1, 3, 5, 20])
@pytest.mark.parametrize("n_days", [150, 712, 1_200, 7_300])
def test_a_model_is_called_better_than_its_equal_as_often_as_is_said(
    n_days: int, horizon: int, n_seeds: int
) -> None:
    days = resampled_days(n_days, horizon)
    n_studies = 6_000 if n_days < 5_000 else 400
    draw = np.random.default_rng((n_days, horizon, n_seeds))
    found = [
        paired_difference(*equal_models(n_days, horizon, n_seeds, draw), days)
        for _ in range(n_studies)
    ]
    better, worse = (
        np.mean([excludes_zero(each) and sign * each.value > 0 for each in found])
        for sign in (-1, 1)
    )
    claims, error = better + worse, (0.05 * 0.95 / n_studies) ** 0.5
    known = KNOWN_MISSES.get((n_days, horizon, n_seeds))
    # The smallest gap that is told in four studies of five if its error is known.
    gap = smallest_difference(float(np.std([each.value for each in found])))
    highs = [each.high for each in found if each.high is not None]
    assert len(highs) == n_studies
    power = np.mean(np.array(highs) < gap)
    print(
        f"\n{n_days} days, horizon {horizon}, {n_seeds} seeds: {better:.1%} better, {worse:.1%} "
        f"worse, {1 - claims:.1%} hold zero; a gap of 2.8 errors is told in {power:.0%}"
        + (f"; a known miss, which was {known:.2%}" if known is not None else ""),
        end="",
    )
    if known is not None:
        assert abs(claims - known) <= 2 * error
        return
    assert claims <= 0.05 + 2 * error
    # Of 400 studies a share is known to two errors.
    more = 0 if n_studies == 6_000 else 2 * error
    assert 0.93 - more <= 1 - claims <= 0.97 + more


@pytest.mark.parametrize(("n_days", "horizon"), [(712, 1), (712, 20), (7_300, 1)])
@pytest.mark.parametrize("n_rivals", [1, 4])
def test_equal_models_are_seldom_called_better_or_worse(
    n_days: int, horizon: int, n_rivals: int
) -> None:
    draw = np.random.default_rng(0)
    days = resampled_days(n_days, horizon)
    called = 0
    for _ in range(N_STUDIES):
        own = 0.03 * clustered((25, n_days), horizon, draw)
        own += SEED_SD * draw.standard_normal((25, 1))
        rivals = {
            f"rival {i}": 0.03 * clustered((1, n_days), horizon, draw) for i in range(n_rivals)
        }
        models = {f"{i}": own[5 * i : 5 * i + 5] for i in range(5)}
        pairs = pairs_of(models, rivals, days, draw)
        found = compare([pair for each in pairs.values() for pair in each])
        called += any(each.is_better or each.is_worse for each in found)
    print(
        f"\n{called / N_STUDIES:.1%} of families of five models and {n_rivals} rivals, all equal, "
        f"have one told apart on {n_days} days, horizon {horizon}",
        end="",
    )
    assert called / N_STUDIES <= 0.05 + 2 * ERROR
