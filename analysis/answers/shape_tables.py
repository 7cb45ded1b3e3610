"""Tables of trials by their shape: styles of depth and width, and pairs that differ in heads."""

import itertools

import numpy as np

from analysis.answers.report_parts import Cell, Table, days_ahead
from analysis.study_records import CellRecords, StudyRecords
from analysis.trial_statistics import comparable
from study.results.records import TrialRecord

_STYLES = (("narrow and deep", 0.5, np.inf), ("balanced", 0.15, 0.5), ("wide and shallow", 0, 0.15))
"""Styles by layers over width, from and up to: those of the study that this one replaces."""

_SHAPE = (
    "family", "d_model", "n_layers", "d_ff_ratio", "patch_length", "patch_stride", "head",
    "last_day_skip",
)  # fmt: skip
"""Values of an architecture without its heads."""


def styles_table(study: StudyRecords) -> Table:
    """Return how many trials each style has at each budget and horizon, and their losses."""
    rows: list[list[Cell]] = []
    for cell in study.cells:
        for name, low, high in _STYLES:
            values = [
                trial.value
                for trial in comparable(cell.rankable)
                if trial.value is not None
                and low <= trial.params["n_layers"] / trial.params["d_model"] < high
            ]
            if values:
                rows.append(
                    [
                        cell.label, days_ahead(cell.horizon), name, len(values), min(values),
                        float(np.median(values)), max(values),
                    ]
                )  # fmt: skip
    return Table(
        columns=("budget", "horizon", "style", "usable trials", "best", "median", "worst"),
        rows=rows,
        caption="Validation losses by style. Narrow and deep: more than half a layer for each unit "
        "of width; wide and shallow: less than 0.15. The style that was tried most often has the "
        "best chance of the best trial, and a budget that few shapes fit has few styles.",
    )


def pairs_of_heads(study: StudyRecords) -> tuple[list[str], list[Table]]:
    """Return what trials of the same shape say that differ in the number of heads.

    Returns: a sentence and a table of the pairs; without any pair a sentence alone.
    """
    pairs = [(cell, *pair) for cell in study.cells for pair in _pairs(cell)]
    if not pairs:
        return ["No two usable trials of a cell have the same shape and other heads."], []
    rows: list[list[Cell]] = [
        [
            cell.label, days_ahead(cell.horizon), f"d{more.params['d_model']} "
            f"L{more.params['n_layers']}", fewer.params["n_heads"], more.params["n_heads"],
            fewer.value, more.value, _difference(fewer, more),
            "heads alone" if _is_controlled(fewer, more) else "training too",
        ]
        for cell, fewer, more in pairs
    ]  # fmt: skip
    controlled = [(fewer, more) for _, fewer, more in pairs if _is_controlled(fewer, more)]
    lower = sum(_difference(fewer, more) < 0 for fewer, more in controlled)
    sentence = (
        f"{len(pairs)} pairs of trials have the same shape and other heads; {len(controlled)} of "
        "them differ in nothing else"
        + (f", and more heads have the lower loss in {lower} of those" if controlled else "")
        + ". Each is one seed: what sets two of them apart may be chance."
    )
    return [sentence], [
        Table(
            columns=(
                "budget", "horizon", "shape", "fewer heads", "more heads", "loss with fewer",
                "loss with more", "more less fewer", "differ in",
            ),
            rows=rows,
            caption="The best trial of each number of heads for a shape, beside the next larger "
            "number; pairs that differ in nothing but heads and seed come first.",
        )
    ]  # fmt: skip


def _pairs(cell: CellRecords) -> list[tuple[TrialRecord, TrialRecord]]:
    """Return the pairs of a cell, fewer heads first, those that differ in heads alone first."""
    found: list[tuple[TrialRecord, TrialRecord]] = []
    controlled: list[tuple[TrialRecord, TrialRecord]] = []
    shapes: dict[tuple[object, ...], list[TrialRecord]] = {}
    for trial in comparable(cell.rankable):
        shapes.setdefault(tuple(trial.params.get(name) for name in _SHAPE), []).append(trial)
    for trials in shapes.values():
        for one, other in itertools.combinations(trials, 2):
            if _is_controlled(one, other):
                controlled.append(_by_heads(one, other))
        best: dict[int, TrialRecord] = {}
        for trial in trials:
            # The best come first.
            best.setdefault(int(trial.params["n_heads"]), trial)
        neighbours = itertools.pairwise(best[heads] for heads in sorted(best))
        found += [pair for pair in neighbours if not _is_controlled(*pair)]
    return [*controlled, *found]


def _by_heads(one: TrialRecord, other: TrialRecord) -> tuple[TrialRecord, TrialRecord]:
    is_first = one.params["n_heads"] < other.params["n_heads"]
    return (one, other) if is_first else (other, one)


def _is_controlled(one: TrialRecord, other: TrialRecord) -> bool:
    """Do two trials differ in their heads, and in no other value of their configurations?"""
    names = one.params.keys() | other.params.keys()
    differ = {name for name in names if one.params.get(name) != other.params.get(name)}
    return differ == {"n_heads"}


def _difference(fewer: TrialRecord, more: TrialRecord) -> float:
    assert fewer.value is not None
    assert more.value is not None
    return more.value - fewer.value
