"""The fitter: planted laws are recovered, and what cannot be known is not claimed."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from analysis.statistics.floats import Floats
from analysis.statistics.law import (
    CONSTANT,
    Law,
    log_losses_and_derivatives,
)
from analysis.statistics.law_fit import fit, plateau, refit
from analysis.statistics.law_judgement import judge
from analysis.statistics.minimiser import HUBER_DELTA, huber, minimise
from analysis.statistics.run_resampling import Misfit, Runs, resample
from analysis.statistics.verdict import is_misspecified, not_unique

POWER = Law(n_terms=1, has_floor=False)
SATURATING = Law(n_terms=1, has_floor=True)
BUDGETS = np.array([0.75e6, 2e6, 20e6, 200e6, 2e9])


def planted(sizes: Floats, *, floor: float = 0.45, excess: float = 0.05, alpha: float = 0.25) -> (
    Floats
):  # fmt: skip
    """Return the losses of a law with so much excess at the smallest budget."""
    return np.asarray(floor + excess * (sizes / BUDGETS[0]) ** -alpha)


def seeds(n: int, noise: float, *, draw: np.random.Generator, **law: float) -> Runs:
    sizes = np.repeat(BUDGETS, n)
    losses = planted(sizes, **law) + draw.normal(0, noise, len(sizes))
    return Runs(names=("n",), sizes=sizes[:, None], losses=losses)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    floor=st.floats(0.05, 2.0),
    excess=st.floats(0.02, 0.5),
    alpha=st.floats(0.1, 1.0),
)
def test_a_planted_law_without_noise_is_recovered(
    floor: float, excess: float, alpha: float
) -> None:
    losses = planted(BUDGETS, floor=floor, excess=excess, alpha=alpha)
    found = fit(SATURATING, BUDGETS[:, None], losses)
    assert found.converged
    assert abs(found.exponents[0] - alpha) < 1e-3
    assert abs(found.floor - floor) < 1e-5
    assert found.coefficients[0] == pytest.approx(excess * BUDGETS[0] ** alpha, rel=1e-2)


def test_a_power_law_on_data_with_a_floor_is_reported_as_misspecified() -> None:
    runs = Runs(names=("n",), sizes=BUDGETS[:, None], losses=planted(BUDGETS))
    report = judge(runs, floor="none")
    power = report.forms["power"]
    # It measures the floor and not the exponent.
    assert power.estimates["alpha"].value == pytest.approx(0.012, abs=0.001)
    assert is_misspecified(power)
    # Without scatter about the law there is no noise to judge its numbers by.
    assert report.verdict == "not identified"
    assert "misspecified: a floor explains more" in report.sentence
    assert "alpha" not in report.sentence


def test_a_power_law_on_its_own_data_is_not() -> None:
    draw = np.random.default_rng(0)
    sizes = np.repeat(BUDGETS, 5)
    losses = sizes**-0.1 * np.exp(draw.normal(0, 0.01, len(sizes)))
    report = judge(Runs(names=("n",), sizes=sizes[:, None], losses=losses), floor="none")
    assert not is_misspecified(report.forms["power"])
    assert report.verdict == "scaling"
    alpha = report.forms["power"].estimates["alpha"]
    assert alpha.low is not None
    assert alpha.high is not None
    assert alpha.low < 0.1 < alpha.high


@pytest.mark.slow
@pytest.mark.parametrize("has_floor", [True, False])
def test_the_optimum_is_that_of_another_solver(has_floor: bool) -> None:
    draw = np.random.default_rng(3)
    n, d = 10 ** draw.uniform(7, 10, 120), 10 ** draw.uniform(8, 11, 120)
    floor = 1.8 if has_floor else 0.0
    losses = (floor + 400 * n**-0.34 + 2000 * d**-0.37) * np.exp(draw.standard_t(3, 120) * 0.002)
    sizes = np.stack([n, d], axis=1)
    law = Law(n_terms=2, has_floor=has_floor)
    found = fit(law, sizes, losses)

    def residuals(theta: Floats) -> Floats:
        x = np.log(sizes) - found.centre
        terms = [theta[0] - theta[1] * x[:, 0], theta[2] - theta[3] * x[:, 1]]
        terms += [np.full(len(x), theta[4])] if has_floor else []
        return np.asarray(np.log(losses) - np.logaddexp.reduce(terms))

    other = least_squares(
        residuals, found.theta * 1.02, loss="huber", f_scale=HUBER_DELTA,
        xtol=1e-14, ftol=1e-14, gtol=1e-14,
    )  # fmt: skip
    assert found.objective == pytest.approx(other.cost, rel=1e-8)
    assert np.allclose(found.theta, other.x, atol=1e-4)
    assert found.reached > 0.5


def test_an_outlier_hardly_moves_the_fit() -> None:
    sizes = np.repeat(BUDGETS, 5)
    losses = planted(sizes) * np.exp(np.random.default_rng(0).normal(0, 1e-3, len(sizes)))
    before = fit(SATURATING, sizes[:, None], losses)
    losses[12] *= 1.2
    after = fit(SATURATING, sizes[:, None], losses)
    assert abs(after.exponents[0] - before.exponents[0]) < 0.03


def test_a_given_floor_is_kept() -> None:
    found = fit(Law(n_terms=1, has_floor=False, floor=0.45), BUDGETS[:, None], planted(BUDGETS))
    assert found.floor == 0.45
    assert found.exponents[0] == pytest.approx(0.25, abs=1e-9)
    assert found.predict(np.array([[2e10]]))[0] == pytest.approx(planted(np.array([2e10]))[0])


def test_resampled_fits_are_the_fits_of_the_resamples() -> None:
    draw = np.random.default_rng(1)
    sizes = 10 ** draw.uniform(6, 9, 30)
    losses = planted(sizes) * np.exp(draw.normal(0, 2e-3, 30))
    best = fit(SATURATING, sizes[:, None], losses)
    weights = draw.multinomial(30, np.full(30, 1 / 30), 5).astype(float)
    by_weight = refit(best, sizes[:, None], losses, weights=weights)
    for row, theta in zip(weights, by_weight, strict=True):
        chosen = np.repeat(np.arange(30), row.astype(int))
        own = fit(SATURATING, sizes[chosen, None], losses[chosen])
        assert theta[1] == pytest.approx(own.exponents[0], abs=1e-3)


@pytest.mark.parametrize("noise", [0.0005, 0.002])
def test_the_interval_is_as_wide_as_the_notes_say(noise: float) -> None:
    # Four budgets and an excess of .05; the 95 % range of the estimates of many studies.
    true = planted(BUDGETS[:4])
    losses = true + np.random.default_rng(5).normal(0, noise, (300, 4))
    estimates = refit(fit(SATURATING, BUDGETS[:4, None], true), BUDGETS[:4, None], losses)[:, 1]
    low, high = np.quantile(estimates, [0.025, 0.975])
    expected = {0.0005: (0.195, 0.306), 0.002: (0.065, 0.466)}[noise]
    assert low == pytest.approx(expected[0], abs=0.02 if noise < 0.001 else 0.06)
    assert high == pytest.approx(expected[1], abs=0.02 if noise < 0.001 else 0.06)


@pytest.mark.slow
def test_what_is_planted_is_claimed_and_what_is_vague_is_not() -> None:
    draw = np.random.default_rng(0)
    clear = judge(seeds(5, 0.0005, draw=draw))
    assert clear.verdict == "scaling"
    assert clear.held_out is not None
    assert clear.held_out.is_covered
    rising = judge(seeds(5, 0.0005, draw=draw, floor=0.4, excess=0.01, alpha=-0.2))
    assert rising.verdict == "inverse scaling"
    vague = judge(seeds(5, 0.008, draw=draw))
    assert vague.verdict == "not identified"
    assert "falls with size" in vague.sentence
    assert judge(seeds(5, 0.002, draw=draw, excess=1e-9)).verdict == "no measurable effect"


def test_the_profile_is_least_at_the_fitted_floor() -> None:
    report = judge(seeds(5, 0.001, draw=np.random.default_rng(2)))
    floors = np.array([floor for floor, _, _ in report.profile])
    objectives = np.array([objective for _, objective, _ in report.profile])
    best = report.forms["saturating"].fit
    assert objectives.min() >= best.objective
    assert abs(floors[objectives.argmin()] - best.floor) < 0.01
    # The exponent rises with the floor that is given: it is known as a function of it only.
    alphas = [alpha for _, _, alpha in report.profile]
    assert alphas == sorted(alphas)


def test_few_sizes_claim_nothing() -> None:
    sizes = np.repeat(BUDGETS[:2], 5)
    losses = planted(sizes) + np.random.default_rng(0).normal(0, 1e-4, 10)
    report = judge(Runs(names=("n",), sizes=sizes[:, None], losses=losses))
    assert report.verdict == "not identified"
    assert report.held_out is None


def test_few_seeds_hold_their_expectation_as_often_as_said() -> None:
    draw = np.random.default_rng(0)
    held = []
    for study in range(400):
        runs = Runs(names=("n",), sizes=np.full((5, 1), 1e6), losses=np.exp(draw.normal(0, 0.1, 5)))
        drawn = resample(runs, 400, seed=study)
        assert drawn is not None
        low, high = np.quantile(np.log(drawn.losses).mean(axis=1), [0.025, 0.975])
        held.append(low <= 0 <= high)
    # Three standard errors of a share of .95 in 400.
    assert np.mean(held) == pytest.approx(0.95, abs=0.033)


def uneven(counts: list[int], noise: float, *, draw: np.random.Generator) -> Runs:
    """Return runs without an effect of size, so many of each budget."""
    sizes = np.repeat(BUDGETS[: len(counts)], counts)
    losses = 0.65 * np.exp(draw.normal(0, noise, len(sizes)))
    return Runs(names=("n",), sizes=sizes[:, None], losses=losses)


def test_what_is_resampled_is_named_and_the_noise_of_seeds_is_pooled() -> None:
    draw = np.random.default_rng(1)
    runs = uneven([5, 5, 5, 1], 0.02, draw=draw)
    days = runs.losses * np.exp(draw.normal(0, 0.001, (500, 1)))
    known = Runs(names=("n",), sizes=runs.sizes, losses=runs.losses, resampled=days)
    drawn = resample(known, 500, seed=0)
    assert drawn is not None
    assert drawn.how == "blocks of test days, the same for all x seeds"
    assert np.log(drawn.losses[:, -1]).std() == pytest.approx(0.02, rel=0.5)
    # Runs of a winner move together.
    assert np.ptp(np.log(drawn.losses[:, :5] / runs.losses[:5]).std(axis=0)) < 1e-3
    alone = Runs(
        names=("n",), sizes=BUDGETS[:4, None], losses=runs.losses[::5], resampled=days[:, ::5]
    )
    drawn = resample(alone, 500, seed=0, misfit=Misfit(residuals=np.array([1, -1, 1, -1]) * 0.1,
                                                       n_parameters=1))  # fmt: skip
    assert drawn is not None
    assert drawn.how == "blocks of test days, the same for all x winners"
    # Four residuals of .1 and one parameter: a variance of .04 / 3.
    middle = np.diff(np.quantile(np.log(drawn.losses[:, 0]), [0.25, 0.75]))[0]
    assert middle == pytest.approx(2 * 0.765 * (0.04 / 3) ** 0.5, rel=0.2)


def test_intervals_that_hold_no_winners_say_so() -> None:
    draw = np.random.default_rng(1)
    runs = uneven([5, 5, 5], 0.02, draw=draw)
    left = Misfit(residuals=np.zeros(len(runs)), n_parameters=3)
    drawn = resample(runs, 200, seed=0, misfit=left)
    assert drawn is not None
    assert drawn.how.startswith("seeds (winners not: 3 tell nothing")
    free = dataclasses.replace(left, n_parameters=2)
    drawn = resample(runs, 200, seed=0, misfit=free)
    assert drawn is not None
    assert drawn.how == "seeds"


def test_fifteen_repeats_of_sixteen_runs_are_not_none() -> None:
    draw = np.random.default_rng(3)
    sizes = np.repeat(BUDGETS[:4], [5, 5, 5, 1])
    losses = planted(sizes) + draw.normal(0, 5e-4, 16)
    report = judge(Runs(names=("n",), sizes=sizes[:, None], losses=losses), n_resamples=300)
    assert report.verdict == "not identified"
    assert "at least 5 sizes, so 1 more is missing" in report.sentence
    assert report.resampled == "seeds x winners"
    assert report.trend.slope.low is not None


def test_repeats_without_a_difference_are_no_measure_of_noise() -> None:
    sizes = np.repeat(BUDGETS[:4], 3)
    report = judge(Runs(names=("n",), sizes=sizes[:, None], losses=planted(sizes)))
    assert report.verdict == "not identified"
    intervals = [e.low for form in report.forms.values() for e in form.estimates.values()]
    assert set(intervals) == {None}


def test_on_a_plateau_alpha_is_a_range_and_so_is_its_interval() -> None:
    # Four evenly spaced sizes on a curve, equally many runs: a sum of absolute residuals of a
    # straight line is the same for many slopes.
    sizes = np.repeat([2e6, 2e7, 2e8, 2e9], 5)
    draw = np.random.default_rng(0)
    losses = 0.45 + 0.2 * (sizes / 2e6) ** -0.25 + draw.normal(0, 1e-3, 20)
    runs = Runs(names=("n",), sizes=sizes[:, None], losses=losses)
    report = judge(runs, floor="none", n_resamples=200)
    power = report.forms["power"]
    alpha, (low, high) = power.estimates["alpha"], power.ranges["alpha"]
    assert high - low > 0.01
    assert alpha.low is not None
    assert alpha.high is not None
    assert alpha.low <= low <= alpha.value <= high <= alpha.high
    assert alpha.se is None
    # Of one alpha nothing is said: the output itself calls the form misspecified.
    assert report.verdict == "not identified"
    assert "alpha" not in report.sentence
    shown = f", not unique (any from {low:.4g} to {high:.4g} fits as well)"
    assert not_unique(power, "alpha") == shown
    # Within the range the objective is that of the best fit, and outside it is not.
    best = power.fit
    for exponent, is_as_good in (
        (low, True),
        (high, True),
        (0.9 * low, False),
        (1.1 * high, False),
    ):
        start = best.theta.copy()[None]
        start[0, 1] = exponent
        _, objective, _ = minimise(
            POWER,
            np.log(sizes)[:, None] - best.centre,
            np.log(losses),
            start,
            held=np.array([[False, True]]),
        )
        assert (objective[0] <= best.objective * (1 + 1e-5)) == is_as_good
    # The constant law is a median, here of twenty values; the right law has one optimum.
    middle = np.sort(losses)[9:11]
    assert report.forms["constant"].ranges["E"] == pytest.approx(tuple(middle), abs=2e-3)
    assert report.forms["saturating"].ranges == {}


def test_a_plateau_is_found_as_far_as_it_goes_without_a_measure_of_noise() -> None:
    # Its half width is less than a step that could be rounding: the grid of exponents shows it.
    sizes = np.repeat(np.geomspace(2e6, 2e9, 4), 2)[:, None]
    losses = 0.45 + 0.2 * (sizes[:, 0] / 2e6) ** -0.25
    best = fit(POWER, sizes, losses)
    exponents = plateau(best, sizes, losses, np.full(2, 1e-2))[:, 1]
    assert exponents.min() == pytest.approx(0.0324, abs=2e-4)
    assert exponents.max() == pytest.approx(0.0508, abs=2e-4)


@pytest.mark.parametrize("as_losses", [False, True])
def test_no_point_of_the_grid_is_below_a_fit_or_that_of_a_resample(as_losses: bool) -> None:
    draw = np.random.default_rng(1)
    sizes = np.repeat(np.geomspace(1e6, 1e9, 6), 3)[:, None]
    losses = planted(sizes[:, 0]) + draw.normal(0, 0.02, 18)
    best = fit(SATURATING, sizes, losses)
    assert best.grid.least is not None
    assert best.objective <= best.grid.least
    weights = None if as_losses else draw.multinomial(18, np.full(18, 1 / 18), 40).astype(float)
    own = losses + draw.normal(0, 0.02, (40, 18)) if as_losses else losses
    found = refit(best, sizes, own, weights=weights)
    x = np.log(sizes) - best.centre
    expected, _ = log_losses_and_derivatives(SATURATING, x, found, None)
    reached = huber(np.log(own) - expected, HUBER_DELTA)
    expected, _ = log_losses_and_derivatives(SATURATING, x, best.grid.theta, None)
    grid = huber(np.log(np.atleast_2d(own))[:, None] - expected, HUBER_DELTA)
    times = np.ones((40, 18)) if weights is None else weights
    least = (times[:, None] * grid).sum(axis=2).min(axis=1)
    assert ((times * reached).sum(axis=1) <= least * (1 + 1e-9)).all()


def test_a_resample_whose_optimum_is_another_is_fitted_there() -> None:
    # Without a floor one of two terms stands for it, and either may: a fit that stays at the first
    # optimum knows of one exponent only.
    law = Law(n_terms=2, has_floor=False)
    draw = np.random.default_rng(2)
    sizes = 10 ** draw.uniform(-1, 1, (40, 2))
    losses = 1 + 0.5 * (sizes**-0.35).sum(axis=1)
    losses *= np.exp(draw.normal(0, 0.03, 40))
    best = fit(law, sizes, losses)
    weights = draw.multinomial(40, np.full(40, 1 / 40), 60).astype(float)
    x, starts = np.log(sizes) - best.centre, np.tile(best.theta, (60, 1))
    stayed, _, _ = minimise(law, x, np.log(losses), starts, weights=weights)
    assert stayed[:, 1].max() < 0.2
    assert refit(best, sizes, losses, weights=weights)[:, 1].max() > 0.5


def test_what_is_held_stays_as_it_is() -> None:
    start = np.log([[0.3], [0.5]])
    theta, objectives, _ = minimise(
        CONSTANT, np.empty((3, 0)), np.log([0.4, 0.5, 0.9]), start, held=np.ones((2, 1), dtype=bool)
    )
    assert (theta == start).all()
    assert objectives[0] > objectives[1]


def test_a_regular_optimum_has_no_plateau() -> None:
    runs = seeds(5, 0.001, draw=np.random.default_rng(2))
    best = fit(SATURATING, runs.sizes, runs.losses)
    assert plateau(best, runs.sizes, runs.losses, np.full(3, 1e-2)).shape == (0, 3)


@pytest.mark.parametrize("data", [np.geomspace(2e7, 2e11, 12), np.full(12, 1e9)])
def test_axes_that_grow_together_or_not_at_all_define_no_law(data: Floats) -> None:
    both = np.stack([np.geomspace(1e6, 1e10, 12), data], axis=1)
    losses = 0.4 + 10 * both[:, 0] ** -0.3
    report = judge(Runs(names=("n", "d"), sizes=both, losses=losses), n_resamples=100)
    assert report.verdict == "not identified"
    assert not report.forms["saturating"].is_defined
    assert np.isnan(report.forms["saturating"].estimates["alpha"].value)


def test_a_loss_that_is_not_positive_is_refused() -> None:
    with pytest.raises(Exception, match="loss: must be a positive number in every row"):
        Runs(names=("n",), sizes=BUDGETS[:, None], losses=np.array([1, 2, 0, 4, 5.0]))


def test_power_is_a_saturating_law_without_a_floor() -> None:
    losses = BUDGETS**-0.3
    assert fit(POWER, BUDGETS[:, None], losses).exponents[0] == pytest.approx(0.3, abs=1e-9)
    assert fit(SATURATING, BUDGETS[:, None], losses).exponents[0] == pytest.approx(0.3, abs=1e-3)
