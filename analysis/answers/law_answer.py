"""Sections on size: the law of each horizon, and the distance to an oracle."""

from collections.abc import Sequence

import numpy as np

from analysis.answers.report_parts import (
    Cell,
    Figure,
    Section,
    Series,
    Table,
    days_ahead,
    high_end,
    low_end,
    shown_estimate,
)
from analysis.cell_judgement import JudgedHorizon, all_cells
from analysis.statistics.interval import Estimate
from analysis.statistics.law_report import FormReport, LawReport
from analysis.statistics.run_resampling import LEAST_LEVELS
from analysis.statistics.trend import LEAST_SIZES
from analysis.statistics.verdict import is_misspecified, told_apart
from analysis.statistics.winner_noise import Components
from study.results.finals.final_records import ORACLE

_CURVE_POINTS = 60


def oracle_section(horizons: Sequence[JudgedHorizon]) -> Section:
    """Return the section on how far winners are from the best answer to a drawn market."""
    rows: list[list[Cell]] = [
        [cell.label, days_ahead(cell.records.horizon), cell.scores[ORACLE].log_loss,
         cell.own.log_loss, cell.over_oracle, "LEAK" if cell.is_leak else "no"]
        for cell in all_cells(horizons)
        if cell.over_oracle is not None
    ]  # fmt: skip
    leaks = sum(row[-1] == "LEAK" for row in rows)
    return Section(
        name="oracle",
        title="How far from the best possible answer?",
        sentences=[
            "This market is drawn, so the best possible answer of every day is known; the excess "
            "is what a model has not learnt. "
            + (
                f"{leaks} cells beat it by more than three standard errors: the inputs must know "
                "the future."
                if leaks
                else "No cell beats it by more than three standard errors, which would be a leak."
            )
        ],
        tables=[
            Table(
                columns=("budget", "horizon", "best possible", "model", "excess", "leak"),
                rows=rows,
                caption="Log-loss on test days, nats; the excess is paired by day.",
            )
        ],
        numbers={
            cell.name: {"excess": cell.over_oracle, "is_leak": cell.is_leak}
            for cell in all_cells(horizons)
        },
    )


def law_section(horizons: Sequence[JudgedHorizon]) -> Section:
    """Return the section on whether error falls with size."""
    sentences: list[str] = []
    rows: list[list[Cell]] = []
    figures: list[Figure] = []
    for each in horizons:
        report = each.law
        sentences.append(f"{days_ahead(each.horizon)}: " + law_sentence(each))
        if each.excluded:
            sentences.append(f"Left out of the law: {', and '.join(each.excluded)}.")
        if each.law_of_all is not None:
            sentences.append(f"With them: {each.law_of_all.sentence}")
        if each.components is not None:
            is_of_all = each.law is None and each.law_of_all is None and bool(each.excluded)
            shown = components_sentence(each.components)
            sentences.append(f"With them: {shown[0].lower()}{shown[1:]}" if is_of_all else shown)
        by_note: dict[str, list[str]] = {}
        for cell in each.cells:
            for note in cell.notes:
                by_note.setdefault(note, []).append(cell.label)
        sentences += [
            f"{days_ahead(each.horizon)}, {', '.join(budgets)}: {note}."
            for note, budgets in by_note.items()
        ]
        figures.append(_law_figure(each))
        rows += [_law_row(each.horizon, name, report) for name in (report.forms if report else ())]
        if report is not None and report.profile:
            figures.append(_profile_figure(each.horizon, report))
    pairs: list[list[Cell]] = [
        [days_ahead(each.horizon), pair.model, pair.other, pair.difference]
        for each in horizons
        for pair in each.pairs
    ]
    return Section(
        name="law",
        title="Does error fall with size?",
        sentences=sentences,
        tables=[
            Table(
                columns=(
                    "horizon", "form", "alpha", "E", "objective", "starts that found it",
                    "came to rest", "AICc",
                ),
                rows=rows,
                caption="Fits to every final run, Huber loss on logs. AICc only where defined; "
                "no exponent of a form that a floor explains better.",
            ),
            Table(
                columns=("horizon", "budget", "less", "difference in log-loss"),
                rows=pairs,
                caption="Each budget against the next smaller one, same test days; intervals of "
                "what other days, seeds and searches would give. Every search is one observation.",
            ),
        ],
        figures=figures,
        numbers={str(each.horizon): _law_numbers(each) for each in horizons},
    )  # fmt: skip


def law_sentence(each: JudgedHorizon) -> str:
    """Return what the law of a horizon says, in words."""
    if each.law is None:
        n_kept, n = (
            len({cell.records.budget for cell in cells})
            for cells in ([cell for cell in each.cells if not cell.flags], each.cells)
        )
        sentence = (
            f"No law can be fitted: {n_kept} of {n} budgets with final runs may be "
            f"in it, and {LEAST_LEVELS} are needed, {LEAST_SIZES} for a claim about size."
        )
        if each.law_of_all is not None:
            sentence += f" With the others: {each.law_of_all.verdict}."
        return sentence
    sentence = f"{each.law.verdict}. {each.law.sentence}"
    held_out = each.law.held_out
    if held_out is not None:
        words = {True: "inside", False: "outside", None: "without"}[held_out.is_covered]
        sentence += (
            f" The largest size, predicted from the others, is {words} its interval "
            f"(log error {held_out.log_error:+.4f})."
        )
    return sentence


def components_sentence(components: Components) -> str:
    """Return what makes losses differ: days, seeds and winners, as far as they are measured."""
    days, seeds, winners = components.days, components.seeds, components.winners
    told = [
        "days not resampled" if days is None
        else f"days {shown_estimate(days)} (of a winner against the others)",
        "seeds not measured, for no winner was trained twice" if seeds is None
        else f"seeds {_beyond(seeds, 'days')}",
        "winners not measured, for no budget was searched twice" if winners is None
        else f"winners {_beyond(winners, 'seeds and days')} (of independent searches of a budget)",
    ]  # fmt: skip
    return f"Standard deviations of a loss, nats: {'; '.join(told)}."


def _beyond(deviation: Estimate, others: str) -> str:
    """Return a deviation in words; one that was taken away whole is none that is known to be 0."""
    return f"none beyond {others}" if deviation.high == 0 else shown_estimate(deviation)


def _law_row(horizon: int, name: str, report: LawReport | None) -> list[Cell]:
    assert report is not None
    form = report.forms[name]
    return [
        days_ahead(horizon),
        name,
        exponent_of(form, "alpha"),
        form.estimates["E"] if form.fit.law.has_floor else None,
        f"{form.fit.objective:.3g}",
        f"{form.fit.reached:.0%} of {form.fit.n_starts}",
        "yes" if form.fit.converged else "no",
        None if form.aicc is None else f"{form.aicc:.1f}",
    ]


def exponent_of(form: FormReport, name: str) -> Cell:
    """Return an exponent of a form, or what fits as well; None where it is none of the runs'."""
    if is_misspecified(form):
        return None
    if name in form.ranges:
        return f"any, {' to '.join(told_apart(*form.ranges[name], 4))}"
    return form.estimates.get(name)


def _law_numbers(each: JudgedHorizon) -> dict[str, object]:
    report = each.law
    return {
        "verdict": "not identified" if report is None else report.verdict,
        "sentence": law_sentence(each),
        "trend": None if report is None else report.trend.slope,
        "permutation_p": None if report is None else report.trend.p,
        "components": {}
        if each.components is None
        else {name: getattr(each.components, name) for name in ("days", "seeds", "winners")},
        "resampled": None if report is None else report.resampled,
        "n_runs": 0 if report is None else len(report.runs),
        "excluded": list(each.excluded),
        "best_set": list(each.best_set),
        "verdict_of_all": None if each.law_of_all is None else each.law_of_all.verdict,
        "profile": [] if report is None else [list(point) for point in report.profile],
        "forms": {}
        if report is None
        else {
            name: {**form.estimates, "objective": form.fit.objective, "aicc": form.aicc}
            for name, form in report.forms.items()
        },
    }


def _law_figure(each: JudgedHorizon) -> Figure:
    """Draw losses less that of the smallest budget: what days have in common cancels."""
    first = each.cells[0]
    level = float(first.losses.mean())
    sizes = [float(cell.final.param_count) for cell in each.cells]
    series = [
        Series(
            name="mean of the winner's runs",
            x=sizes,
            y=[e.value for e in each.from_smallest],
            low=[low_end(e) for e in each.from_smallest],
            high=[high_end(e) for e in each.from_smallest],
            labels=[
                f"{cell.label}: {shown_estimate(e)}"
                for cell, e in zip(each.cells, each.from_smallest, strict=True)
            ],
        )
    ]
    seeds = [
        (size, float(loss) - level, cell.label)
        for size, cell in zip(sizes, each.cells, strict=True)
        for loss in cell.losses.mean(axis=1)
    ]
    series.append(
        Series(
            name="each seed",
            x=[size for size, _, _ in seeds],
            y=[loss for _, loss, _ in seeds],
            labels=[f"{budget}: {loss:+.4f}" for _, loss, budget in seeds],
        )
    )
    if each.law is not None:
        series.append(_fitted_line(each.law, level))
    rivals = sorted(
        {
            (name, cell.scores[name].log_loss.value - level)
            for cell in each.cells
            for name in (cell.standing.hardest.other,)
        }
    )
    series += [
        Series(
            name=name, x=[min(sizes), max(sizes)], y=[loss, loss], is_line=True, is_reference=True
        )
        for name, loss in rivals
    ]
    return Figure(
        name=f"law_h{each.horizon}",
        title=f"Log-loss on test days less that of {first.records.budget}, "
        f"{days_ahead(each.horizon)}",
        x_label="parameters",
        y_label="nats per day",
        series=series,
        log_x=True,
        alt=f"Test loss of {len(sizes)} winners less that of the smallest, with 95 % intervals of "
        "the paired difference.",
    )


def _fitted_line(report: LawReport, level: float) -> Series:
    best = report.forms[report.chosen].fit
    sizes = report.runs.sizes[:, 0]
    x = np.geomspace(sizes.min(), sizes.max(), _CURVE_POINTS)
    return Series(
        name=f"{report.chosen} law",
        x=x.tolist(),
        y=(best.predict(x[:, None]) - level).tolist(),
        is_line=True,
    )


def _profile_figure(horizon: int, report: LawReport) -> Figure:
    return Figure(
        name=f"profile_h{horizon}",
        title=f"What the floor does to alpha, {days_ahead(horizon)}",
        x_label="floor E that is assumed, nats",
        y_label="alpha that then fits best",
        series=[
            Series(
                name="alpha at that floor",
                x=[floor for floor, _, _ in report.profile],
                y=[alpha for _, _, alpha in report.profile],
                is_line=True,
            )
        ],
        alt="The exponent of the law as a function of the floor that is assumed.",
    )
