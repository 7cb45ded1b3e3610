"""Scores and their intervals, against scikit-learn and against what is planted."""

import dataclasses

import numpy as np
import pytest
from arch.bootstrap import MCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import t as student
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from analysis.answers.selection_answer import optimism_sentence
from analysis.holdout_scores import aucs, calibration_errors, score_model
from analysis.statistics.comparison import (
    Difference,
    Standing,
    compare,
    confidence_set,
    mean_excess,
    optimism,
    paired_difference,
    pairs_of,
)
from analysis.statistics.day_resampling import (
    N_RESAMPLES,
    DaySamples,
    daily_means,
    effective_days,
    mean_over_seeds,
    resampled_days,
)
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate
from analysis.study_records import Predictions
from study.statistics.auc_error import auc_standard_error

N_DAYS = 700


def market(seed: int = 0, n: int = N_DAYS) -> tuple[Floats, Floats]:
    """Return true probabilities that drift, as volatility does, and what came of them."""
    draw = np.random.default_rng(seed)
    logit = np.convolve(draw.standard_normal(n + 49), np.full(50, 0.2), mode="valid") - 1
    p = 1 / (1 + np.exp(-logit))
    return p, (draw.random(n) < p).astype(np.float64)


def said(p: Floats, noise: float, n_seeds: int = 5, seed: int = 1) -> Floats:
    """Return the answers of models of some quality, shape (n_seeds, n_days)."""
    draw = np.random.default_rng(seed)
    logit = np.log(p) - np.log1p(-p) + noise * draw.standard_normal((n_seeds, len(p)))
    return np.asarray(1 / (1 + np.exp(-logit)))


def beside(
    models: dict[str, Floats], others: dict[str, Floats], days: DaySamples
) -> list[Difference]:
    """Return the differences of models to others, all of them one family."""
    pairs = pairs_of(models, others, days, np.random.default_rng(0))
    return compare([pair for own in pairs.values() for pair in own])


def of(y: Floats, **models: Floats) -> Predictions:
    dates = np.datetime64("2016-01-01") + np.arange(len(y))
    return Predictions(dates=dates, y=y, p=models)


@settings(max_examples=40, deadline=None)
@given(
    levels=st.lists(st.sampled_from([0.1, 0.3, 0.5, 0.9]), min_size=4, max_size=40),
    seed=st.integers(0, 1000),
)
def test_the_auc_of_a_sample_of_days_is_that_of_its_days(levels: list[float], seed: int) -> None:
    p = np.array(levels)
    generator = np.random.default_rng(seed)
    y = generator.integers(2, size=len(p)).astype(np.float64)
    rows = generator.integers(len(p), size=(5, len(p)))
    counts = np.stack([np.bincount(row, minlength=len(p)) for row in rows]).astype(np.float64)
    for row, found in zip(rows, aucs(p, y, counts), strict=True):
        if len(np.unique(y[row])) < 2:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(roc_auc_score(y[row], p[row]))


def test_scores_are_those_of_scikit_learn() -> None:
    p, y = market()
    model = said(p, 0.5)
    found = score_model(
        of(y, patchtst=model), "patchtst", np.full(N_DAYS, 0.25), resampled_days(N_DAYS, 1)
    )
    assert found.log_loss.value == pytest.approx(np.mean([log_loss(y, seed) for seed in model]))
    assert found.auc.value == pytest.approx(np.mean([roc_auc_score(y, seed) for seed in model]))
    assert found.brier.value == pytest.approx(np.mean([brier_score_loss(y, s) for s in model]))
    constant = log_loss(y, np.full(N_DAYS, 0.25))
    assert found.skill_train_prior.value == pytest.approx(1 - found.log_loss.value / constant)
    for estimate in (found.log_loss, found.auc, found.brier, found.ece, found.skill_own_prior):
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.value < estimate.high or estimate is found.ece
    assert found.n_seeds == 5
    assert not found.is_next_to_constant
    assert found.decisions[0].positives == y.sum()
    assert sum(b.n for b in found.reliability) == N_DAYS


def test_a_constant_at_the_base_rate_is_a_collapse() -> None:
    y = np.zeros(1000)
    y[:118] = 1
    y = np.random.default_rng(0).permutation(y)
    constant = np.full((1, 1000), 0.118)
    found = score_model(
        of(y, patchtst=constant), "patchtst", np.full(1000, 0.118), resampled_days(1000, 1)
    )
    assert found.log_loss.value == pytest.approx(0.3629, abs=5e-5)
    assert found.is_next_to_constant
    assert found.auc.value == 0.5
    at_half, at_base_rate = found.decisions
    assert at_half.precision is None
    assert at_half.accuracy.value == at_half.majority_accuracy
    # A constant at the base rate says yes to all: it finds every positive, and is mostly wrong.
    assert at_base_rate.recall == 1
    assert at_base_rate.precision == pytest.approx(0.118)


def test_calibration_error_is_zero_where_what_is_said_comes_true() -> None:
    y = np.tile([1.0, 0, 0, 0], 100)
    once = np.ones((1, 400))
    assert calibration_errors(np.full(400, 0.25), y, once)[0] == pytest.approx(0, abs=1e-12)
    assert calibration_errors(np.full(400, 0.75), y, once)[0] == pytest.approx(0.5)


def test_days_that_hang_together_have_a_wider_interval() -> None:
    draw = np.random.default_rng(0)
    steps = draw.standard_normal(N_DAYS)
    slow = np.convolve(draw.standard_normal(N_DAYS + 29), np.full(30, 30**-0.5), mode="valid")
    days = resampled_days(N_DAYS, 1)
    apart, together = (daily_means(v[None], days).std() for v in (steps, slow))
    assert apart == pytest.approx(N_DAYS**-0.5, rel=0.2)
    assert together > 2.5 * apart


def test_a_decade_that_hangs_together_for_months_is_resampled_in_years() -> None:
    # A deviation that halves in two months lies below the noise of single days.
    n_days, memory, share = 7_300, 0.5 ** (1 / 42), 0.3
    draw = np.random.default_rng(0)
    steps = draw.standard_normal(n_days + 1_000) * (1 - memory**2) ** 0.5
    slow = lfilter([1.0], [1.0, -memory], steps)[1_000:]
    values = draw.standard_normal(n_days) + share * slow
    true = ((1 + share**2 * (1 + memory) / (1 - memory)) / n_days) ** 0.5
    found = daily_means(values[None], resampled_days(n_days, 1)).std()
    short = daily_means(values[None], resampled_days(n_days, 1, n_part_days=712)).std()
    assert short < 0.7 * true
    assert 0.75 * true < found < 1.25 * true


def test_seeds_that_differ_spread_their_mean_like_students_t() -> None:
    seeds = np.random.default_rng(0).standard_normal(5)
    values = np.tile(seeds, (200_000, 1))
    spread = mean_over_seeds(values, np.random.default_rng(1)) - seeds.mean()
    said = np.quantile(spread / (seeds.std(ddof=1) / 5**0.5), [0.025, 0.5, 0.975])
    assert said == pytest.approx(student.ppf([0.025, 0.5, 0.975], 4), abs=0.1)
    assert mean_over_seeds(values[:, :1], np.random.default_rng(1)).std() < 1e-15


def test_noise_of_single_days_is_not_counted_again_among_seeds() -> None:
    draw = np.random.default_rng(0)
    days = resampled_days(N_DAYS, 1)
    values = daily_means(draw.standard_normal((200, N_DAYS)), days)
    spread = mean_over_seeds(values, np.random.default_rng(1))
    assert spread.std() == pytest.approx(values.mean(axis=1).std(), rel=0.1)


def test_a_better_model_is_called_better_and_an_equal_one_is_not() -> None:
    p, y = market(n=2000)
    told = of(y, good=said(p, 0.1), equal=said(p, 1.0, seed=2), rival=said(p, 1.0, seed=3))
    days = resampled_days(2000, 1)
    models = {name: told.losses(name) for name in ("good", "equal")}
    good, equal = beside(models, {"rival": told.losses("rival")}, days)
    assert good.is_better
    assert not good.is_worse
    assert not equal.is_better
    assert not equal.is_worse
    (reverse,) = beside({"rival": told.losses("rival")}, {"good": told.losses("good")}, days)
    assert reverse.is_worse
    assert not reverse.is_better
    assert confidence_set({n: told.losses(n) for n in told.p}, days) == [("good",)]


@pytest.mark.parametrize("sign", [1, -1])
def test_one_of_many_must_be_further_away_to_be_called_better_or_worse(sign: int) -> None:
    draw = np.random.default_rng(3)
    rival = draw.gamma(2, 0.2, (1, N_DAYS))
    moves = draw.standard_normal((20, N_DAYS)) * 0.05
    moves -= moves.mean(axis=1, keepdims=True)
    moves[0] += sign * 2.4 * 0.05 / N_DAYS**0.5
    models = {str(i): rival + move for i, move in enumerate(moves)}
    days = resampled_days(N_DAYS, 1)
    (alone,) = beside({"0": models["0"]}, {"rival": rival}, days)
    assert (alone.is_worse, alone.is_better) == (sign > 0, sign < 0)
    among = beside(models, {"rival": rival}, days)[0]
    assert among.excludes_zero
    assert not among.is_worse
    assert not among.is_better


def test_better_is_better_than_each_of_all_and_worse_is_worse_than_one() -> None:
    p, y = market(n=2000)
    told = of(
        y,
        good=said(p, 0.1),
        middle=said(p, 0.6, seed=2),
        weak=said(p, 1.5, n_seeds=1, seed=3),
        twin=said(p, 0.1, n_seeds=1, seed=4),
    )
    losses = {name: told.losses(name) for name in told.p}
    days = resampled_days(2000, 1)

    def standing(model: str, *others: str) -> Standing:
        chosen = {name: losses[name] for name in others}
        return Standing(differences=beside({model: losses[model]}, chosen, days))

    assert standing("good", "middle", "weak").is_better
    # Better than two of three, and not told apart from the third: not better than the set.
    among = standing("good", "middle", "weak", "twin")
    assert [each.claim for each in among.differences] == ["better", "better", "not told apart"]
    assert not among.is_better
    assert not among.is_worse
    assert among.hardest.other == "twin"
    middle = standing("middle", "good", "weak")
    assert middle.is_worse
    assert not middle.is_better
    assert middle.hardest.other == "good"


def test_a_lead_that_days_gave_is_optimism_and_one_that_lasts_is_none() -> None:
    draw = np.random.default_rng(0)
    rival = draw.gamma(2, 0.2, (1, 2 * N_DAYS))
    moves = 0.05 * draw.standard_normal((5, 2 * N_DAYS))
    parts = (slice(0, N_DAYS), slice(N_DAYS, None))
    for part in parts:
        moves[:, part] -= moves[:, part].mean(axis=1, keepdims=True)
    days = [resampled_days(N_DAYS, 1, seed=1), resampled_days(N_DAYS, 1)]

    def found(chosen: float, later: float) -> Estimate:
        own = rival + moves
        own[:, parts[0]] += chosen
        own[:, parts[1]] += later
        before, after = (
            (own[:, part], rival[:, part], samples)
            for part, samples in zip(parts, days, strict=True)
        )
        one = optimism(before, after, np.random.default_rng(2))
        assert one.chosen.value == pytest.approx(chosen, abs=1e-12)
        assert one.later.value == pytest.approx(later, abs=1e-12)
        # The mean of a model and its equal is known no better than one of them.
        assert mean_excess([one, one]) == one.excess
        return one.excess

    lucky, lasting, late = found(-0.01, 0.0), found(-0.01, -0.01), found(0.0, -0.01)
    assert optimism_sentence(lucky, "2 cells", "later days").endswith(
        "as far as the periods are alike."
    )
    assert "0.0100 [0.00" in optimism_sentence(lucky, "2 cells", "later days")
    assert optimism_sentence(lasting, "1 cell", "later days").endswith(
        "(mean of 1 cell): no optimism can be seen."
    )
    assert "do better where nothing was chosen, so that no optimism" in optimism_sentence(
        late, "2 cells", "later days"
    )


def test_days_that_hang_together_are_worth_fewer() -> None:
    draw = np.random.default_rng(0)
    noise = draw.standard_normal(2_400)
    days = resampled_days(2_400, 1)
    assert effective_days(noise, days) == pytest.approx(2_400, rel=0.2)
    # A mean of five days in a row knows a fifth as much.
    slow = np.convolve(draw.standard_normal(2_404), np.ones(5), mode="valid")
    assert effective_days(slow, days) == pytest.approx(480, rel=0.25)
    assert np.isnan(effective_days(np.ones(2_400), days))


def test_a_model_that_equals_its_rival_is_not_told_apart() -> None:
    p, y = market()
    told = of(y, one=said(p, 0.5, n_seeds=1), other=said(p, 0.5, n_seeds=1))
    days = resampled_days(N_DAYS, 1)
    (found,) = beside({"one": told.losses("one")}, {"other": told.losses("other")}, days)
    assert found.difference.value == 0
    assert not found.is_better
    assert confidence_set({n: told.losses(n) for n in told.p}, days) == [("one", "other")]


@pytest.mark.parametrize("seed", range(4))
def test_the_confidence_set_of_days_as_they_are_is_that_of_arch(seed: int) -> None:
    draw = np.random.default_rng(seed)
    common = draw.gamma(2, 0.2, N_DAYS)
    levels = np.array([0.0, 0.001, 0.004, 0.02, 0.03])
    daily = common[:, None] + levels + 0.05 * draw.standard_normal((N_DAYS, len(levels)))
    days = resampled_days(N_DAYS, 1)
    as_they_are = dataclasses.replace(days, stretch=np.ones(N_RESAMPLES), shown=1.0)
    found = confidence_set({str(i): own[None] for i, own in enumerate(daily.T)}, as_they_are)
    theirs = MCS(daily, 0.1, reps=N_RESAMPLES, block_size=20, bootstrap="stationary", seed=0)
    theirs.compute()
    assert found == [(str(i),) for i in theirs.included]


@pytest.mark.slow
def test_one_of_equal_models_is_left_out_as_seldom_as_is_said_where_blocks_are_few() -> None:
    n_days, horizon, n_studies = 150, 5, 300
    days, draw = resampled_days(n_days, horizon), np.random.default_rng(0)
    left_out = 0
    for _ in range(n_studies):
        sums = np.cumsum(draw.standard_normal((4, n_days + horizon)), axis=1)
        losses = sums[:, horizon:] - sums[:, :-horizon]
        models = {str(i): own[None] for i, own in enumerate(losses)}
        # All are as good, so that each is a best one.
        left_out += len(confidence_set(models, days)) < len(models)
    # By samples as they are it is more than a third of the studies.
    assert left_out / n_studies <= 0.1 + 2 * (0.1 * 0.9 / n_studies) ** 0.5


def test_equal_models_are_compared_once_and_stay_together() -> None:
    p, y = market()
    told = of(y, one=said(p, 0.3, n_seeds=1), twin=said(p, 0.3, n_seeds=1),
              better=said(p, 0.0, n_seeds=1))  # fmt: skip
    losses, days = {name: told.losses(name) for name in told.p}, resampled_days(N_DAYS, 1)
    assert confidence_set(losses, days) == [("one", "twin"), ("better",)]
    # What rounding makes of equal answers is equal.
    losses = {"one": losses["one"], "twin": losses["twin"] + 1e-16, "other": losses["one"][:, ::-1]}
    assert ("one", "twin") in confidence_set(losses, days)


@pytest.mark.slow
def test_the_interval_of_a_paired_difference_covers_what_is_true() -> None:
    # Two models whose true losses are known, since the probabilities are.
    covered = 0
    n_studies = 60
    for study in range(n_studies):
        p, y = market(seed=study, n=500)
        a, b = said(p, 0.3, seed=1000 + study), said(p, 0.8, seed=2000 + study)
        told = of(y, a=a, b=b)
        found = paired_difference(told.losses("a"), told.losses("b"), resampled_days(500, 1))
        true = _expected(p, 0.3) - _expected(p, 0.8)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= true <= found.high
    # Of 60 studies with coverage of .90 to .98, 97.5 % have 50 or more.
    assert covered >= 50


def _expected(p: Floats, noise: float) -> float:
    """Return the mean loss on such days of a model of that noise."""
    logit = said(p, noise, n_seeds=200, seed=7)
    return float(-(p * np.log(logit) + (1 - p) * np.log1p(-logit)).mean())


@pytest.mark.parametrize(
    ("n", "share", "expected", "digits"),
    [(1500, 0.2, 0.018, 3), (500, 0.2, 0.031, 3), (250, 0.2, 0.044, 3), (5000, 0.2, 0.010, 3)],
)
def test_the_standard_error_of_an_auc_is_that_of_hanley_and_mcneil(
    n: int, share: float, expected: float, digits: int
) -> None:
    n_positive = round(share * n)
    assert round(auc_standard_error(0.7, n_positive, n - n_positive), digits) == expected


def test_the_standard_error_of_an_auc_is_the_scatter_of_it() -> None:
    draw = np.random.default_rng(2)
    n_positive, n_negative = 76, 346
    y = np.repeat([1.0, 0.0], [n_positive, n_negative])
    days = np.ones((1, len(y)))
    # Exponential scores, for which the formula is exact: an area of .7 at a ratio of 7 to 3.
    found = [aucs(draw.exponential(3 + 4 * y), y, days)[0] for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.7, abs=0.005)
    assert np.std(found) == pytest.approx(auc_standard_error(0.7, 76, 346), rel=0.07)
