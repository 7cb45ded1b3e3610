"""The judgement of a panel's cells: scores, comparisons, distance to an oracle, trend over size.

Models are compared by their daily 1 - RankIC, a loss, as those of one asset are by their log-loss.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.edge_judgement import edge_remarks
from analysis.panel.panel_records import PanelCell, PanelRecords
from analysis.panel.ranking_scores import RankingScores, mean_score, score_ranking
from analysis.panel.variant_judgement import (
    JudgedShare,
    JudgedVariant,
    judge_shares,
    judge_variants,
)
from analysis.statistics.comparison import (
    Difference,
    Pair,
    Standing,
    compare,
    paired_difference,
    pairs_of,
)
from analysis.statistics.day_resampling import DaySamples, daily_mean_losses, resampled_days
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate
from analysis.statistics.run_resampling import Runs
from analysis.statistics.trend import Trend, trend_of
from study.errors import StudyError, require
from study.names import BOOSTING, RIDGE
from study.results.finals.final_records import ORACLE

_LEAK_ERRORS = 3
"""Standard errors by which a model may beat the best possible scores: more, and its inputs know the
future."""

_FEWEST_SEEDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedPanelCell:
    """One cell with final runs."""

    cell: PanelCell
    samples: DaySamples
    """Samples of its test days."""
    scores: Mapping[str, RankingScores]
    """Scores on the test days, by model."""
    validation: Estimate | None
    """RankIC of the winner on the validation days, on which it was chosen."""
    standing: Standing
    """The winner beside every baseline, one family over all cells of the study."""
    under_oracle: Estimate | None
    """RankIC less that of the best possible scores, where the panel is simulated."""
    flags: Sequence[str]
    """Reasons for which the cell is left out of the trend over size; empty if it is in."""
    notes: Sequence[str]

    @property
    def name(self) -> str:
        """Name of the cell."""
        return self.cell.records.name

    @property
    def label(self) -> str:
        """Label of the budget, and which search of it."""
        return self.cell.label

    @property
    def own(self) -> RankingScores:
        """Scores of the winner."""
        return self.scores[self.cell.final.model]

    @property
    def rival(self) -> str:
        """Name of the baseline to beat: ridge, or the best one of these days without it."""
        names = [each.other for each in self.standing.differences]
        return RIDGE if RIDGE in names else self.standing.hardest.other

    @property
    def shown_rivals(self) -> list[str]:
        """Names of the baselines that a walk is held against, the one to beat first."""
        others = [BOOSTING] if BOOSTING in self.cell.baselines else []
        return list(dict.fromkeys([self.rival, *others]))

    def against(self, name: str) -> Difference | None:
        """Return the comparison with a baseline; None if there is no such baseline."""
        return next((each for each in self.standing.differences if each.other == name), None)

    @property
    def oracle_errors(self) -> float | None:
        """Distance to the best possible scores, standard errors, negative below them."""
        under = self.under_oracle
        return None if under is None or not under.se else under.value / under.se

    @property
    def is_leak(self) -> bool:
        """Is it better than the best possible scores by more than chance allows?"""
        errors = self.oracle_errors
        return errors is not None and errors > _LEAK_ERRORS


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedPanelHorizon:
    """The cells of one horizon side by side, on the same days."""

    horizon: int
    cells: Sequence[JudgedPanelCell]
    trend: Trend | None
    """Trend of log (1 - RankIC) over the log of the size, of the cells that are not flagged; None
    with fewer than two sizes of them."""
    n_sizes: int
    """Number of sizes that can enter the trend."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedPanel:
    """A study of panels, judged."""

    records: PanelRecords
    horizons: Sequence[JudgedPanelHorizon]
    variants: Sequence[JudgedVariant]
    shares: Sequence[JudgedShare]

    @property
    def cells(self) -> list[JudgedPanelCell]:
        """Cells of all horizons."""
        return [cell for each in self.horizons for cell in each.cells]

    @property
    def n_comparisons(self) -> int:
        """Number of comparisons with baselines, which are one family."""
        return sum(len(cell.standing.differences) for cell in self.cells)


def judge_panel(records: PanelRecords) -> JudgedPanel:
    """Judge the cells of a study of panels that have final runs.

    Raises:
        StudyError: two cells of a horizon have different test days.
    """
    samples = {horizon: _samples(records.of_horizon(horizon)) for horizon in records.horizons}
    pairs: dict[str, list[Pair]] = {}
    for horizon in records.horizons:
        draw = np.random.default_rng(0)
        for cell in records.of_horizon(horizon):
            against = {name: own.losses for name, own in cell.baselines.items()}
            own = {cell.records.name: cell.own.losses}
            pairs |= pairs_of(own, against, samples[horizon], draw)
    # A reader looks at all budgets, horizons and baselines, so they are one family.
    family = iter(compare([pair for own in pairs.values() for pair in own]))
    standings = {
        name: Standing(differences=list(itertools.islice(family, len(own))))
        for name, own in pairs.items()
    }
    return JudgedPanel(
        records=records,
        horizons=[
            _judge_horizon(records.of_horizon(horizon), samples[horizon], standings)
            for horizon in records.horizons
        ],
        variants=judge_variants(records.cells, samples),
        shares=judge_shares(records.cells, samples),
    )


def risen(difference: Estimate) -> Estimate:
    """Return a difference of losses as one of RankIC, of which more is better."""
    low, high = difference.low, difference.high
    return Estimate(
        value=-difference.value,
        low=None if high is None else -high,
        high=None if low is None else -low,
        se=difference.se,
    )


def _samples(cells: Sequence[PanelCell]) -> DaySamples:
    """Return samples of the test days, which cells of a horizon share.

    Raises:
        StudyError: two cells have different days.
    """
    days = cells[0].test.dates
    for cell in cells:
        require(
            np.array_equal(cell.test.dates, days),
            cell.records.name,
            f"must have the days of {cells[0].records.name}",
            got="other test days",
            remedy="Remove the one with other settings of its days below final/ and run "
            "study.train again.",
            error=StudyError,
        )
    return resampled_days(len(days), cells[0].horizon)


def _judge_horizon(
    cells: Sequence[PanelCell], samples: DaySamples, standings: Mapping[str, Standing]
) -> JudgedPanelHorizon:
    judged = [_judge_cell(cell, samples, standings[cell.records.name]) for cell in cells]
    kept = [each for each in judged if not each.flags]
    sizes = {each.cell.records.budget for each in kept}
    return JudgedPanelHorizon(
        horizon=cells[0].horizon,
        cells=judged,
        trend=trend_of(_runs(kept, samples)) if len(sizes) > 1 else None,
        n_sizes=len(sizes),
    )


def _judge_cell(cell: PanelCell, samples: DaySamples, standing: Standing) -> JudgedPanelCell:
    final, own = cell.final, cell.own
    flags = []
    if not own.rank_ic.any():
        flags.append("the winner has collapsed: it ranks nothing")
    if not final.search["is_complete"]:
        ended, asked = final.search["ended"], final.search["asked"]
        flags.append(f"the winner is of an incomplete search: {ended} of {asked} trials")
    binding, notes = edge_remarks(final, cell.records.rankable, cell.records.searched)
    failed = [run for run in final.runs if not run.is_rankable]
    if failed:
        notes.append(f"{len(failed)} of {len(final.runs)} final runs failed or collapsed")
    if final.folds and final.n_whole_seeds < final.n_seeds:
        notes.append(
            f"{final.n_seeds - final.n_whole_seeds} of {final.n_seeds} seeds left out, for want of "
            "a fold's answers"
        )
    if len(own.seeds) < _FEWEST_SEEDS:
        notes.append(f"{len(own.seeds)} seeds, fewer than {_FEWEST_SEEDS}")
    if final.with_validation:
        notes.append("trained on validation days too, as were the baselines")
    if final.differences:
        notes.append(f"changed since the search: {'; '.join(final.differences)}")
    oracle, before = cell.test.models.get(ORACLE), cell.validation
    return JudgedPanelCell(
        cell=cell,
        samples=samples,
        scores={
            name: score_ranking(each, samples, cell.horizon)
            for name, each in cell.test.models.items()
        },
        validation=None
        if before is None
        else mean_score(
            before.rank_ic, resampled_days(before.rank_ic.shape[1], cell.horizon, seed=1)
        ),
        standing=standing,
        under_oracle=None
        if oracle is None
        else risen(paired_difference(own.losses, oracle.losses, samples)),
        flags=[*flags, *binding],
        notes=notes,
    )


def _runs(cells: Sequence[JudgedPanelCell], samples: DaySamples) -> Runs:
    """Return the final runs of cells with 1 - RankIC for a loss, smaller budgets first."""
    budgets = list(dict.fromkeys(each.cell.records.budget for each in cells))
    losses = [each.cell.own.losses for each in cells]

    def of_each(value: Callable[[PanelCell], float]) -> Floats:
        return np.concatenate(
            [np.full(len(own), value(each.cell)) for each, own in zip(cells, losses, strict=True)]
        )

    return Runs(
        names=("parameters",),
        sizes=of_each(lambda cell: float(cell.final.param_count))[:, None],
        losses=np.concatenate([own.mean(axis=1) for own in losses]),
        resampled=np.concatenate([daily_mean_losses(own, samples) for own in losses], axis=1),
        budget=of_each(lambda cell: budgets.index(cell.records.budget)).astype(np.intp),
        search=of_each(lambda cell: cell.records.search_number).astype(np.intp),
    )
