"""Sections on final runs and the test days: baselines, calibration, winners."""

from collections.abc import Mapping, Sequence

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
from analysis.cell_judgement import JudgedCell, JudgedHorizon, all_cells
from analysis.holdout_scores import Scores
from analysis.statistics.comparison import Standing
from analysis.statistics.interval import Estimate
from analysis.study_records import cells_or_cases
from analysis.trial_statistics import unequal_numbers
from study.results.finals.final_records import LOGISTIC
from study.statistics.block_length import block_days, judged_block_days
from study.statistics.detectable import DETECTABLE
from study.text.short_forms import counted

_YEARS = (
    "means of windows of 712 days vary 0.9 to 1.7 times as much as such blocks say (six pairs of "
    "baselines, three horizons, nine windows, S&P 500 of 1991 to 2016)"
)
"""How much more windows of years differ than blocks of a year say, in standard errors of the mean
of all windows, as ``tests/bench/test_windows.py`` prints it."""


def baselines_section(horizons: Sequence[JudgedHorizon]) -> Section:
    """Return the section on whether a transformer is better than what a sceptic would use."""
    sentences: list[str] = []
    tables: list[Table] = []
    figures: list[Figure] = []
    for each in horizons:
        sentences += [
            standing_sentence(cell.label, each.horizon, cell.standing) for cell in each.cells
        ]
        sentences.append(_days_sentence(each))
        tables += [_differences(each), *_of_means(each), _horizon_scores(each)]
        figures.append(_baseline_figure(each))
    return Section(
        name="baselines",
        title="Is a transformer better than what a sceptic would use?",
        sentences=sentences,
        tables=tables,
        figures=figures,
        numbers={cell.name: _numbers(each, cell) for each in horizons for cell in each.cells},
    )


def _numbers(each: JudgedHorizon, cell: JudgedCell) -> dict[str, object]:
    return {
        "hardest": cell.standing.hardest.other,
        "difference": cell.standing.hardest.difference,
        "is_better": cell.standing.is_better,
        "is_worse": cell.standing.is_worse,
        "differences": {
            each.other: {"difference": each.difference, "claim": each.claim}
            for each in cell.standing.differences
        },
        "means_of_seeds": {
            name: {
                one.other: {"difference": one.difference, "claim": one.claim}
                for one in standing.differences
            }
            for name, standing in cell.means.items()
        },
        "n_days": len(cell.test.y),
        "effective_days": each.effective_days,
        "scores": {
            model: {
                "log_loss": s.log_loss, "skill_train_prior": s.skill_train_prior,
                "skill_own_prior": s.skill_own_prior, "auc": s.auc, "brier": s.brier,
                "ece": s.ece, "is_collapsed": s.is_next_to_constant, "n_seeds": s.n_seeds,
            }
            for model, s in cell.scores.items()
        },
    }  # fmt: skip


def standing_sentence(name: str, horizon: int, standing: Standing) -> str:
    """Return what may be said of a model beside a whole set of baselines."""
    n, hardest = len(standing.differences), standing.hardest
    worse = [each.other for each in standing.differences if each.is_worse]
    better = [each.other for each in standing.differences if each.is_better]
    rest = n - len(worse) - len(better)
    if standing.is_better:
        claim = f"better than {'the one baseline' if n == 1 else f'each of {n} baselines'}"
    elif worse:
        claim = f"worse than {'; '.join(worse)}"
    else:
        claim = f"not told apart from {'any' if rest == n else rest} of {n} baselines"
    also = f", better than {len(better)}" if better and not standing.is_better else ""
    is_lost = hardest.excludes_zero and not hardest.survives
    return (
        f"{name}, {days_ahead(horizon)}: {claim}{also}; against {hardest.other}, the best of them "
        f"on these days, {shown_estimate(hardest.difference)} nats per day"
        f"{' (not after all comparisons)' if is_lost else ''}."
    )


def _days_sentence(each: JudgedHorizon) -> str:
    """Return which models may be the best, what days are worth, and what they can show."""
    said = (
        f"{days_ahead(each.horizon).capitalize()}, of winners and baselines as they were trained "
        f"the best on other days is with 90 % confidence among: {'; '.join(each.best_set)}."
    )
    worth = [
        f"{what} as well as {each.effective_days[name]:.0f} independent days would"
        for name, what in (
            ("loss", "a mean loss"),
            ("difference", "a difference to the best baseline"),
        )
        if name in each.effective_days
    ]
    if worth:
        said += (
            f" By the error of their own blocks the {len(each.cells[0].test.y)} test days show "
            f"{' and '.join(worth)}."
        )
    blocks = blocks_sentence(each.horizon, len(each.cells[0].test.y))
    return f"{said} {blocks}{_error_sentence(each)}"


def blocks_sentence(horizon: int, n_days: int) -> str:
    """Return how long the blocks of days are on which intervals of test days rest."""
    block = judged_block_days(horizon, n_days)
    said = f"Blocks have {block} days on average"
    return f"{said}." if block == block_days(horizon) else f"{said}; even so, {_YEARS}."


def _error_sentence(each: JudgedHorizon) -> str:
    """Return how near two winners can be told apart, beside what the plan foretold."""
    errors = each.pair_errors
    if each.smallest_difference is None:
        return ""
    runs = sorted({cell.own.n_seeds for cell in each.cells})
    said = (
        " Two winners are told apart in four studies of five from a true difference of "
        f"{each.smallest_difference:.4f} nats on, by their own paired differences here: the "
        f"standard error of one is {np.median(errors):.4f} nats ({min(errors):.4f} to "
        f"{max(errors):.4f} over {counted(len(errors), 'pair')}) between means of "
        f"{' to '.join(map(str, runs[:1] + runs[1:][-1:]))} {'run' if runs == [1] else 'runs'}"
    )
    # Plans without a share foretold the difference of two simple models.
    foretold = [
        float(power["log_loss_test"]) / DETECTABLE
        for cell in each.cells
        if isinstance(power := cell.records.searched.get("power"), Mapping) and "share" in power
    ]
    if not foretold:
        return f"{said}."
    return f"{said}; the plan foretold {np.median(foretold):.4f} between single runs."


def _differences(each: JudgedHorizon) -> Table:
    """Return the difference of each winner to each baseline, the hardest baseline first."""
    return Table(
        columns=("budget", "less", "difference in log-loss", "claim"),
        rows=[
            [cell.label, one.other, one.difference, one.claim]
            for cell in each.cells
            for one in sorted(cell.standing.differences, key=lambda one: -one.difference.value)
        ],
        caption=f"{days_ahead(each.horizon).capitalize()}, test days: paired by day, with 95 % "
        "intervals over blocks of days and seeds. Claims hold after the comparisons of all "
        "winners with all baselines at all horizons.",
    )


def _of_means(each: JudgedHorizon) -> list[Table]:
    """Return the differences of the means of seeds; no table where each winner has one seed."""
    rows: list[list[Cell]] = [
        [name, one.other, one.difference, one.claim]
        for cell in each.cells
        for name, standing in cell.means.items()
        for one in standing.differences
        if one.other in (standing.hardest.other, LOGISTIC)
    ]
    if not rows:
        return []
    return [
        Table(
            columns=("mean of probabilities", "less", "difference in log-loss", "claim"),
            rows=rows,
            caption=f"{days_ahead(each.horizon).capitalize()}, test days: the mean of what the "
            "seeds of a winner say, less the best baseline of these days and less logistic "
            "regression, paired by day. The seeds are taken as they were trained, so that the 95 % "
            "intervals are over blocks of days alone. Claims hold after the comparisons of all "
            "these means with all baselines at all horizons.",
        )
    ]


def _horizon_scores(each: JudgedHorizon) -> Table:
    """Return a row per budget and, once, per baseline: all are judged on the same days."""
    scored = [(cell.label, cell.own) for cell in each.cells]
    scored += [
        (model, s)
        for model, s in each.cells[0].scores.items()
        if model != each.cells[0].final.model
    ]
    return score_table(scored, each.horizon, "test")


def score_table(scored: Sequence[tuple[str, Scores]], horizon: int, part: str) -> Table:
    """Return a row for each model with its scores on the days of a part, the best model first."""
    scored = sorted(scored, key=lambda pair: pair[1].log_loss.value)
    return Table(
        columns=(
            "model", "log-loss", "AUC", f"skill, {part} prior", "skill, train prior", "Brier",
            "ECE", "accuracy", "majority accuracy",
        ),
        rows=[
            [
                name, s.log_loss, s.auc, s.skill_own_prior, s.skill_train_prior, s.brier, s.ece,
                s.decisions[0].accuracy, s.decisions[0].majority_accuracy,
            ]
            for name, s in scored
        ],
        digits=3,
        caption=f"{days_ahead(horizon).capitalize()}, {scored[0][1].n_days} {part} days; "
        "95 % intervals over blocks of days and seeds. They are wide because days differ, for all "
        "models alike: models are compared by the paired differences above.",
    )  # fmt: skip


def _baseline_figure(each: JudgedHorizon) -> Figure:
    base = each.cells[0]
    baselines = [m for m in base.scores if m != base.final.model]
    baselines.sort(key=lambda m: base.scores[m].log_loss.value)
    names = [*(cell.label for cell in each.cells), *baselines]
    own = [cell.own.log_loss for cell in each.cells]
    others = [base.scores[m].log_loss for m in baselines]
    return Figure(
        name=f"baselines_h{each.horizon}",
        title=f"Log-loss on test days, {days_ahead(each.horizon)}",
        x_label="",
        y_label="nats per day",
        series=[
            _with_intervals("transformer", range(len(own)), own, names),
            _with_intervals(
                "baseline", range(len(own), len(names)), others, baselines, is_reference=True
            ),
        ],
        categories=names,
        alt="Test loss of every budget and every baseline with 95 % intervals.",
    )


def _with_intervals(
    name: str,
    x: Sequence[int] | range,
    estimates: Sequence[Estimate],
    labels: Sequence[str],
    *,
    is_reference: bool = False,
) -> Series:
    return Series(
        name=name,
        x=list(x),
        y=[e.value for e in estimates],
        low=[low_end(e) for e in estimates],
        high=[high_end(e) for e in estimates],
        labels=[
            f"{label}: {shown_estimate(e)}" for label, e in zip(labels, estimates, strict=False)
        ],
        is_reference=is_reference,
    )


def calibration_section(horizons: Sequence[JudgedHorizon]) -> Section:
    """Return the section on whether probabilities can be taken at their word."""
    rows: list[list[Cell]] = []
    figures = []
    for each in horizons:
        for cell in each.cells:
            s = cell.own
            rows += [
                [
                    cell.label, days_ahead(each.horizon), s.ece, s.logit_sd, d.threshold,
                    round(d.said_yes), d.positives, d.precision, d.recall, d.accuracy,
                    d.majority_accuracy,
                ]
                for d in s.decisions
            ]  # fmt: skip
        figures.append(_reliability_figure(each))
    collapsed = [
        f"{cell.label} {days_ahead(cell.records.horizon)}"
        for cell in all_cells(horizons)
        if cell.own.is_next_to_constant
    ]
    return Section(
        name="calibration",
        title="Can the probabilities be taken at their word?",
        sentences=[
            f"Collapsed onto a constant: {', '.join(collapsed)}."
            if collapsed
            else "No winner has collapsed onto a constant."
        ],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "ECE", "sd of logits", "yes from", "days said yes",
                    "positive days", "precision", "recall", "accuracy", "majority accuracy",
                ),
                rows=rows,
                digits=3,
                caption="Yes is said from a probability on: one half, and the base rate of the "
                "training days. Counts are means over seeds.",
            )
        ],
        figures=figures,
        numbers={"collapsed": collapsed},
    )  # fmt: skip


def _reliability_figure(horizon: JudgedHorizon) -> Figure:
    curves = [
        Series(
            name=cell.label,
            x=[b.predicted for b in cell.own.reliability],
            y=[b.observed for b in cell.own.reliability],
            labels=[
                f"{b.n} days: {b.predicted:.3f} said, {b.observed:.3f} came"
                for b in cell.own.reliability
            ],
        )
        for cell in horizon.cells
    ]
    perfect = Series(name="perfect", x=[0, 1], y=[0, 1], is_line=True, is_reference=True)
    return Figure(
        name=f"reliability_h{horizon.horizon}",
        title=f"Said and come true, {days_ahead(horizon.horizon)}",
        x_label="mean probability of a tenth of the days",
        y_label="share of those days that were positive",
        series=[*curves, perfect],
        alt="Reliability curves of the winners in bins of equal count.",
    )


def winners_section(horizons: Sequence[JudgedHorizon]) -> Section:
    """Return the section on which architecture is best for each budget."""
    rows: list[list[Cell]] = []
    for cell in all_cells(horizons):
        final = cell.final
        p = final.params
        share = final.param_count / final.budget_parameters
        rows.append(
            [
                cell.label, days_ahead(cell.records.horizon), len(cell.records.trials),
                _listed_as(cell), final.param_count, f"{share:.0%}", p["d_model"], p["n_layers"],
                p["n_heads"], p["n_layers"] / p["d_model"], f"{p['learning_rate']:.2e}",
                p.get("dropout"), "; ".join(final.edges) or None,
            ]
        )  # fmt: skip
    return Section(
        name="winners",
        title="Which architecture is best for each budget?",
        sentences=[
            f"{len(rows)} {_what(horizons)} have a winner; "
            f"{sum(row[-1] is not None for row in rows)} of them lie at the edge of what was "
            "searched."
            f"{unequal_numbers([cell.records.trials for cell in all_cells(horizons)])}"
        ],
        tables=[
            Table(
                columns=(
                    "budget",
                    "horizon",
                    "trials searched",
                    "tried first as",
                    "parameters",
                    "of the budget",
                    "width",
                    "layers",
                    "heads",
                    "layers / width",
                    "learning rate",
                    "dropout",
                    "at the edge",
                ),
                rows=rows,
                digits=3,
            )
        ],
    )


def _what(horizons: Sequence[JudgedHorizon]) -> str:
    return cells_or_cases([cell.records for cell in all_cells(horizons)])


def _listed_as(cell: JudgedCell) -> str | None:
    """Return the name under which a winner was tried first; None if the sampler drew it."""
    return next((t.name for t in cell.records.trials if t.number == cell.final.winner), None)
