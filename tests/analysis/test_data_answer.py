"""Size and data: what shares of the training days say, and what they do not."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.answers.data_answer import data_sections, data_sentence, law_rows
from analysis.answers.report_parts import Section
from analysis.answers.share_judgement import JudgedData, judge_shares
from analysis.answers.share_judgement import runs_of as runs_of_rows
from analysis.cell_judgement import judge_study
from analysis.report import build
from analysis.statistics.day_resampling import DaySamples
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate
from analysis.statistics.law_judgement import judge
from analysis.statistics.law_report import LawReport
from analysis.statistics.run_resampling import Misfit, Runs, resample
from analysis.statistics.trend import trend_of
from analysis.statistics.verdict import verdict_on
from analysis.study_records import read_study
from tests.analysis.records import write_share_runs, write_study

SAMPLES = np.array([800.0, 1600.0, 3200.0])
ALPHA, BETA = 0.35, 0.55
N_DAYS = 100


def runs_of(
    *, winners: float = 0.0, amounts: float = 0.0, seeds: float = 0.002, n_seeds: int = 3,
    samples: Floats = SAMPLES, seed: int = 0,
) -> Runs:  # fmt: skip
    """Return runs of five budgets on amounts of data, with noise of winners, amounts and seeds."""
    draw = np.random.default_rng(seed)
    n, d = np.meshgrid(np.geomspace(2e4, 2e6, 5), samples, indexing="ij")
    logs = np.log(0.3 + 3 * n**-ALPHA + 8 * d**-BETA)
    logs = logs + winners * draw.standard_normal((5, 1)) + amounts * draw.standard_normal(n.shape)
    logs = logs[..., None] + seeds * draw.standard_normal((*n.shape, n_seeds))
    sizes = np.stack([np.repeat(each.ravel(), n_seeds) for each in (n, d)], axis=1)
    return Runs(
        names=("parameters", "training samples"),
        sizes=sizes,
        losses=np.exp(logs.ravel()),
        budget=np.repeat(np.arange(5), n_seeds * len(samples)),
    )


def test_runs_that_differ_in_their_seed_alone_are_told_from_those_of_other_data() -> None:
    runs = runs_of()
    assert [len(rows) for rows in runs.members] == [9] * 5
    assert [len(rows) for rows in runs.repeats] == [3] * 15
    assert all(len(np.unique(runs.sizes[rows], axis=0)) == 1 for rows in runs.repeats)
    one = runs_of(samples=SAMPLES[:1])
    assert [list(rows) for rows in one.repeats] == [list(rows) for rows in one.members]


def test_what_data_does_is_no_noise_of_the_trend_over_size() -> None:
    seeds = trend_of(runs_of()).components.seeds
    assert seeds is not None
    # Losses are about a half, and of the seeds 0.2 % is planted.
    assert seeds.value == pytest.approx(0.001, rel=0.4)
    constant = runs_of(seeds=0.0)
    assert trend_of(constant).slope.value == pytest.approx(
        np.mean([trend_of(runs_of(seeds=0.0, samples=SAMPLES[[k]])).slope.value for k in range(3)])
    )


def test_noise_of_a_winner_moves_all_its_amounts_together_and_theirs_does_not() -> None:
    runs = runs_of(seeds=1e-6)
    winner = np.repeat([0.1, -0.1, 0.1, -0.1, 0.1], 9)
    amount = np.tile(np.repeat([0.1, -0.1, 0.0], 3), 5)
    for residuals, least, most, how in (
        (winner, 0.999, 1.0, "seeds x winners"),
        (amount, -0.3, 0.3, "seeds x shares of the days"),
    ):
        drawn = resample(runs, 400, seed=0, misfit=Misfit(residuals=residuals, n_parameters=5))
        assert drawn is not None
        one, other = np.log(drawn.losses[:, [0, 3]]).T
        assert least <= np.corrcoef(one, other)[0, 1] <= most
        assert one.std() > 0.03
        assert drawn.how == how


@pytest.mark.slow
def test_planted_exponents_of_size_and_data_are_inside_their_intervals() -> None:
    runs = runs_of(winners=0.002, amounts=0.001)
    report = judge(runs, n_resamples=200)
    assert report.resampled == "seeds x winners x shares of the days"
    # As if every amount of data had a winner of its own.
    apart = judge(Runs(names=runs.names, sizes=runs.sizes, losses=runs.losses), n_resamples=200)
    widths = []
    for each in (report, apart):
        estimates = each.forms["saturating"].estimates
        for name, planted in (("alpha", ALPHA), ("beta", BETA)):
            low, high = estimates[name].low, estimates[name].high
            assert low is not None
            assert high is not None
            widths.append(high - low)
            assert each is apart or low < planted < high
    assert widths[0] > 1.2 * widths[2]
    assert report.verdict == "scaling"
    assert "beta 0." in report.sentence
    rows = law_rows(judged(report))
    assert [row[2] for row in rows] == ["constant", "power", "saturating"]
    assert rows[2][3:5] == [
        report.forms["saturating"].estimates[name] for name in ("alpha", "beta")
    ]
    # The law is that of both axes.
    form = report.forms["saturating"]
    unknown = Estimate(value=0.5, low=-0.1, high=1.1, se=0.3)
    form = dataclasses.replace(form, estimates={**form.estimates, "beta": unknown})
    verdict, sentence = verdict_on(runs, report.trend, form)
    assert verdict == "not identified"
    assert sentence.endswith("beta 0.5 [-0.1, 1.1].")


def numbers(found: Section) -> dict[str, Any]:
    own = found.numbers["1 recent"]
    assert isinstance(own, dict)
    return own


@pytest.mark.slow
def test_too_few_shares_give_a_table_and_no_exponent(tmp_path: Path) -> None:
    sizes = (10_000, 20_000, 40_000)
    write_study(tmp_path, dict.fromkeys(sizes, 0.3), horizons=(1,), n_days=N_DAYS)
    for size in sizes[:2]:
        write_share_runs(tmp_path, size, 0.5, 0.5, n_days=N_DAYS)
    write_share_runs(tmp_path, sizes[0], 0.25, None, n_days=N_DAYS)
    horizons = judge_study(read_study(tmp_path, None))
    (found,) = data_sections(horizons)
    assert found.sentences[:2] == [
        "1 day ahead, the latest days: No law of size and data can be fitted: 2 budgets and "
        "2 shares (0.5, 1) may be in it, and 3 of each are needed, 5 budgets for a claim about "
        "size.",
        "Left out of the law: 40000: trained on all training days alone, and share 0.25: of 10000 "
        "no run has a usable result; not trained: 20000.",
    ]
    runs, exponents = found.tables
    assert [row[2:7] for row in runs.rows] == [
        ["10000", 10_000, "0.25", 150, 0],
        ["10000", 10_000, "0.5", 300, 5],
        ["10000", 10_000, "1", 600, 5],
        ["20000", 20_000, "0.5", 300, 5],
        ["20000", 20_000, "1", 600, 5],
    ]
    assert exponents.rows == []
    assert numbers(found)["estimates"] == {}
    assert numbers(found)["runs"][0]["test"] is None
    (data,) = judge_shares(horizons)
    usable = [row for row in data.rows if row.problem is None]
    every_day = DaySamples(counts=np.ones((7, N_DAYS)), stretch=np.ones(7), shown=1.0)
    fitted = runs_of_rows(usable, every_day)
    assert fitted.levels.tolist() == [[10e3, 300], [10e3, 600], [20e3, 300], [20e3, 600]]
    assert ([len(rows) for rows in fitted.members], len(fitted.repeats)) == ([10, 10], 4)
    # Seven samples of days that are all of them have the losses of all days.
    assert fitted.resampled == pytest.approx(np.tile(fitted.losses, (7, 1)))


@pytest.mark.slow
def test_three_sizes_say_how_many_are_missing_and_give_no_exponent() -> None:
    whole = runs_of(winners=0.002, amounts=0.001)
    three = whole.without(np.flatnonzero(whole.budgets > 2))
    of_three = judged(judge(three, n_resamples=100))
    assert data_sentence(of_three).startswith(
        "not identified. 3 sizes, 27 runs: a claim about size needs at least 5 sizes, so 2 more are"
    )
    assert law_rows(of_three) == []
    two_shares = whole.without(np.flatnonzero(whole.sizes[:, 1] == SAMPLES[0]))
    sentence = data_sentence(judged(judge(two_shares, n_resamples=100)))
    assert "needs at least 3 sizes, and training samples has 2; nothing follows" in sentence


def judged(law: LawReport) -> JudgedData:
    return JudgedData(
        horizon=1, choice="recent", rows=[], n_budgets=5, shares=[0.25, 0.5, 1.0], law=law,
        left_out=[],
    )  # fmt: skip


def test_runs_on_a_share_that_cannot_be_judged_are_named_and_nothing_else_is_lost(
    tmp_path: Path,
) -> None:
    write_study(tmp_path, {10_000: 0.3}, horizons=(1,), n_days=N_DAYS)
    write_share_runs(tmp_path, 10_000, 0.5, 0.5, n_days=N_DAYS, winner=2)
    write_share_runs(tmp_path, 10_000, 0.25, 0.5, n_days=N_DAYS - 1)
    study = read_study(tmp_path, None)
    horizons = judge_study(study)
    assert len(horizons[0].cells) == 1
    days, winner = build(study, horizons).missing
    assert "recent_0.5: must hold runs of the winner, trial 1, but got those of trial 2" in winner
    assert "must hold answers of patchtst on the days of the runs on all training days" in days
    assert data_sections(horizons) == []
