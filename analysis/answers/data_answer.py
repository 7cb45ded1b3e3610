"""The section on data: how the loss of winners falls with the days that they are trained on."""

from collections.abc import Sequence

from analysis.answers.law_answer import exponent_of
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
from analysis.answers.share_judgement import JudgedData, JudgedShare, judge_shares
from analysis.cell_judgement import JudgedHorizon
from analysis.statistics.interval import Estimate
from analysis.statistics.law_report import LawReport
from analysis.statistics.run_resampling import LEAST_LEVELS
from analysis.statistics.trend import LEAST_SIZES

CHOICES = {"recent": "the latest days", "blocks": "blocks of days"}
"""Days of a share, by how they were chosen."""

ONE_CHOICE = (
    "The choice of blocks is one draw, which all runs of a search have in common: what another "
    "choice would change is in no interval."
)
"""What a reader must know, too, where blocks were chosen."""


def caution(score: str) -> str:
    """Return what a reader must know of a comparison of shares by a score, such as its loss."""
    return (
        "Every share is trained with the settings and the number of epochs that were chosen on all "
        f"training days, so that a smaller one also has fewer steps: its {score} is that of less "
        "data and of less training together."
    )


def data_sections(horizons: Sequence[JudgedHorizon]) -> list[Section]:
    """Return the section on data; none where no winner was trained on a share of the days."""
    found = judge_shares(horizons)
    return [_section(found)] if found else []


def _section(found: Sequence[JudgedData]) -> Section:
    sentences: list[str] = []
    for each in found:
        sentences.append(f"{_heading(each)}: {data_sentence(each)}")
        if each.left_out:
            sentences.append(f"Left out of the law: {', and '.join(each.left_out)}.")
    sentences.append(caution("loss"))
    if any(each.choice == "blocks" for each in found):
        sentences.append(ONE_CHOICE)
    return Section(
        name="data",
        title="Does error fall with data?",
        sentences=sentences,
        tables=[
            Table(
                columns=(
                    "horizon", "days", "budget", "parameters", "share", "samples", "seeds",
                    "validation", "test", "less all days",
                ),
                rows=[_row(each, row) for each in found for row in each.rows],
                caption="Log-loss, nats, on the same test days; 95 % intervals over blocks of days "
                "and seeds. Samples are the mean over folds of test days.",
            ),
            Table(
                columns=("horizon", "days", "form", "alpha", "beta", "E", "AICc"),
                rows=[row for each in found for row in law_rows(each)],
                caption="Fits of E + A N^-alpha + B D^-beta to every run, N parameters and D "
                "samples, Huber loss on logs; no exponent of a form that a floor explains better.",
            ),
        ],
        figures=[_figure(each) for each in found],
        numbers={f"{each.horizon} {each.choice}": _numbers(each) for each in found},
    )  # fmt: skip


def _heading(each: JudgedData) -> str:
    return f"{days_ahead(each.horizon)}, {CHOICES.get(each.choice, each.choice)}"


def data_sentence(each: JudgedData) -> str:
    """Return what the law of size and data says, in words, or what is missing for one."""
    if each.law is None:
        shares = ", ".join(f"{share:g}" for share in each.shares) or "none"
        return (
            f"No law of size and data can be fitted: {_counted(each.n_budgets, 'budget')} and "
            f"{_counted(len(each.shares), 'share')} ({shares}) may be in it, and {LEAST_LEVELS} of "
            f"each are needed, {LEAST_SIZES} budgets for a claim about size."
        )
    return f"{each.law.verdict}. {each.law.sentence} {_resampled(each.law)}"


def _counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'s' * (n != 1)}"


def _resampled(law: LawReport) -> str:
    return "" if law.resampled is None else f"Resampled: {law.resampled}."


def _row(each: JudgedData, row: JudgedShare) -> list[Cell]:
    return [
        days_ahead(each.horizon), each.choice, row.cell.label, row.cell.final.param_count,
        f"{row.share:g}", row.samples, 0 if row.losses is None else len(row.losses),
        row.validation_loss, row.test_loss, row.less_all,
    ]  # fmt: skip


def _has_exponents(law: LawReport) -> bool:
    """Are there sizes enough for a claim about them?"""
    return law.trend.n_sizes >= LEAST_SIZES and law.forms[law.chosen].is_defined


def law_rows(each: JudgedData) -> list[list[Cell]]:
    """Return the exponents of each form that is defined; none with too few sizes for a claim."""
    if each.law is None or not _has_exponents(each.law):
        return []
    return [
        [
            days_ahead(each.horizon), each.choice, name, exponent_of(form, "alpha"),
            exponent_of(form, "beta"), form.estimates["E"] if form.fit.law.has_floor else None,
            None if form.aicc is None else f"{form.aicc:.1f}",
        ]
        for name, form in each.law.forms.items()
        if form.is_defined
    ]  # fmt: skip


def _numbers(each: JudgedData) -> dict[str, object]:
    law = each.law
    exponents = {} if law is None or not _has_exponents(law) else law.forms[law.chosen].estimates
    return {
        "verdict": "not identified" if law is None else law.verdict,
        "sentence": data_sentence(each),
        "resampled": None if law is None else law.resampled,
        "n_budgets": each.n_budgets,
        "shares": list(each.shares),
        "left_out": list(each.left_out),
        "estimates": dict(exponents),
        "runs": [
            {
                "cell": row.cell.name, "share": row.share, "samples": row.samples,
                "parameters": row.cell.final.param_count, "validation": row.validation_loss,
                "test": row.test_loss, "less_all": row.less_all,
            }
            for row in each.rows
        ],
    }  # fmt: skip


def _figure(each: JudgedData) -> Figure:
    """Draw losses less those on all training days: what test days have in common cancels."""
    whole = Estimate(value=0.0, low=None, high=None, se=None)
    series = []
    for label in dict.fromkeys(row.cell.label for row in each.rows):
        rows = [row for row in each.rows if row.cell.label == label and row.losses is not None]
        differences = [row.less_all or whole for row in rows]
        series.append(
            Series(
                name=label,
                x=[float(row.samples) for row in rows],
                y=[e.value for e in differences],
                low=[low_end(e) for e in differences],
                high=[high_end(e) for e in differences],
                labels=[
                    f"share {row.share:g}: {shown_estimate(e)}"
                    for row, e in zip(rows, differences, strict=True)
                ],
            )
        )
    return Figure(
        name=f"data_h{each.horizon}_{each.choice}",
        title=f"Log-loss on test days less that on all training days, {_heading(each)}",
        x_label="training samples",
        y_label="nats per day",
        series=series,
        log_x=True,
        alt="Test loss of winners trained on shares of the days less that on all of them, with "
        "95 % intervals.",
    )
