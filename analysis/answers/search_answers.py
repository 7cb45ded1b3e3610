"""Sections on the trials of the searches: shapes, coverage, settings and time."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from analysis.answers.report_parts import (
    Cell,
    Figure,
    Section,
    Series,
    Table,
    days_ahead,
)
from analysis.answers.shape_tables import pairs_of_heads, styles_table
from analysis.study_records import CellRecords, StudyRecords, cells_or_cases
from analysis.trial_statistics import (
    best_of_curve,
    comparable,
    correlations,
    difference_of_best,
    not_counted,
)
from study.results.records import BEYOND, TrialRecord, ranked
from study.text.short_forms import architecture

_SETTINGS = (
    "learning_rate",
    "weight_decay",
    "dropout",
    "auxiliary_weight",
    "fall_weight",
    "ema_decay",
)
_SHAPE = ("d_model", "n_layers", "n_heads", "d_ff_ratio", "patch_length", "patch_stride")

_BUDGET_LOW, _BUDGET_HIGH = 0.75, 1.25
"""Least and greatest share of its budget that a model may use."""

_FEWEST_WHOLE = 10
"""Trials that must have run to their end before settings are correlated with their losses."""


def depth_section(study: StudyRecords) -> Section:
    """Return the section on whether depth wins over width."""

    def ratio(trial: TrialRecord) -> float:
        return float(trial.params["n_layers"]) / float(trial.params["d_model"])

    def split(cell: CellRecords) -> Callable[[TrialRecord], bool]:
        middle = float(np.median([ratio(trial) for trial in comparable(cell.rankable)]))
        return lambda trial: ratio(trial) > middle

    section = _grouped(
        study,
        name="depth",
        title="Does depth win over width?",
        first="deep",
        second="wide",
        split=split,
        caption="Deep: layers / width above the cell's median. The expected best of equally many "
        "trials of either group; negative means that deep is better.",
    )
    return replace(section, tables=[*section.tables, styles_table(study)])


def heads_section(study: StudyRecords) -> Section:
    """Return the section on whether more heads help."""

    def split(cell: CellRecords) -> Callable[[TrialRecord], bool]:
        middle = float(np.median([float(t.params["n_heads"]) for t in comparable(cell.rankable)]))
        return lambda trial: float(trial.params["n_heads"]) > middle

    section = _grouped(
        study,
        name="heads",
        title="Do more heads help?",
        first="more",
        second="fewer",
        split=split,
        caption="More: above the cell's median. The expected best of equally many trials of either "
        "group; negative means that more heads are better.",
    )
    sentences, tables = pairs_of_heads(study)
    return replace(
        section,
        sentences=[*section.sentences, *sentences],
        tables=[*section.tables, *tables],
    )


def _grouped(
    study: StudyRecords,
    *,
    name: str,
    title: str,
    first: str,
    second: str,
    split: Callable[[CellRecords], Callable[[TrialRecord], bool]],
    caption: str,
) -> Section:
    rows: list[list[Cell]] = []
    told = {first: 0, second: 0}
    numbers = {}
    n_tested = 0
    for cell in study.cells:
        trials = comparable(cell.rankable)
        found = difference_of_best(trials, split(cell)) if trials else None
        if found is None:
            rows.append([cell.label, days_ahead(cell.horizon), *[None] * 4, "too few trials"])
            continue
        n_tested += 1
        claim = "not told apart"
        if found.is_told:
            claim = first if found.value < 0 else second
            told[claim] += 1
        by_chance = f"{found.low:.4f} to {found.high:.4f}"
        rows.append(
            [
                cell.label, days_ahead(cell.horizon), found.k, found.value, by_chance, found.p,
                claim,
            ]
        )  # fmt: skip
        numbers[cell.name] = {
            "difference": found.value, "by_chance": [found.low, found.high], "p": found.p,
            "k": found.k, "claim": claim,
        }  # fmt: skip
    n = sum(told.values())
    return Section(
        name=name,
        title=title,
        sentences=[
            f"In {len(rows) - n} of {len(rows)} {cells_or_cases(study.cells)} nothing can be said; "
            f"{first} is better in {told[first]}, {second} in {told[second]}. "
            f"At most {0.05 * n_tested:.1f} such claims are expected by chance."
            f"{not_counted(study.trials)}"
        ],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "trials of each", f"{first} less {second}", "by chance",
                    "p", "claim",
                ),
                rows=rows,
                caption=f"{caption} By chance: the middle 95 % where the same trials are dealt "
                "out to two groups of these sizes anew, which takes them for independent draws.",
            )
        ],
        numbers=numbers,
    )  # fmt: skip


def budget_section(study: StudyRecords) -> Section:
    """Return the section on whether models use their budget."""
    rows: list[list[Cell]] = []
    outside = 0
    for cell in study.cells:
        shares = np.array([t.param_count / cell.budget_parameters for t in cell.trials])
        if not len(shares):
            continue
        outside += int(((shares < _BUDGET_LOW) | (shares > _BUDGET_HIGH)).sum())
        best = cell.rankable[0].param_count / cell.budget_parameters if cell.rankable else None
        rows.append(
            [cell.label, days_ahead(cell.horizon), f"{shares.min():.0%}",
             f"{np.median(shares):.0%}", f"{shares.max():.0%}",
             None if best is None else f"{best:.0%}"]
        )  # fmt: skip
    return Section(
        name="budget",
        title="Do models use their budget?",
        sentences=[
            f"{outside} trials of all cells lie outside of 75 to 125 % of their budget, by exact "
            "count."
        ],
        tables=[
            Table(columns=("budget", "horizon", "least", "median", "most", "best trial"), rows=rows)
        ],
        numbers={"outside": outside},
    )


def coverage_section(study: StudyRecords) -> Section:
    """Return the section on whether the search was a good one."""
    rows: list[list[Cell]] = []
    series = []
    for cell in study.cells:
        trials = comparable(cell.trials)
        values = np.array([t.value for t in ranked(trials)], dtype=np.float64)
        distinct = len({tuple(sorted(t.params.items())) for t in trials})
        shapes = len({(t.params["d_model"], t.params["n_layers"]) for t in trials})
        spread = float(np.ptp(values) / values.min()) if len(values) else None
        rows.append(
            [
                cell.label, days_ahead(cell.horizon), len(trials), distinct, shapes,
                sum(t.source == "sampled" for t in trials),
                sum(t.reason == "asha" for t in trials),
                sum(not t.is_rankable for t in trials),
                None if spread is None else f"{spread:.1%}",
            ]
        )  # fmt: skip
        if len(values) >= 2:
            curve = best_of_curve(values)
            series.append(
                Series(
                    name=f"{cell.label} h{cell.horizon}",
                    x=list(range(1, len(curve) + 1)),
                    y=[e.value - float(values.min()) for e in curve],
                    is_line=True,
                )
            )
    return Section(
        name="coverage",
        title="Was the search a good one?",
        sentences=[
            f"{sum(c.is_complete for c in study.searches)} of {len(study.searches)} searches are "
            "complete. The curve shows what fewer trials would have found; it takes trials for "
            "independent draws, which TPE's and ASHA's are not, so it flatters small numbers."
            f"{not_counted(study.trials)}"
        ],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "trials", "distinct", "shapes", "sampled", "cut by ASHA",
                    "failed or collapsed", "spread of losses",
                ),
                rows=rows,
            )
        ],
        figures=[
            Figure(
                name="best_of_k",
                title="Expected best of k trials, above the best of all",
                x_label="trials",
                y_label="nats per day",
                series=series,
                alt="How the best validation loss falls with the number of trials.",
            )
        ]
        if series
        else [],
    )  # fmt: skip


def importance_section(study: StudyRecords) -> Section:
    """Return the section on which settings go together with the loss."""
    rows: list[list[Cell]] = []
    numbers: dict[str, object] = {}
    names = (*_SHAPE, *_SETTINGS)
    for cell in study.cells:
        trials = [t for t in comparable(cell.rankable) if t.reason != "asha"]
        if len(trials) < _FEWEST_WHOLE:
            continue
        found = correlations(trials, [n for n in names if n in trials[0].params])
        ordered = sorted(found, key=lambda name: -abs(found[name].value))
        rows += [[cell.label, days_ahead(cell.horizon), name, found[name]] for name in ordered]
        numbers[cell.name] = found
    return Section(
        name="importance",
        title="Which settings matter?",
        sentences=[
            "Rank correlations with the validation loss over the trials that ran to their end; "
            "negative: larger values have lower losses. They are no causes: the sampler looks "
            "where losses are low, and width, depth and heads hang together in a budget."
            f"{not_counted(study.trials)}"
            if rows
            else f"No search has the {_FEWEST_WHOLE} whole trials that this needs."
        ],
        tables=[
            Table(columns=("budget", "horizon", "setting", "Spearman's rho"), rows=rows, digits=2)
        ]
        if rows
        else [],
        numbers=numbers,
    )


def listed_section(study: StudyRecords) -> Section | None:
    """Return the section on configurations that were listed by name; None without any."""
    rows: list[list[Cell]] = []
    best = []
    for cell in study.cells:
        places = {trial.number: place for place, trial in enumerate(cell.rankable, start=1)}
        listed = [trial for trial in cell.trials if trial.group is not None]
        for trial in listed:
            name = str(trial.name)
            if places.get(trial.number) == 1:
                best.append(f"{name} ({cell.label}, {days_ahead(cell.horizon)})")
            rows.append(
                [
                    name, trial.group, cell.label, days_ahead(cell.horizon), trial.param_count,
                    architecture(trial.params), trial.params["dropout"],
                    f"{trial.params['learning_rate']:.2e}", f"{trial.params['weight_decay']:g}",
                    trial.value, trial.reason, places.get(trial.number), len(cell.rankable),
                ]
            )  # fmt: skip
    if not rows:
        return None
    return Section(
        name="listed",
        title="What became of the listed configurations?",
        sentences=[
            f"{len(rows)} configurations were listed and tried first. The best trial of its budget "
            + (f"was a listed one: {', '.join(best)}." if best else "was never a listed one.")
            + " Each is one seed: what sets two of them apart may be chance."
        ],
        tables=[
            Table(
                columns=(
                    "name", "extreme of", "budget", "horizon", "parameters", "architecture",
                    "dropout", "learning rate", "weight decay", "validation loss", "end",
                    "place in its budget", "of usable trials",
                ),
                rows=rows,
            )
        ],
        numbers={"best": best, "n_listed": len(rows)},
    )  # fmt: skip


def time_section(study: StudyRecords) -> Section:
    """Return the section on how long searches took, and how long was expected."""
    rows: list[list[Cell]] = []
    ratios = []
    for search in study.searches:
        cells = study.of_search(search.search)
        estimate = search.searched.get("estimate", {}).get("search_seconds_expected")
        trials = [trial for cell in cells for trial in cell.trials]
        # Trials with the settings of other cells are among those of the estimate.
        timed = [trial for trial in trials if trial.source != BEYOND]
        if not timed:
            continue
        taken = max(t.ended for t in timed) - min(t.started for t in timed)
        busy = sum(t.duration_seconds or 0.0 for t in trials)
        if estimate and search.is_complete:
            ratios.append(taken / estimate)
        budgets = ", ".join(cell.label for cell in cells)
        rows.append([budgets, days_ahead(search.horizon), _minutes(estimate), _minutes(taken),
                     _minutes(busy)])  # fmt: skip
    beyond = (
        " The time taken is without trials beyond an edge of the file, which no estimate has."
        if any(trial.source == BEYOND for trial in study.trials)
        else ""
    )
    sentence = (
        f"From its first trial to its last a search took {np.median(ratios):.2f} times its "
        "estimate (median); beside other cells it takes longer than the estimate, which is for "
        f"the cell alone.{beyond}"
        if ratios
        else "No complete search has an estimate."
    )
    return Section(
        name="time",
        title="How long did it take, and how long was expected?",
        sentences=[sentence],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "estimate, minutes", "taken, minutes",
                    "all trials, minutes",
                ),
                rows=rows,
                digits=1,
            )
        ],
        numbers={"median_ratio": float(np.median(ratios)) if ratios else None},
    )  # fmt: skip


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60
