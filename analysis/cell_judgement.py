"""The judgement of a study's cells: scores, comparisons, flags and laws."""

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from analysis.edge_judgement import edge_remarks
from analysis.holdout_scores import Scores, score_model
from analysis.judged_days import HorizonDays
from analysis.statistics.comparison import (
    EQUAL_NATS,
    Difference,
    Optimism,
    Pair,
    Standing,
    compare,
    confidence_set,
    excludes_zero,
    optimism,
    paired_difference,
)
from analysis.statistics.day_resampling import (
    DaySamples,
    daily_mean_losses,
    effective_days,
    resampled_days,
)
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate
from analysis.statistics.law_judgement import judge
from analysis.statistics.law_report import LawReport
from analysis.statistics.run_resampling import LEAST_LEVELS, Runs
from analysis.statistics.trend import components_of, steps
from analysis.statistics.winner_noise import Components
from analysis.study_records import CellRecords, Predictions, StudyRecords
from study.results.finals.final_records import CONSTANT, LOGISTIC, ORACLE, FinalRecord
from study.results.plans.input_record import SearchFoldsRecord
from study.statistics.detectable import smallest_difference

_SAME_LOSS = 5e-4
"""Difference in log-loss, nats, below which two winners agree to three decimals: by chance, or
because both models answer the same constant."""

_FEWEST_SEEDS = 5

_VALIDATION_DRAW = 1
"""Seed of the samples of validation days: those of the test days, which are other days, have 0."""

_Key = TypeVar("_Key")

_LEAK_ERRORS = 3
"""Standard errors by which a model may beat the exact answer: more, and its inputs know the
future."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedCell:
    """One cell with final runs."""

    records: CellRecords
    final: FinalRecord
    test: Predictions
    scores: Mapping[str, Scores]
    """Scores on the test days, by model."""
    standing: Standing
    """The winner beside every baseline on the test days, one family over all cells of the study."""
    means: Mapping[str, Standing]
    """Mean of the probabilities of its seeds, by itself and with logistic regression, beside every
    baseline, by name: a family of its own over all cells. Empty with one seed."""
    optimism: Optimism | None
    """How much the winner loses on later days of what it had on those on which it was chosen; None
    where it was trained on these, or chosen on folds. The later days are test days, of a walk
    forward those of its first fold, on which the same runs answer."""
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
    def reference(self) -> str:
        """Baseline by which validation and test days are compared, fixed before any day was seen.

        The best baseline of the validation days would owe them something itself.
        """
        return _reference(self.test)

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
    """Winners, by budget, and baselines among which the best is with 90 % confidence on other days;
    equal ones as ``20k = 60k``."""
    effective_days: Mapping[str, float]
    """Independent days that the test days are worth for ``loss``, that of the best baseline there,
    and for ``difference``, the median one of a winner to it; without those that do not vary."""
    pair_errors: Sequence[float]
    """Standard errors of the paired differences of all two winners, nats, without those of equal
    ones; none with one winner."""
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

    @property
    def smallest_difference(self) -> float | None:
        """Smallest true difference between two winners that the test days show, nats.

        It goes by the median error of their own paired differences; None without any.
        """
        if not self.pair_errors:
            return None
        return smallest_difference(float(np.median(self.pair_errors)))


def all_cells(horizons: Sequence[JudgedHorizon]) -> list[JudgedCell]:
    """Return the cells of all horizons."""
    return [cell for each in horizons for cell in each.cells]


def judge_study(study: StudyRecords) -> list[JudgedHorizon]:
    """Judge the cells of a study that have final runs."""
    by_horizon = {
        horizon: [cell for cell in study.of_horizon(horizon) if cell.final is not None]
        for horizon in study.horizons
    }
    days = {
        horizon: HorizonDays.of(horizon, records)
        for horizon, records in by_horizon.items()
        if records
    }
    # A reader looks at all budgets, horizons and baselines, so they are one family.
    standings = _standings(
        {(h, label): own for h, each in days.items() for label, own in each.pairs().items()}
    )
    # They are further answers, and make no claim about a winner harder.
    means = _standings(
        {(h, *name): own for h, each in days.items() for name, own in each.mean_pairs().items()}
    )
    longest = max(days, default=0)
    return [_judge_horizon(each, standings, means, longest) for each in days.values()]


def _standings(pairs: Mapping[_Key, Sequence[Pair]]) -> dict[_Key, Standing]:
    """Judge models beside their baselines as one family of comparisons."""
    family = iter(compare([pair for own in pairs.values() for pair in own]))
    return {
        key: Standing(differences=list(itertools.islice(family, len(own))))
        for key, own in pairs.items()
    }


def _judge_horizon(
    days: HorizonDays,
    standings: Mapping[tuple[int, str], Standing],
    means: Mapping[tuple[int, str, str], Standing],
    longest: int,
) -> JudgedHorizon:
    """Judge the cells of a horizon.

    Args:
        days: of the horizon.
        standings: of all cells, by horizon and label.
        means: of the means of their seeds, by horizon, label and name.
        longest: horizon of the study, days.
    """
    horizon, winners, baselines = days.horizon, days.winners, days.baselines
    losses = {label: float(own.mean()) for label, own in winners.items()}
    cells = [
        _judge_cell(
            cell,
            test,
            days.samples,
            standings[horizon, cell.label],
            {
                name: own
                for (h, label, name), own in means.items()
                if (h, label) == (horizon, cell.label)
            },
            losses,
            _optimism(cell, test, longest),
        )
        for cell, test in zip(days.records, days.tests, strict=True)
    ]
    kept = [cell for cell in cells if not cell.flags]
    law = _law(kept, days.samples)
    law_of_all = _law(cells, days.samples) if len(kept) < len(cells) else None
    return JudgedHorizon(
        horizon=horizon,
        cells=cells,
        best_set=[
            " = ".join(group) for group in confidence_set({**winners, **baselines}, days.samples)
        ],
        effective_days=_effective_days(winners, baselines, days.samples),
        pair_errors=_pair_errors(list(winners.values()), days.samples),
        from_smallest=[
            Estimate(value=0.0, low=None, high=None, se=None),
            *(paired_difference(c.losses, cells[0].losses, days.samples) for c in cells[1:]),
        ],
        pairs=_pairs(cells, days.samples),
        law=law,
        law_of_all=law_of_all,
        components=_components(law or law_of_all, cells, days.samples),
        excluded=[f"{c.label}: {'; '.join(c.flags)}" for c in cells if c.flags],
    )


def _judge_cell(
    cell: CellRecords,
    test: Predictions,
    days: DaySamples,
    standing: Standing,
    means: Mapping[str, Standing],
    losses: Mapping[str, float],
    lost: Optimism | None,
) -> JudgedCell:
    final = cell.final
    assert final is not None
    train_prior = test.train_prior(float(cell.searched["splits"]["train"]["base_rate"]))
    scores = {model: score_model(test, model, train_prior, days) for model in test.p}
    own = scores[final.model]
    flags, notes = _remarks(cell, final, own, losses)
    return JudgedCell(
        records=cell,
        final=final,
        test=test,
        scores=scores,
        standing=standing,
        means=means,
        optimism=lost,
        over_oracle=paired_difference(test.losses(final.model), test.losses(ORACLE), days)
        if ORACLE in test.p
        else None,
        flags=flags,
        notes=notes,
    )


def _remarks(
    cell: CellRecords, final: FinalRecord, own: Scores, losses: Mapping[str, float]
) -> tuple[list[str], list[str]]:
    """Return the reasons for which a cell is left out of every law, and further remarks.

    Args:
        cell: its records.
        final: those of its final runs.
        own: scores of its winner.
        losses: of the winners of its horizon, by label.
    """
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
    binding, notes = edge_remarks(final, cell.rankable, cell.searched)
    flags += binding
    twins = [
        label
        for label, mean in losses.items()
        if label != cell.label and abs(mean - losses[cell.label]) < _SAME_LOSS
    ]
    if twins:
        notes.append(f"same loss to three decimals as {', '.join(twins)}")
    failed = [run for run in final.runs if not run.is_rankable]
    if failed:
        notes.append(f"{len(failed)} of {len(final.runs)} final runs failed or collapsed")
    if final.folds and final.n_whole_seeds < final.n_seeds:
        n_left_out = final.n_seeds - final.n_whole_seeds
        notes.append(
            f"{n_left_out} of {final.n_seeds} seeds left out, for want of a fold's answers"
        )
    if own.n_seeds < _FEWEST_SEEDS:
        notes.append(f"{own.n_seeds} seeds, fewer than {_FEWEST_SEEDS}")
    if final.with_validation:
        notes.append("trained on validation days too, as were the baselines")
    if final.differences:
        notes.append(f"changed since the search: {'; '.join(final.differences)}")
    return flags, notes


def _optimism(cell: CellRecords, test: Predictions, longest: int) -> Optimism | None:
    """Return how the winner's lead moves from validation to later days; None without predictions.

    Args:
        cell: with final runs.
        test: its predictions for all test days.
        longest: horizon of the study, days. Its blocks are those of all horizons here, so that all
            winners have the same samples of the same days and their mean can be judged.
    """
    final = cell.final
    assert final is not None
    if SearchFoldsRecord.of(cell.searched) is not None:
        # It was chosen on all days of its search, and no final run answers for most of them.
        return None
    if len(final.folds) > 1:
        # Runs of the first fold alone answer for the validation days: other folds have others.
        test = test.between(final.folds[0].first_test_day, final.folds[0].last_test_day)
    validation = cell.predictions("validation")
    reference = _reference(test)
    # A winner that has learnt from the validation days has no predictions of them.
    if final.with_validation or not {cell.model, reference} <= validation.p.keys():
        return None
    one, two = (
        (
            part.losses(cell.model), part.losses(reference),
            resampled_days(len(part.y), longest, seed=seed),
        )
        for part, seed in ((validation, _VALIDATION_DRAW), (test, 0))
    )  # fmt: skip
    # The same runs must have answered on both parts, or seeds are not paired.
    if len(one[0]) != len(two[0]):
        return None
    return optimism(one, two, np.random.default_rng(zlib.crc32(cell.name.encode())))


def _reference(predictions: Predictions) -> str:
    return LOGISTIC if LOGISTIC in predictions.p else CONSTANT


def _effective_days(
    winners: Mapping[str, Floats], baselines: Mapping[str, Floats], days: DaySamples
) -> dict[str, float]:
    """Return what days are worth for a loss and for a difference, by the blocks' own error."""
    best = min(baselines.values(), key=lambda losses: float(losses.mean())).mean(axis=0)
    differences = [effective_days(losses.mean(axis=0) - best, days) for losses in winners.values()]
    known = [each for each in differences if np.isfinite(each)]
    found = {"loss": effective_days(best, days)}
    if known:
        found["difference"] = float(np.median(known))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _pair_errors(winners: Sequence[Floats], days: DaySamples) -> list[float]:
    """Return the standard errors of the paired differences of all two winners that differ."""
    return [
        error
        for one, two in itertools.combinations(winners, 2)
        if (error := paired_difference(one, two, days).se) is not None and error > EQUAL_NATS
    ]


def _pairs(cells: Sequence[JudgedCell], days: DaySamples) -> list[Difference]:
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


def _law(cells: Sequence[JudgedCell], days: DaySamples) -> LawReport | None:
    """Fit the law to every final run, resampling test days for all together, seeds and winners."""
    budgets = {cell.records.budget for cell in cells}
    return judge(_runs(cells, days)) if len(budgets) >= LEAST_LEVELS else None


def _components(
    law: LawReport | None, cells: Sequence[JudgedCell], days: DaySamples
) -> Components | None:
    """Return what makes losses differ: of a law or, without any, of cells searched repeatedly."""
    if law is not None:
        return law.trend.components
    found = components_of(_runs(cells, days))
    return None if found.winners is None else found


def _runs(cells: Sequence[JudgedCell], days: DaySamples) -> Runs:
    """Return the final runs of cells, smaller budgets first."""
    budgets = list(dict.fromkeys(cell.records.budget for cell in cells))

    def of_each(value: Callable[[JudgedCell], float]) -> Floats:
        return np.concatenate([np.full(len(cell.losses), value(cell)) for cell in cells])

    return Runs(
        names=("parameters",),
        sizes=of_each(lambda cell: float(cell.final.param_count))[:, None],
        losses=np.concatenate([cell.losses.mean(axis=1) for cell in cells]),
        resampled=np.concatenate([daily_mean_losses(cell.losses, days) for cell in cells], axis=1),
        budget=of_each(lambda cell: budgets.index(cell.records.budget)).astype(np.intp),
        search=of_each(lambda cell: cell.records.search_number).astype(np.intp),
    )
