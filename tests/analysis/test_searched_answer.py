"""What a search alone says: the best trials, lines through them, shapes, and what more may find."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from analysis.answers.horizon_answer import horizons_section
from analysis.answers.questions import answer
from analysis.answers.report_parts import Section
from analysis.answers.search_answers import (
    coverage_section,
    depth_section,
    heads_section,
    time_section,
)
from analysis.answers.searched_answer import found_section, found_sentences, more_trials_section
from analysis.answers.shape_tables import pairs_of_heads, styles_table
from analysis.draw import draw
from analysis.study_records import CellRecords, StudyRecords
from analysis.trial_statistics import (
    band_coverage,
    band_levels,
    both_modes,
    tuning_curve,
    unequal_numbers,
)
from study.results.records import BEYOND, NEIGHBOUR, StopReason, TrialRecord
from tests.results.conftest import PARAMS, record

SPLITS = {"train": {"base_rate": 0.3}}


def cell(budget: int, horizon: int, trials: Sequence[TrialRecord]) -> CellRecords:
    """Return a search of one budget, whose first five trials are drawn at random."""
    return CellRecords(
        name=f"{budget}_h{horizon}", search=f"{budget}_h{horizon}", budget=str(budget),
        searched={
            "spec": {
                "budgets": [{"label": str(budget), "target": budget}],
                "search": {"startup_trials": 5},
            },
            "horizon": horizon, "splits": SPLITS, "trials": len(trials),
        },
        trials=trials, n_ended=len(trials), is_complete=True, final=None, table=None,
        final_problem=None,
    )  # fmt: skip


def study(*cells: CellRecords) -> StudyRecords:
    return StudyRecords(name="demo", variant="direction", cells=cells, problems=[], other_phases=[])


def trial(number: int, size: int, value: float | None, **params: Any) -> TrialRecord:
    return record(
        number, value=value, param_count=size, params={**PARAMS, **params},
        reason="completed" if value is not None else "diverged",
    )  # fmt: skip


def three_budgets() -> StudyRecords:
    sizes = (10_000, 100_000, 1_000_000)
    return study(
        *(
            cell(size, horizon, [trial(n, size, 0.6 * size**-0.02 + 0.01 * n) for n in range(8)])
            for size in sizes
            for horizon in (1, 3)
        )
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (BEYOND, "2 trials beyond an edge of the file"),
        (f"{NEIGHBOUR}demo_1000_h3/7", "2 trials with the settings of other cells' best ones"),
    ],
)
def test_trials_put_near_a_best_one_are_no_draws_and_are_counted_out(
    source: str, said: str
) -> None:
    within = [trial(n, 10_000, 0.6 + 0.01 * n) for n in range(8)]
    beyond = [dataclasses.replace(trial(n, 10_000, 0.5), source=source) for n in (8, 9)]
    before, after = study(cell(10_000, 1, within)), study(cell(10_000, 1, [*within, *beyond]))
    for section in (more_trials_section, coverage_section):
        (one,), (other,) = section(before).figures, section(after).figures
        assert one.series == other.series
        assert said in " ".join(section(after).sentences)
        assert "Not counted" not in " ".join(section(before).sentences)


def test_searches_that_began_with_other_cells_are_named() -> None:
    alone = cell(10_000, 1, [trial(0, 10_000, 0.6)])
    known = {"neighbours": {"found": [{"cell": "demo_10000_h1"}], "remarks": []}}
    other = cell(10_000, 3, [trial(0, 10_000, 0.6)])
    knowing = dataclasses.replace(other, searched={**other.searched, **known})
    said = (
        "1 of 2 searches began with the best trials of finished cells, so that their winners are "
        "not found independently: 10000, 3 days ahead (of demo_10000_h1)."
    )
    assert said in found_section(study(alone, knowing)).sentences
    assert "finished cells" not in " ".join(found_section(study(alone, other)).sentences)


@pytest.mark.parametrize(
    "section", [depth_section, heads_section, coverage_section, horizons_section]
)
def test_no_table_of_a_section_that_says_so_counts_trials_beyond_an_edge(
    section: Callable[[StudyRecords], Section],
) -> None:
    within = [
        trial(n, 10_000, 0.6 + 0.01 * n, n_layers=2**n, n_heads=2 + n % 2, dropout=0.1 * n)
        for n in range(4)
    ]
    ends: tuple[tuple[int, StopReason], ...] = (4, "completed"), (5, "asha"), (6, "oom")
    beyond = [
        dataclasses.replace(
            trial(n, 10_000, 0.5, n_layers=32, n_heads=8 * n, dropout=0.5),
            source=BEYOND, reason=reason,
        )
        for n, reason in ends
    ]  # fmt: skip
    before, after = (
        section(study(*(cell(10_000, horizon, trials) for horizon in (1, 3))))
        for trials in (within, [*within, *beyond])
    )
    assert before.tables
    assert after.tables == before.tables
    assert after.figures == before.figures
    assert "Not counted: 6 trials beyond an edge of the file" in after.sentences[0]
    assert not any("beyond an edge" in sentence for sentence in before.sentences)


def test_the_time_that_was_foretold_is_compared_without_trials_beyond_an_edge() -> None:
    within = [
        dataclasses.replace(trial(n, 10_000, 0.6), started=20.0 * n, ended=20.0 * n + 20)
        for n in range(3)
    ]
    # Those with the settings of other cells are among the trials of the estimate.
    within[0] = dataclasses.replace(within[0], source=f"{NEIGHBOUR}demo_1000_h3/7")
    last = dataclasses.replace(trial(3, 10_000, 0.5), source=BEYOND, started=60.0, ended=120.0)
    estimate = {"estimate": {"search_seconds_expected": 60.0}}
    own = cell(10_000, 1, [*within, last])
    section = time_section(study(dataclasses.replace(own, searched={**own.searched, **estimate})))
    assert section.numbers["median_ratio"] == 1
    assert section.sentences[0].endswith(
        "trials beyond an edge of the file, which no estimate has."
    )
    ((*_, taken, all_trials),) = section.tables[0].rows
    # Each trial was busy for ten seconds.
    assert taken == 1
    assert all_trials == pytest.approx(4 * 10 / 60)


def test_winners_of_unequally_many_trials_are_said_to_be() -> None:
    few, many = (
        [trial(n, 10_000, 0.6) for n in range(12)],
        [trial(n, 20_000, 0.6) for n in range(15)],
    )
    assert unequal_numbers([few, few, []]) == ""
    said = found_section(study(cell(10_000, 1, few), cell(20_000, 1, many))).sentences[-1]
    assert said.startswith("Each winner is the best of 12 to 15 trials: the best of more trials")
    beyond = [dataclasses.replace(each, source=BEYOND) for each in many[12:]]
    assert "12 to 15 trials, those beyond an edge of the file among them: " in unequal_numbers(
        [few, [*many[:12], *beyond]]
    )


def test_trials_of_both_memory_modes_are_told_apart_and_said_to_be_ranked_together() -> None:
    lean = [trial(n, 20_000, 0.5, memory="lean") for n in range(2)]
    full = [trial(n, 20_000, 0.6, memory="full") for n in range(2, 5)]
    assert both_modes(lean) == both_modes(full) == []
    # Records of earlier versions have no mode, and are of full trials.
    assert both_modes([trial(0, 20_000, 0.5), *full]) == []
    (said,) = both_modes([*lean, *full])
    assert said.startswith("2 of 5 trials are lean (budget 2M): trials in memory mode lean are")
    best = found_section(study(cell(20_000, 1, [*lean, *full]))).tables[1].rows[0]
    assert str(best[5]).endswith(" lean")


def test_the_best_of_each_budget_stands_by_horizon_and_is_not_taken_for_a_law() -> None:
    section = found_section(three_budgets())
    matrix, winners = section.tables
    assert matrix.columns == ("budget", "1 day ahead", "3 days ahead")
    assert [row[0] for row in matrix.rows] == ["10000", "100000", "1000000"]
    assert [row[0] for row in winners.rows] == [s for size in matrix.rows for s in [size[0]] * 2]
    lines = [each for each in section.sentences if "R2" in each]
    assert len(lines) == 2
    # A planted exponent of .02 on a line without noise.
    assert lines[0].startswith(
        "1 day ahead, a line through the logs of 3 best losses: alpha 0.0200"
    )
    assert "R2 1.00. R2 is no evidence of a law: with no effect of size at all" in lines[0]
    assert [figure.name for figure in section.figures] == ["validation_h1", "validation_h3"]
    assert all(figure.log_x and figure.log_y for figure in section.figures)


@pytest.mark.slow
def test_a_search_alone_has_winners_and_pictures() -> None:
    sections = {section.name: section for section in answer(three_budgets(), [])}
    assert sections["found"].tables[0].rows
    figures = [figure for section in sections.values() for figure in section.figures]
    assert {"validation_h1", "best_of_k", "more_trials_h3"} <= {figure.name for figure in figures}
    svg, png = draw(next(figure for figure in figures if figure.name == "more_trials_h1"))
    assert svg.startswith("<svg")
    assert png


def test_two_budgets_have_no_line() -> None:
    two = study(*three_budgets().cells[:4])
    assert not any("R2" in sentence for sentence in found_section(two).sentences)
    nothing = study(cell(10, 1, [trial(0, 10, None)]))
    assert found_section(nothing).sentences == found_sentences(nothing) == []


@pytest.mark.parametrize("n", [1, 2, 10, 40])
def test_a_band_holds_for_all_ordered_draws_at_once_as_often_as_it_says(n: int) -> None:
    low, high = band_levels(n)
    assert band_coverage(low, high) == pytest.approx(0.95, abs=1e-6)
    drawn = np.sort(np.random.default_rng(n).random((20_000, n)), axis=1)
    held = ((low <= drawn) & (drawn <= high)).all(axis=1).mean()
    assert held == pytest.approx(0.95, abs=0.006)


def test_the_probability_that_two_draws_lie_in_bounds_is_that_of_the_square() -> None:
    # Of the pairs with u < v and u < .5 < v half of the square is left.
    assert band_coverage(np.array([0, 0.5]), np.array([0.5, 1])) == pytest.approx(0.5)
    assert band_coverage(np.zeros(3), np.ones(3)) == pytest.approx(1)


def test_the_curve_is_the_one_that_was_published() -> None:
    # As opda 0.8.0 has it for these draws, by simulation: EmpiricalDistribution.confidence_bands
    # with method="ld_equal_tailed", then quantile_tuning_curve with minimize=True.
    curve = tuning_curve(np.arange(1.0, 31.0))
    assert curve.low.tolist() == [7, 2, 1, *[-np.inf] * 27]
    assert curve.median.tolist() == [15, 9, 7, 5, 4, 4, *[3] * 4, *[2] * 10, *[1] * 10]
    high = [24, 17, 14, 12, 11, 10, 9, 9, 8, 8, *[7] * 5, *[6] * 7, *[5] * 8]
    assert curve.high.tolist() == high


def test_a_failed_trial_counts_as_worse_than_any() -> None:
    curve = tuning_curve(np.array([0.5, np.inf, np.inf, np.inf]))
    assert curve.median.tolist() == [np.inf, np.inf, 0.5, 0.5]
    own = cell(10, 1, [trial(n, 10, None if n % 2 else 0.5 + 0.01 * n) for n in range(8)])
    section = more_trials_section(study(own))
    (table,) = section.tables
    assert [row[2] for row in table.rows] == [1, 2, 5, 8]
    assert table.rows[-1][4] == "no bound"
    assert "Of the 8 trials 5 surely were" in section.sentences[0]
    spec = {name: each for name, each in own.searched["spec"].items() if name != "search"}
    older = dataclasses.replace(own, searched={**own.searched, "spec": spec})
    (sentence,) = more_trials_section(study(older)).sentences
    assert "Of the 8 trials an unknown number were" in sentence


def test_pairs_that_differ_in_heads_alone_come_first() -> None:
    trials = [
        trial(0, 10, 0.60, n_heads=2),
        trial(1, 10, 0.55, n_heads=4),
        trial(2, 10, 0.50, n_heads=8, learning_rate=0.1),
        trial(3, 10, 0.58, n_heads=4, d_model=32),
    ]
    (sentence,), (table,) = pairs_of_heads(study(cell(10, 1, trials)))
    assert "2 pairs of trials have the same shape" in sentence
    assert "1 of them differ in nothing else, and more heads have the lower loss in 1" in sentence
    assert [(row[3], row[4], row[-1]) for row in table.rows] == [
        (2, 4, "heads alone"), (4, 8, "training too"),
    ]  # fmt: skip
    assert pairs_of_heads(study(cell(10, 1, trials[2:]))) == (
        ["No two usable trials of a cell have the same shape and other heads."], [],
    )  # fmt: skip


def test_styles_are_those_of_layers_over_width() -> None:
    shapes = [(64, 2), (32, 8), (16, 16)]
    trials = [
        trial(n, 10, 0.5 + 0.1 * n, d_model=width, n_layers=layers)
        for n, (width, layers) in enumerate(shapes)
    ]
    rows = styles_table(study(cell(10, 1, trials))).rows
    assert [(row[2], row[3], row[4]) for row in rows] == [
        ("narrow and deep", 1, 0.7), ("balanced", 1, 0.6), ("wide and shallow", 1, 0.5),
    ]  # fmt: skip
