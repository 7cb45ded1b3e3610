"""The judgement of a study's cells: scores, comparisons, flags and laws."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.edge_judgement import edge_remarks
from analysis.holdout_scores import Scores, score_model
from analysis.statistics.comparison import (
    Difference,
    best_on,
    compare,
    confidence_set,
    excludes_zero,
    paired_difference,
)
from analysis.statistics.day_resampling import daily_means, resampled_day_counts
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate
from analysis.statistics.law_judgement import judge
from analysis.statistics.law_report import LawReport
from analysis.statistics.run_resampling import LEAST_LEVELS, Runs
from analysis.statistics.trend import components_of, steps
from analysis.statistics.winner_noise import Components
from analysis.study_records import CellRecords, Predictions, StudyRecords
from study.results.final_records import ORACLE, FinalRecord

_SAME_LOSS = 5e-4
"""Difference in log-loss, nats, below which two winners agree to three decimals: by chance, or
because both models answer the same constant."""

_FEWEST_SEEDS = 5

_LEAK_ERRORS = 3
"""Standard errors by which a model may beat the exact answer: more, and its inputs know the
future."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedCell:
    """One cell with final runs."""

    records: CellRecords
    final: FinalRecord
    test: Predictions
    train_prior: float
    scores: Mapping[str, Scores]
    """Scores on the test days, by model."""
    rival: str
    """Baseline with the lowest loss on the validation days: chosen without the test."""
    difference: Difference
    """Difference of the winner to the rival, on the test days."""
    over_oracle: Estimate | None
    """Loss less that of the exact answer, where the market is drawn; None on a real one."""
    flags: Sequence[str]
    """Reasons for which the cell is left out of every law; empty if it is in."""
    notes: Sequence[str]
    """Remarks for the reader that exclude nothing."""

    @property
    def name(self) -> str:
        """Name of the cell."""
        return self.records.name

    @property
    def label(self) -> str:
        """Budget, and which search of it if there are several, as a reader knows it."""
        return self.records.label

    @property
    def own(self) -> Scores:
        """Scores of the winner's runs."""
        return self.scores[self.final.model]

    @property
    def is_leak(self) -> bool:
        """Is it better than the best possible answer by more than chance allows?"""
        over = self.over_oracle
        return over is not None and over.se is not None and over.value < -_LEAK_ERRORS * over.se

    @property
    def losses(self) -> Floats:
        """Daily losses of the winner's runs on the test days, shape (n_seeds, n_days)."""
        return self.test.losses(self.final.model)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedHorizon:
    """The cells of one horizon side by side, on the same days."""

    horizon: int
    cells: Sequence[JudgedCell]
    best_set: Sequence[str]
    """Winners among which the best is with 90 % confidence on other days, by budget; equal ones as
    ``20k = 60k``."""
    from_smallest: Sequence[Estimate]
    """Loss of each winner less that of the first of the smallest budget, paired by day."""
    pairs: Sequence[Difference]
    """Each budget against the next smaller one, as other searches might have it."""
    law: LawReport | None
    """Law of the cells that are not flagged; None with fewer than three of them."""
    law_of_all: LawReport | None
    """Law of all cells, flagged ones included; None if none is flagged."""
    components: Components | None
    """What makes losses differ, of the cells of the first of these laws that there is. Without any,
    of all cells if a budget was searched several times, and else None."""
    excluded: Sequence[str]
    """Budgets left out, with the reason."""


def all_cells(horizons: Sequence[JudgedHorizon]) -> list[JudgedCell]:
    """Return the cells of all horizons."""
    return [cell for each in horizons for cell in each.cells]


def judge_study(study: StudyRecords) -> list[JudgedHorizon]:
    """Judge the cells of a study that have final runs."""
    found = []
    for horizon in study.horizons:
        records = [cell for cell in study.of_horizon(horizon) if cell.final is not None]
        if records:
            found.append(_judge_horizon(horizon, records))
    return found


def _judge_horizon(horizon: int, records: Sequence[CellRecords]) -> JudgedHorizon:
    tests = [cell.predictions("test") for cell in records]
    days = resampled_day_counts(len(tests[0].y), horizon)
    models = {c.label: t.losses(c.model) for c, t in zip(records, tests, strict=True)}
    means = {label: float(losses.mean()) for label, losses in models.items()}
    rivals = [rival_of(cell) for cell in records]
    differences: dict[str, Difference] = {}
    for rival in sorted(set(rivals)):
        # The winners that have the same rival are one family of comparisons.
        own = [c.label for c, r in zip(records, rivals, strict=True) if r == rival]
        test = tests[rivals.index(rival)]
        compared = compare({each: models[each] for each in own}, rival, test.losses(rival), days)
        differences |= {each.model: each for each in compared}
    cells = [
        _judge_cell(cell, test, days, rival, differences[cell.label], means)
        for cell, test, rival in zip(records, tests, rivals, strict=True)
    ]
    kept = [cell for cell in cells if not cell.flags]
    law, law_of_all = _law(kept, days), _law(cells, days) if len(kept) < len(cells) else None
    return JudgedHorizon(
        horizon=horizon,
        cells=cells,
        best_set=[" = ".join(group) for group in confidence_set(models, horizon)],
        from_smallest=[
            Estimate(value=0.0, low=None, high=None, se=None),
            *(paired_difference(c.losses, cells[0].losses, days) for c in cells[1:]),
        ],
        pairs=_pairs(cells, days),
        law=law,
        law_of_all=law_of_all,
        components=_components(law or law_of_all, cells, days),
        excluded=[f"{c.label}: {'; '.join(c.flags)}" for c in cells if c.flags],
    )


def rival_of(cell: CellRecords) -> str:
    """Return the baseline that a cell's winner is compared with: the best one on validation."""
    validation = cell.predictions("validation")
    return best_on(validation, [name for name in validation.p if name not in (cell.model, ORACLE)])


def _judge_cell(
    cell: CellRecords,
    test: Predictions,
    days: Floats,
    rival: str,
    difference: Difference,
    means: Mapping[str, float],
) -> JudgedCell:
    final = cell.final
    assert final is not None
    train_prior = float(cell.searched["splits"]["train"]["base_rate"])
    scores = {model: score_model(test, model, train_prior, days) for model in test.p}
    own = scores[final.model]
    flags = []
    if own.is_next_to_constant:
        flags.append("the winner has collapsed: it says no more than a constant")
    if not final.search["is_complete"]:
        # The search may have been resumed since, but its winner is of that time.
        ended, asked = final.search["ended"], final.search["asked"]
        flags.append(f"the winner is of an incomplete search: {ended} of {asked} trials")
    elif not cell.is_complete:
        flags.append(
            f"the search is incomplete: {cell.n_ended} of {cell.searched['trials']} trials"
        )
    binding, notes = edge_remarks(final, cell.rankable, cell.searched["spec"])
    flags += binding
    twins = [
        label
        for label, mean in means.items()
        if label != cell.label and abs(mean - means[cell.label]) < _SAME_LOSS
    ]
    if twins:
        notes.append(f"same loss to three decimals as {', '.join(twins)}")
    failed = [run for run in final.runs if not run.is_rankable]
    if failed:
        notes.append(f"{len(failed)} of {len(final.runs)} final runs failed or collapsed")
    if own.n_seeds < _FEWEST_SEEDS:
        notes.append(f"{own.n_seeds} seeds, fewer than {_FEWEST_SEEDS}")
    if final.with_validation:
        notes.append("trained on validation days too, as were the baselines")
    if final.differences:
        notes.append(f"changed since the search: {'; '.join(final.differences)}")
    return JudgedCell(
        records=cell,
        final=final,
        test=test,
        train_prior=train_prior,
        scores=scores,
        rival=rival,
        difference=difference,
        over_oracle=paired_difference(test.losses(final.model), test.losses(ORACLE), days)
        if ORACLE in test.p
        else None,
        flags=flags,
        notes=notes,
    )


def _pairs(cells: Sequence[JudgedCell], days: Floats) -> list[Difference]:
    """Return each budget against the next smaller one."""
    budgets = list(dict.fromkeys(cell.records.budget for cell in cells))
    return [
        Difference(
            model=larger,
            other=smaller,
            difference=difference,
            excludes_zero=excludes_zero(difference),
            # Sizes are judged by the law, not one by one.
            survives=False,
        )
        for (smaller, larger), difference in zip(
            itertools.pairwise(budgets), steps(_runs(cells, days)), strict=True
        )
    ]


def _law(cells: Sequence[JudgedCell], days: Floats) -> LawReport | None:
    """Fit the law to every final run, resampling test days for all together, seeds and winners."""
    budgets = {cell.records.budget for cell in cells}
    return judge(_runs(cells, days)) if len(budgets) >= LEAST_LEVELS else None


def _components(
    law: LawReport | None, cells: Sequence[JudgedCell], days: Floats
) -> Components | None:
    """Return what makes losses differ: of a law or, without any, of cells searched repeatedly."""
    if law is not None:
        return law.trend.components
    found = components_of(_runs(cells, days))
    return None if found.winners is None else found


def _runs(cells: Sequence[JudgedCell], days: Floats) -> Runs:
    """Return the final runs of cells, smaller budgets first."""
    budgets = list(dict.fromkeys(cell.records.budget for cell in cells))

    def of_each(value: Callable[[JudgedCell], float]) -> Floats:
        return np.concatenate([np.full(len(cell.losses), value(cell)) for cell in cells])

    return Runs(
        names=("parameters",),
        sizes=of_each(lambda cell: float(cell.final.param_count))[:, None],
        losses=np.concatenate([cell.losses.mean(axis=1) for cell in cells]),
        resampled=np.concatenate([daily_means(cell.losses, days) for cell in cells], axis=1),
        budget=of_each(lambda cell: budgets.index(cell.records.budget)).astype(np.intp),
        search=of_each(lambda cell: cell.records.search_number).astype(np.intp),
    )
