"""Sections on final runs and the test days: baselines, luck of selection, calibration, winners."""

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
from analysis.cell_judgement import JudgedCell, JudgedHorizon, all_cells
from analysis.holdout_scores import Scores
from analysis.statistics.comparison import Difference
from analysis.statistics.interval import Estimate
from analysis.study_records import cells_or_cases


def baselines_section(horizons: Sequence[JudgedHorizon]) -> Section:
    """Return the section on whether a transformer is better than what a sceptic would use."""
    sentences: list[str] = []
    tables: list[Table] = []
    figures: list[Figure] = []
    for each in horizons:
        sentences += [
            difference_sentence(cell.label, each.horizon, cell.difference) for cell in each.cells
        ]
        tables.append(_horizon_scores(each))
        figures.append(_baseline_figure(each))
    return Section(
        name="baselines",
        title="Is a transformer better than what a sceptic would use?",
        sentences=sentences,
        tables=tables,
        figures=figures,
        numbers={
            cell.name: {
                "rival": cell.rival,
                "difference": cell.difference.difference,
                "is_better": cell.difference.is_better,
                "n_days": len(cell.test.y),
                "effective_days": cell.final.splits["test"]["effective_size"],
                "scores": {
                    model: {
                        "log_loss": s.log_loss, "skill_train_prior": s.skill_train_prior,
                        "skill_own_prior": s.skill_own_prior, "auc": s.auc, "brier": s.brier,
                        "ece": s.ece, "is_collapsed": s.is_next_to_constant, "n_seeds": s.n_seeds,
                    }
                    for model, s in cell.scores.items()
                },
            }
            for each in horizons
            for cell in each.cells
        },
    )  # fmt: skip


def difference_sentence(name: str, horizon: int, difference: Difference) -> str:
    """Return what may be said of a model and the one that it is compared with."""
    is_lost = difference.excludes_zero and not difference.survives
    return (
        f"{name}, {days_ahead(horizon)}: against {difference.other} {difference.claim}, "
        f"{shown_estimate(difference.difference)} nats per day"
        f"{' (not after all comparisons)' if is_lost else ''}."
    )


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
            "model", "log-loss", "AUC", "skill, train prior", f"skill, {part} prior", "Brier",
            "ECE", "accuracy", "majority accuracy",
        ),
        rows=[
            [
                name, s.log_loss, s.auc, s.skill_train_prior, s.skill_own_prior, s.brier, s.ece,
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


def selection_section(horizons: Sequence[JudgedHorizon]) -> Section:
    """Return the section on how much of a winner was luck."""
    rows: list[list[Cell]] = []
    shrinkages = []
    for cell in all_cells(horizons):
        final = cell.final
        chosen = next(s for s in final.selection if s.trial == final.winner)
        values = [run.value for run in final.runs if run.value is not None and run.is_rankable]
        if final.with_validation:
            values = []
        validation = float(np.mean(values)) if values else None
        shrinkage = None if validation is None else validation - final.search_value
        if shrinkage is not None:
            shrinkages.append(shrinkage)
        rows.append(
            [
                cell.label, days_ahead(cell.records.horizon), final.search_value,
                chosen.mean_value, validation, shrinkage, cell.own.log_loss,
            ]
        )  # fmt: skip
    sentences = []
    if shrinkages:
        up = sum(value > 0 for value in shrinkages)
        sentences.append(
            "A winner's loss in the search, by which it came among the candidates, was lower than "
            f"that of its final runs on the same validation days in {up} of {len(shrinkages)} "
            f"{_what(horizons)}; the final runs are {np.mean(shrinkages):+.4f} nats from it on "
            "average. A positive number is the optimism of a best of many. Among the candidates "
            "the winner was chosen by the mean loss of fresh seeds."
        )
    return Section(
        name="selection",
        title="How much of a winner was luck?",
        sentences=sentences,
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "search", "fresh seeds (choice)", "final runs",
                    "shrinkage", "test",
                ),
                rows=rows,
                caption="Validation losses, in nats: of the trial in the search, of the fresh runs "
                "that chose it, of the final runs; then the loss on test days, which are other "
                "days with another base rate.",
            )
        ],
        numbers={"mean_shrinkage": float(np.mean(shrinkages)) if shrinkages else None},
    )  # fmt: skip


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
                cell.label, days_ahead(cell.records.horizon), _listed_as(cell),
                final.param_count, f"{share:.0%}", p["d_model"], p["n_layers"], p["n_heads"],
                p["n_layers"] / p["d_model"], f"{p['learning_rate']:.2e}", p.get("dropout"),
                "; ".join(final.edges) or None,
            ]
        )  # fmt: skip
    return Section(
        name="winners",
        title="Which architecture is best for each budget?",
        sentences=[
            f"{len(rows)} {_what(horizons)} have a winner; "
            f"{sum(row[-1] is not None for row in rows)} of them lie at the edge of what was "
            "searched."
        ],
        tables=[
            Table(
                columns=(
                    "budget",
                    "horizon",
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
