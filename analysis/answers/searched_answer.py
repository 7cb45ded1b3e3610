"""Sections on what searches found by themselves: the best trials, and what more trials may find."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import beta, linregress, norm, t

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
from analysis.statistics.floats import Floats
from analysis.statistics.interval import LEVEL, Estimate
from analysis.study_records import CellRecords, StudyRecords
from analysis.trial_statistics import not_counted, tuning_curve, unequal_numbers
from study.results.plans.input_record import SearchFoldsRecord
from study.results.records import TrialRecord
from study.results.scores import BestEpoch
from study.text.short_forms import architecture, counted

_SHOWN_TRIALS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
"""Numbers of trials at which the curve of the best is tabled."""

_FEWEST_DRAWN = 3
"""Trials of a search below which its curve says nothing."""

_FEWEST_SIZES = 3
"""Sizes through which a line can be laid that need not go through all points."""


def found_section(study: StudyRecords) -> Section:
    """Return the section on the best trial of every budget and horizon, on validation days."""
    rows: list[list[Cell]] = []
    for cell in study.cells:
        if not cell.rankable:
            continue
        best = cell.rankable[0]
        assert isinstance(best.best, BestEpoch)
        params = best.params
        rows.append(
            [
                cell.label, days_ahead(cell.horizon), validation_loss(best), less_baseline(best),
                _fresh(cell, best), architecture(params), best.param_count,
                f"{params['learning_rate']:.2e}", params["dropout"], best.best.auc,
                f"{best.number} of {len(cell.trials)}",
            ]
        )  # fmt: skip
    return Section(
        name="found",
        title="What did the searches find?",
        sentences=[
            *_judged_sentences(study),
            *found_sentences(study),
            *_line_sentences(study),
            *_number_sentences(study),
            *_known_sentences(study),
        ],
        tables=[
            _matrix(study),
            Table(
                columns=(
                    "budget", "horizon", "validation loss", "less the baseline",
                    "fresh seeds", "architecture", "parameters", "learning rate", "dropout", "AUC",
                    "trial",
                ),
                rows=rows,
                digits=3,
                caption="The best trial of each budget on the validation days by which it was "
                "chosen, with 95 % intervals over days. The baseline is that of the search; the "
                "difference is paired by day. Fresh seeds: mean of the same configuration trained "
                "again, on the same days; free of the luck of a seed, but not of that of the days.",
            ),
        ],
        figures=_loss_figures(study),
        numbers={
            cell.name: {
                "trial": best.number, "loss": best.value, "parameters": best.param_count,
                "architecture": architecture(best.params),
            }
            for cell in study.cells
            for best in cell.rankable[:1]
        },
    )  # fmt: skip


def _judged_sentences(study: StudyRecords) -> list[str]:
    """Return what the validation losses of a search on folds are; nothing of any other."""
    folds = SearchFoldsRecord.of(study.cells[0].searched)
    if folds is None:
        return []
    return [
        f"Validation here means {folds.scope}: a loss is no forecast, and only test days show one."
    ]


def found_sentences(study: StudyRecords) -> list[str]:
    """Return a sentence for each horizon on the best trial of its searches."""
    sentences = []
    for horizon in study.horizons:
        cells = [cell for cell in study.of_horizon(horizon) if cell.rankable]
        if not cells:
            continue
        first = min(cells, key=lambda cell: (validation_loss(cell.rankable[0]).value, cell.name))
        best = first.rankable[0]
        less = less_baseline(best)
        n_budgets = len({cell.budget for cell in cells})
        among = "" if len(cells) == 1 else f" of {counted(n_budgets, 'budget')}"
        if len(cells) > n_budgets:
            among = f" of {len(cells)} searches{among}"
        sentences.append(
            f"Validation, {days_ahead(horizon)}: the lowest loss{among} is that of {first.label}, "
            f"{shown_estimate(validation_loss(best))} nats per day"
            + ("" if less is None else f", {shown_estimate(less)} less the search's baseline")
            + f". It is the best of {sum(len(cell.trials) for cell in cells)} trials on the same "
            "days, and so looks better than it is."
        )
    return sentences


def _number_sentences(study: StudyRecords) -> list[str]:
    """Return a sentence on searches of unequally many trials; nothing where all had as many."""
    said = unequal_numbers([cell.trials for cell in study.cells if cell.rankable])
    return [said.strip()] if said else []


def _known_sentences(study: StudyRecords) -> list[str]:
    """Return a sentence on searches that began with other cells' best; nothing without any."""
    told = []
    for cell in study.cells:
        found = cell.searched.get("neighbours", {}).get("found", ())
        if found:
            known = ", ".join(str(one.get("cell")) for one in found)
            told.append(f"{cell.label}, {days_ahead(cell.horizon)} (of {known})")
    if not told:
        return []
    return [
        f"{len(told)} of {len(study.cells)} searches began with the best trials of finished cells, "
        f"so that their winners are not found independently: {'; '.join(told)}."
    ]


def validation_loss(trial: TrialRecord) -> Estimate:
    """Return a trial's validation loss, with an interval over days."""
    assert trial.best is not None
    assert trial.value is not None
    return _with_error(trial.value, trial.best.loss_se)


def less_baseline(trial: TrialRecord) -> Estimate | None:
    """Return the difference to the search's baseline, paired by day; None without a baseline."""
    assert trial.best is not None
    if trial.best.difference is None:
        return None
    return _with_error(trial.best.difference, trial.best.difference_se)


def _fresh(cell: CellRecords, trial: TrialRecord) -> float | None:
    """Return the mean validation loss of a trial with fresh seeds; None without such runs."""
    if cell.final is None:
        return None
    again = (each for each in cell.final.selection if each.trial == trial.number)
    return next((each.mean_value for each in again), None)


def _with_error(value: float, se: float | None) -> Estimate:
    """Return a mean over days with the interval of a normal spread."""
    if se is None:
        return Estimate(value=value, low=None, high=None, se=None)
    half = float(norm.ppf((1 + LEVEL) / 2)) * se
    return Estimate(value=value, low=value - half, high=value + half, se=se)


def _matrix(study: StudyRecords) -> Table:
    """Return the least validation loss of every budget at every horizon."""
    by_place = {(cell.label, cell.horizon): cell for cell in study.cells if cell.rankable}
    rows: list[list[Cell]] = []
    for label in dict.fromkeys(cell.label for cell in study.cells):
        row: list[Cell] = [label]
        for horizon in study.horizons:
            cell = by_place.get((label, horizon))
            row.append(None if cell is None else validation_loss(cell.rankable[0]))
        rows.append(row)
    return Table(
        columns=("budget", *(days_ahead(horizon) for horizon in study.horizons)),
        rows=rows,
        caption="Least validation loss, nats per day, with 95 % intervals over days. Losses of "
        "different horizons cannot be compared: their base rates differ.",
    )


def _points(study: StudyRecords, horizon: int) -> tuple[list[CellRecords], Floats, Floats]:
    """Return the cells of a horizon that have a best trial, with its size and its loss."""
    cells = [cell for cell in study.of_horizon(horizon) if cell.rankable]
    best = [cell.rankable[0] for cell in cells]
    sizes = np.array([trial.param_count for trial in best], dtype=np.float64)
    return cells, sizes, np.array([trial.value for trial in best], dtype=np.float64)


def _line_sentences(study: StudyRecords) -> list[str]:
    """Return what a straight line through log losses says at each horizon, and what it does not."""
    sentences = []
    for horizon in study.horizons:
        _, sizes, losses = _points(study, horizon)
        n = len(sizes)
        if len(np.unique(sizes)) < _FEWEST_SIZES or np.ptp(losses) == 0:
            continue
        fit = linregress(np.log(sizes), np.log(losses))
        half = float(t.ppf((1 + LEVEL) / 2, n - 2)) * fit.stderr
        r2 = float(fit.rvalue**2)
        alpha = Estimate(
            value=-fit.slope, low=-fit.slope - half, high=-fit.slope + half, se=fit.stderr
        )
        # With no effect, R2 of a line through n points is beta(1/2, (n - 2) / 2) distributed.
        by_chance = float(beta.sf(r2, 0.5, (n - 2) / 2))
        sentences.append(
            f"{days_ahead(horizon)}, a line through the logs of {n} best losses: alpha "
            f"{shown_estimate(alpha)}, R2 {r2:.2f}. R2 is no evidence of a law: with no effect of "
            f"size at all, {n} points give one as high in {by_chance:.0%} of studies."
        )
    return sentences


def _loss_figures(study: StudyRecords) -> list[Figure]:
    """Return a picture of validation loss by size for each horizon, both on a log scale."""
    figures = []
    for horizon in study.horizons:
        cells, sizes, _ = _points(study, horizon)
        if not cells:
            continue
        losses = [validation_loss(cell.rankable[0]) for cell in cells]
        others = [
            (trial.param_count, trial.value, cell.label)
            for cell in cells
            for trial in cell.rankable[1:]
            if trial.value is not None
        ]
        figures.append(
            Figure(
                name=f"validation_h{horizon}",
                title=f"Validation loss by size, {days_ahead(horizon)}",
                x_label="parameters",
                y_label="nats per day",
                series=[
                    Series(
                        name="best trial",
                        x=sizes.tolist(),
                        y=[loss.value for loss in losses],
                        low=[low_end(loss) for loss in losses],
                        high=[high_end(loss) for loss in losses],
                        labels=[
                            f"{cell.label}: {shown_estimate(loss)}"
                            for cell, loss in zip(cells, losses, strict=True)
                        ],
                    ),
                    Series(
                        name="other trials",
                        x=[float(size) for size, _, _ in others],
                        y=[value for _, value, _ in others],
                        labels=[f"{budget}: {value:.4f}" for _, value, budget in others],
                        is_reference=True,
                    ),
                ],
                log_x=True,
                log_y=True,
                alt="Validation loss of the trials of "
                f"{len({cell.budget for cell in cells})} budgets against their number "
                "of parameters, on log scales.",
            )
        )
    return figures


def more_trials_section(study: StudyRecords) -> Section:
    """Return the section on what the median search of k trials finds, with exact bands."""
    drawn = {cell.name: _drawn(cell) for cell in study.cells}
    cells = [
        cell
        for cell in study.cells
        if len(drawn[cell.name]) >= _FEWEST_DRAWN and np.isfinite(drawn[cell.name]).any()
    ]
    rows = [row for cell in cells for row in _curve_rows(cell, drawn[cell.name])]
    sentences = [
        "The median best of k trials, of those that the sampler drew; one without a usable result "
        "counts as worse than any. Its band is exact for any distribution of losses if trials "
        "are independent draws. "
        + (
            f"Of the {sum(len(drawn[cell.name]) for cell in cells)} trials {_n_random(cells)} "
            "were, at the random beginning of a search; what TPE drew later is no such "
            "draw, and may make the curve fall too early. Where the least has no bound, the best "
            f"that there is may be far below all that was found.{not_counted(study.trials)}"
        )
        if cells
        else f"No search has the {_FEWEST_DRAWN} sampled trials that this needs."
    ]
    return Section(
        name="more_trials",
        title="What would more trials find?",
        sentences=sentences,
        tables=[
            Table(
                columns=("budget", "horizon", "trials", "median best", "least", "most"),
                rows=rows,
                caption="Validation loss, nats per day; the ends are those of a band that holds "
                "for all numbers of trials at once with 95 % confidence.",
            )
        ]
        if rows
        else [],
        figures=[
            _curve_figure(horizon, [(cell, drawn[cell.name]) for cell in own])
            for horizon in study.horizons
            if (own := [cell for cell in cells if cell.horizon == horizon])
        ],
    )


def _n_random(cells: Sequence[CellRecords]) -> str:
    """Return how many trials the sampler has drawn at random, in words."""
    n_random = 0
    for cell in cells:
        startup = cell.searched["spec"].get("search", {}).get("startup_trials")
        if startup is None:
            return "an unknown number"
        n_random += sum(t.source == "sampled" and t.number < startup for t in cell.trials)
    return f"{n_random} surely"


def _drawn(cell: CellRecords) -> Floats:
    """Return the losses of the trials that the sampler drew, inf where there is no usable one."""
    return np.array(
        [
            trial.value if trial.is_rankable and trial.value is not None else np.inf
            for trial in cell.trials
            if trial.source == "sampled"
        ],
        dtype=np.float64,
    )


def _curve_rows(cell: CellRecords, losses: Floats) -> list[list[Cell]]:
    curve, n = tuning_curve(losses), len(losses)
    return [
        [
            cell.label, days_ahead(cell.horizon), k, _finite(curve.median[k - 1]),
            _finite(curve.low[k - 1]), _finite(curve.high[k - 1]),
        ]
        for k in sorted({*(k for k in _SHOWN_TRIALS if k < n), n})
    ]  # fmt: skip


def _finite(value: float) -> Cell:
    return float(value) if np.isfinite(value) else "no bound"


def _curve_figure(horizon: int, searches: Sequence[tuple[CellRecords, Floats]]) -> Figure:
    curves = [(cell, tuning_curve(losses)) for cell, losses in searches]
    ends = np.concatenate([[*c.median, *c.low, *c.high] for _, c in curves])
    ends = ends[np.isfinite(ends)]
    # A band without an end is drawn to the edge of the picture.
    bottom, top = ends.min() - 0.1 * np.ptp(ends), ends.max() + 0.1 * np.ptp(ends)
    return Figure(
        name=f"more_trials_h{horizon}",
        title=f"Median best of k trials, {days_ahead(horizon)}",
        x_label="trials",
        y_label="validation loss, nats per day",
        series=[
            Series(
                name=cell.label,
                x=[float(k) for k in range(1, len(curve.median) + 1)],
                y=np.clip(curve.median, bottom, top).tolist(),
                low=np.clip(curve.low, bottom, top).tolist(),
                high=np.clip(curve.high, bottom, top).tolist(),
                is_line=True,
            )
            for cell, curve in curves
        ],
        alt="How the validation loss of the best of k trials falls with k, with bands that reach "
        "the edge of the picture where nothing bounds it.",
    )
