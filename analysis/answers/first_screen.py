"""The first screen of a report: what was found, what could have been found, and what was not."""

from collections.abc import Mapping, Sequence
from statistics import median

from analysis.answers.first_picture import Mark, baselines_picture, budgets_picture
from analysis.answers.report_parts import Finding, FirstScreen, days_ahead, shown_estimate
from analysis.answers.searched_answer import found_sentences, less_baseline, validation_loss
from analysis.cell_judgement import JudgedCell, JudgedHorizon, all_cells
from analysis.statistics.comparison import EQUAL_NATS, Difference
from analysis.statistics.interval import Estimate
from analysis.statistics.law_report import LawReport
from analysis.statistics.trend import LEAST_SIZES
from analysis.study_records import StudyRecords
from study.statistics.detectable import smallest_difference
from study.text.short_forms import counted

_FOUND, _POWER, _NOT_FOUND, _LAW = "Found", "Could have been found", "Not found", "Law of size"


def first_screen(study: StudyRecords, horizons: Sequence[JudgedHorizon]) -> FirstScreen:
    """Return the first screen of a study, of its test days where there are any."""
    return _tested(horizons) if horizons else _searched(study)


def _tested(horizons: Sequence[JudgedHorizon]) -> FirstScreen:
    cells = all_cells(horizons)
    budgets = list(dict.fromkeys(cell.records.budget for cell in cells))
    has_law = any(_is_identified(each.law) for each in horizons)
    days = cells[0].test.dates
    return FirstScreen(
        scope=f"{cells[0].records.source}, {len(days)} test days, {days[0]} to {days[-1]}",
        headline=_headline(horizons),
        findings=[
            Finding(label=_FOUND, clauses=[_level(each) for each in horizons]),
            Finding(label=_POWER, clauses=[_power(horizons)]),
            Finding(
                label=_LAW if has_law else _NOT_FOUND, clauses=[_law(each) for each in horizons]
            ),
        ],
        figure=budgets_picture(
            [_mark(cell, cell.standing.hardest) for cell in cells],
            budgets,
            what="Test log-loss",
            rival="the best baseline",
        )
        if len(budgets) > 1
        else baselines_picture(
            [_mark(cell, to, to.other) for cell in cells for to in _hardest_first(cell)]
        ),
        numbers_in="baselines",
    )


def _headline(horizons: Sequence[JudgedHorizon]) -> str:
    """Return the one thing that a reader takes away."""
    cells = all_cells(horizons)
    leaks = [cell.name for cell in cells if cell.is_leak]
    if leaks:
        return f"Leak: {', '.join(leaks)} beat the best possible answer"
    names = {cell.records.budget: cell.records.budget_parameters for cell in cells}
    ordered = sorted(names, key=lambda name: names[name])
    of = f"of {ordered[0]} {f'to {ordered[-1]} ' if len(ordered) > 1 else ''}parameters"
    n, better = len(cells), sum(cell.standing.is_better for cell in cells)
    worse = sum(cell.standing.is_worse for cell in cells)
    if better == n:
        said = f"The transformer {of} beats every baseline"
        if n > 1:
            said = f"{'Both' if n == 2 else f'All {n}'} transformers {of} beat every baseline"
    elif better:
        said = f"{better} of {n} transformers {of} beat every baseline"
    else:
        said = f"No transformer {of} is shown to beat every baseline"
    if worse:
        said += f", and {'it' if n == 1 else f'{worse} of {n}'} "
        said += f"{'is' if worse == 1 else 'are'} worse than some"
    laws = [each for each in horizons if _is_identified(each.law)]
    for each in laws:
        assert each.law is not None
        moves = "falls" if each.law.verdict == "scaling" else "rises"
        said += f"; loss {moves} with size {days_ahead(each.horizon)}"
    return f"{said}, on a drawn market" if cells[0].over_oracle is not None else said


def _is_identified(law: LawReport | None) -> bool:
    return law is not None and law.verdict in ("scaling", "inverse scaling")


def _mark(cell: JudgedCell, to: Difference, place: str | None = None) -> Mark:
    """Return a winner's difference to a baseline, at the place of its budget if none is named."""
    over = cell.over_oracle
    return Mark(
        place=place or cell.records.budget,
        horizon=cell.records.horizon,
        label=f"{cell.label} less {to.other}",
        estimate=to.difference,
        best_possible=None if over is None else to.difference.value - over.value,
    )


def _hardest_first(cell: JudgedCell) -> list[Difference]:
    """Return the differences to the baselines, that to the best of these days first."""
    return sorted(cell.standing.differences, key=lambda each: -each.difference.value)


def _level(each: JudgedHorizon) -> str:
    """Return the level of the best winner of a horizon, and how it stands to the best baseline."""
    best = min(each.cells, key=lambda cell: cell.own.log_loss.value)
    hardest, own = best.standing.hardest, best.own
    n = len(best.standing.differences)
    is_lost = hardest.excludes_zero and not hardest.survives
    least = f", the least of {len(each.cells)} winners" if len(each.cells) > 1 else ""
    said = (
        f"{days_ahead(each.horizon).capitalize()}, {best.label} has a log-loss of "
        f"{shown_estimate(own.log_loss, 3)} nats per day{least}, and a skill of "
        f"{shown_estimate(own.skill_own_prior, 2)} against the base rate. Its difference to "
        f"{hardest.other}, {'the one baseline' if n == 1 else f'the best of {n} baselines'} on "
        f"these days, is {shown_estimate(hardest.difference)}: {hardest.claim}"
        f"{' after all comparisons' if is_lost else ''}."
    )
    if best.over_oracle is not None:
        said += f" Its loss is {shown_estimate(best.over_oracle)} above the best possible one."
    return said


def _power(horizons: Sequence[JudgedHorizon]) -> str:
    """Return the smallest differences that the test days of each horizon show."""
    to_baseline = {
        each.horizon: smallest_shown([cell.standing.hardest.difference for cell in each.cells])
        for each in horizons
    }
    between = {each.horizon: each.smallest_difference for each in horizons}
    return _shown_from({"to the best baseline": to_baseline, "between two winners": between})


def _shown_from(smallest: Mapping[str, Mapping[int, float | None]]) -> str:
    """Return from what size on true differences are seen, by what they are of and by horizon."""
    known = []
    for what, by_horizon in smallest.items():
        if any(value is not None for value in by_horizon.values()):
            sizes = ["(none known)" if v is None else f"{v:.4f}" for v in by_horizon.values()]
            known.append(f"{what} from {_listed(sizes)} nats on")
    if not known:
        return "No difference has an error by which to say how small a true one would be seen."
    horizons = list(next(iter(smallest.values())))
    days = days_ahead(horizons[-1])
    if len(horizons) > 1:
        days = f"{_listed([str(each) for each in horizons])} days ahead"
    return (
        "In four studies of five, if nothing else were compared, these days would show a true "
        f"difference, {days}, {'; '.join(known)}. Smaller ones may well go unseen."
    )


def _listed(words: Sequence[str]) -> str:
    """Return words as they are said one after the other: a, b and c."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def smallest_shown(differences: Sequence[Estimate]) -> float | None:
    """Return the smallest true difference that the median error of some shows; None without any."""
    errors = [each.se for each in differences if each.se is not None and each.se > EQUAL_NATS]
    return smallest_difference(median(errors)) if errors else None


def _law(each: JudgedHorizon) -> str:
    """Return what follows of size at a horizon or, where nothing does, what is missing for it."""
    days = days_ahead(each.horizon)
    n = len({cell.records.budget for cell in each.cells})
    n_in = len({cell.records.budget for cell in each.cells if not cell.flags})
    if each.law is not None and n_in >= LEAST_SIZES:
        return f"{days.capitalize()}: {each.law.verdict}. {each.law.sentence}"
    missing = LEAST_SIZES - n_in
    said = (
        f"No law {days}: it takes {LEAST_SIZES} sizes, and {n_in} of {n} can enter one, so that "
        f"{missing} {'is' if missing == 1 else 'are'} missing"
    )
    out = [cell.label for cell in each.cells if cell.flags]
    if out:
        said += f" ({', '.join(out)} left out, for reasons below)"
    report = each.law_of_all or each.law
    if report is not None and report.trend.slope.low is not None:
        of = counted(report.trend.n_sizes, "size")
        said += (
            f". Slope of log loss on log size, {of}: {shown_estimate(report.trend.slope)}, "
            f"permutation p = {report.trend.p:.3f}"
        )
    return f"{said}."


def _searched(study: StudyRecords) -> FirstScreen:
    """Return the first screen of a study of which no test day has been looked at."""
    best = [(cell, cell.rankable[0]) for cell in study.cells if cell.rankable]
    to_baseline = [
        (cell, trial, less) for cell, trial in best if (less := less_baseline(trial)) is not None
    ]
    what = "Validation log-loss"
    places = list(dict.fromkeys(cell.budget for cell, _ in best))
    if to_baseline:
        marks = [
            Mark(place=cell.budget, horizon=cell.horizon, label=cell.label, estimate=less)
            for cell, _, less in to_baseline
        ]
        figure = budgets_picture(marks, places, what=what, rival="the search's baseline")
    else:
        marks = [
            Mark(
                place=cell.budget, horizon=cell.horizon, label=cell.label,
                estimate=validation_loss(trial),
            )
            for cell, trial in best
        ]  # fmt: skip
        figure = budgets_picture(marks, places, what=what, rival=None)
    smallest = {
        horizon: smallest_shown([less for cell, _, less in to_baseline if cell.horizon == horizon])
        for horizon in study.horizons
    }
    days = study.cells[0].searched["splits"]["validation"]
    return FirstScreen(
        scope=f"{study.cells[0].source}, {days['rows']} validation days, "
        f"{days['first_day']} to {days['last_day']}",
        headline="Searched, and not yet tested on later days",
        findings=[
            Finding(
                label=_FOUND,
                clauses=found_sentences(study) or ["No trial has a usable result yet."],
            ),
            Finding(
                label=_POWER,
                clauses=[_shown_from({"to the search's baseline": smallest})],
            ),
            Finding(
                label=_NOT_FOUND,
                clauses=[
                    "No test day has been looked at, and so nothing is known of a law of size: "
                    f"{counted(len(study.cells), 'cell')} without final runs."
                ],
            ),
        ],
        figure=figure if marks else None,
        numbers_in="found",
    )
