"""The first screen of a report: its headline, its picture and its three statements."""

import dataclasses
from pathlib import Path

import pytest

from analysis.answers.first_picture import Mark, baselines_picture, budgets_picture
from analysis.answers.first_screen import first_screen, smallest_shown
from analysis.answers.report_parts import Figure
from analysis.cell_judgement import JudgedHorizon, judge_study
from analysis.draw import draw
from analysis.statistics.comparison import Difference, Standing
from analysis.statistics.interval import Estimate
from analysis.study_records import StudyRecords, read_study
from tests.analysis.records import write_study


def difference(value: float, se: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value - 2 * se, high=value + 2 * se, se=se)


def mark(place: str, horizon: int, value: float = 0.0, se: float = 0.01) -> Mark:
    return Mark(
        place=place, horizon=horizon, label=f"{place} h{horizon}", estimate=difference(value, se)
    )


def picture(*marks: Mark) -> Figure:
    places = list(dict.fromkeys(each.place for each in marks))
    return budgets_picture(marks, places, what="Test log-loss", rival="the best baseline")


def test_marks_of_a_budget_stand_side_by_side_by_horizon_and_search() -> None:
    drawn = picture(mark("2k", 1), mark("2k", 1), mark("2k", 3), mark("5k", 1), mark("5k", 3))
    one, three = drawn.series[-2:]
    assert (one.name, three.name) == ("1 day ahead", "3 days ahead")
    assert one.x == pytest.approx([-0.2, 0.0, 0.8])
    assert three.x == pytest.approx([0.2, 1.2])


def test_what_days_cannot_show_is_drawn_around_zero_by_its_own_error() -> None:
    drawn = picture(mark("2k", 1, se=0.01), mark("5k", 1, se=0.02), mark("9k", 1, se=0.0))
    (ranges,) = [each for each in drawn.series if each.is_range]
    # Standard errors of 80 % power at 5 %: 1.960 + 0.842. No error is no range.
    assert ranges.high == pytest.approx([0.0280, 0.0560], abs=1e-4)
    assert ranges.low == pytest.approx([-0.0280, -0.0560], abs=1e-4)


def test_a_picture_of_one_budget_leaves_out_the_baselines_that_are_far_off() -> None:
    names = [f"baseline {i}" for i in range(8)]
    drawn = baselines_picture([mark(name, 1, -0.1 * i) for i, name in enumerate(names)])
    assert list(drawn.categories) == names[:6]
    assert len(drawn.series[-1].y) == 6


def test_all_numbers_of_the_picture_are_in_its_alternative_text() -> None:
    assert "1 day ahead, 2k h1: -0.0100 [-0.0300, 0.0100]" in picture(mark("2k", 1, -0.01)).alt


def test_marks_differ_without_their_colours() -> None:
    svg, _ = draw(picture(mark("2k", 1), mark("2k", 3)))
    shapes = [
        svg[svg.index(f'id="first_screen--{series}--0"') :].split(' d="')[1].split('"')[0]
        for series in (2, 3)
    ]
    assert shapes[0] != shapes[1]
    assert 'id="first_screen--0--range"' in svg


def test_nothing_is_shown_of_differences_without_an_error() -> None:
    assert smallest_shown([Estimate(value=0.1, low=None, high=None, se=None)]) is None
    assert smallest_shown([difference(0, 0.01), difference(0, 0.03), difference(0, 0.02)]) == (
        pytest.approx(0.056, abs=1e-3)
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRecords, JudgedHorizon]:
    path: Path = tmp_path_factory.mktemp("study")
    write_study(path, {10_000: 0.3, 20_000: 0.2}, horizons=(1,), n_days=60)
    found = read_study(path, None)
    (horizon,) = judge_study(found)
    return found, horizon


def with_claims(
    horizon: JudgedHorizon, *values: float, over: Estimate | None = None, survives: bool = True
) -> JudgedHorizon:
    """Return a horizon whose winners stand so far from their one baseline."""
    cells = []
    for cell, value in zip(horizon.cells, values, strict=True):
        to = Difference(
            model=cell.label, other="constant", difference=difference(value, 0.001),
            excludes_zero=value != 0, survives=survives and value != 0,
        )  # fmt: skip
        standing = Standing(differences=[to])
        cells.append(dataclasses.replace(cell, standing=standing, over_oracle=over))
    return dataclasses.replace(horizon, cells=cells)


@pytest.mark.parametrize(
    ("values", "over", "headline"),
    [
        ((0, 0), None, "No transformer of 10000 to 20000 parameters is shown to beat every "
         "baseline"),
        ((0, 0.1), None, "No transformer of 10000 to 20000 parameters is shown to beat every "
         "baseline, and 1 of 2 is worse than some"),
        ((0, -0.1), None, "1 of 2 transformers of 10000 to 20000 parameters beat every baseline"),
        ((-0.1, -0.1), 0.1, "Both transformers of 10000 to 20000 parameters beat every baseline, "
         "on a drawn market"),
        ((0, 0), -0.1, "Leak: demo_10000_h1_threshold_1pct, demo_20000_h1_threshold_1pct beat the "
         "best possible answer"),
    ],
)  # fmt: skip
def test_the_headline_is_what_the_comparisons_say(
    study: tuple[StudyRecords, JudgedHorizon],
    values: tuple[float, float],
    over: float | None,
    headline: str,
) -> None:
    records, horizon = study
    judged = with_claims(horizon, *values, over=None if over is None else difference(over))
    assert first_screen(records, [judged]).headline == headline


def test_the_three_statements_have_their_numbers(
    study: tuple[StudyRecords, JudgedHorizon],
) -> None:
    records, horizon = study
    screen = first_screen(records, [with_claims(horizon, 0.0, 0.0)])
    found, power, missing = screen.findings
    assert [found.label, power.label, missing.label] == [
        "Found", "Could have been found", "Not found",
    ]  # fmt: skip
    assert (
        "constant, the one baseline on these days, is 0.0000 [-0.0020, 0.0020]: not told"
        in (found.clauses[0])
    )
    assert (
        "true difference, 1 day ahead, to the best baseline from 0.0028 nats on; between"
        in (power.clauses[0])
    )
    assert missing.clauses == [
        "No law 1 day ahead: it takes 5 sizes, and 2 of 2 can enter one, so that 3 are missing."
    ]
    assert screen.scope == f"sp500, 60 test days, {horizon.cells[0].test.dates[0]} to " + (
        f"{horizon.cells[0].test.dates[-1]}"
    )


def test_a_study_of_one_budget_is_drawn_beside_its_baselines(
    study: tuple[StudyRecords, JudgedHorizon],
) -> None:
    records, horizon = study
    one = dataclasses.replace(horizon, cells=horizon.cells[:1])
    drawn = first_screen(records, [one]).figure
    assert drawn is not None
    assert set(drawn.categories) == {"logistic", "constant"}


def test_a_difference_that_all_comparisons_take_away_is_said_to_be(
    study: tuple[StudyRecords, JudgedHorizon],
) -> None:
    records, horizon = study
    judged = with_claims(horizon, 0.1, 0.1, survives=False)
    (level,) = first_screen(records, [judged]).findings[0].clauses
    assert level.endswith("is 0.1000 [0.0980, 0.1020]: not told apart after all comparisons.")


def test_a_search_alone_is_told_on_validation_days(tmp_path: Path) -> None:
    write_study(tmp_path, {10_000: 0.3, 20_000: 0.3}, horizons=(1,), with_final=False)
    screen = first_screen(read_study(tmp_path, None), [])
    assert screen.headline == "Searched, and not yet tested on later days"
    assert "validation days" in screen.scope
    assert screen.figure is not None
    assert screen.figure.title.startswith("Validation log-loss")
    assert screen.findings[2].clauses[0].endswith("2 cells without final runs.")


def test_a_search_without_a_result_has_a_first_screen_without_a_picture(tmp_path: Path) -> None:
    write_study(tmp_path, {10_000: 0.3}, horizons=(1,), with_final=False, n_ended=0)
    screen = first_screen(read_study(tmp_path, None), [])
    assert screen.figure is None
    assert screen.findings[0].clauses == ["No trial has a usable result yet."]
