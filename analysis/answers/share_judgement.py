"""The judgement of winners that were trained on shares of the training days too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.cell_judgement import JudgedCell, JudgedHorizon
from analysis.holdout_scores import score_model
from analysis.statistics.comparison import paired_difference
from analysis.statistics.day_resampling import DaySamples, daily_mean_losses, resampled_days
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate
from analysis.statistics.law_judgement import judge
from analysis.statistics.law_report import LawReport
from analysis.statistics.run_resampling import LEAST_LEVELS, Runs
from analysis.study_records import predictions_of
from analysis.tables.share_predictions import ShareRuns
from study.results.finals.final_records import mean_samples

AXES = ("parameters", "training samples")
"""Names of the axes of the law: N and D."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedShare:
    """The runs of one winner on a share of the training days, or on all of them."""

    cell: JudgedCell
    share: float
    samples: int
    """Mean number of training samples of a run over the folds of test days."""
    validation_loss: float | None
    """Mean over the runs; None without a usable one."""
    losses: Floats | None
    """Daily losses on the test days, shape (n_seeds, n_days); None without a usable run."""
    test_loss: Estimate | None
    less_all: Estimate | None
    """Test loss less that of the runs on all training days, paired by day; None for those."""
    problem: str | None
    """Reason for which it can be in no law; None if it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedData:
    """The winners of one horizon on shares that were chosen in one way, all days included."""

    horizon: int
    choice: str
    """Which days make a share: ``recent`` or ``blocks``."""
    rows: Sequence[JudgedShare]
    """Smaller budgets first, and of each smaller shares first."""
    n_budgets: int
    """Number of budgets that may be in the law."""
    shares: Sequence[float]
    """Shares that may be in the law: those that all of these budgets can be in it with."""
    law: LawReport | None
    """Law of size and data; None with too few budgets or shares for any."""
    left_out: Sequence[str]
    """Budgets and shares that are left out of the law, with the reason."""


def judge_shares(horizons: Sequence[JudgedHorizon]) -> list[JudgedData]:
    """Judge every horizon, and every choice of days, of which there are runs on shares."""
    found = []
    for each in horizons:
        runs = [share for cell in each.cells for share in cell.records.shares]
        for choice in sorted({share.record.choice for share in runs}):
            found.append(_judge(each, choice))
    return found


def _judge(horizon: JudgedHorizon, choice: str) -> JudgedData:
    days = resampled_days(len(horizon.cells[0].test.y), horizon.horizon)
    rows: list[JudgedShare] = []
    left_out: list[str] = []
    for cell in horizon.cells:
        own = [each for each in cell.records.shares if each.record.choice == choice]
        if own:
            rows += [*(_on_share(cell, each, days) for each in own), _on_all(cell)]
        else:
            left_out.append(f"{cell.label}: trained on all training days alone")
    left_out += [f"{c.label}: {'; '.join(c.flags)}" for c in horizon.cells if c.flags]
    kept = [row for row in rows if not row.cell.flags]
    names = list(dict.fromkeys(row.cell.name for row in kept))
    shares = []
    for share in sorted({row.share for row in kept}):
        there = {row.cell.name: row for row in kept if row.share == share}
        problems = [
            f"of {row.cell.label} {row.problem}"
            for row in there.values()
            if row.problem is not None
        ]
        lacking = [row.cell.label for row in kept if row.share == 1 and row.cell.name not in there]
        problems += [f"not trained: {', '.join(lacking)}"] * bool(lacking)
        if problems:
            # A mean over the shares of a winner is compared with that of other winners.
            left_out.append(f"share {share:g}: {'; '.join(problems)}")
        else:
            shares.append(share)
    kept = [row for row in kept if row.share in shares]
    n_budgets = len({row.cell.records.budget for row in kept})
    has_levels = min(n_budgets, len(shares)) >= LEAST_LEVELS
    return JudgedData(
        horizon=horizon.horizon,
        choice=choice,
        rows=rows,
        n_budgets=n_budgets if names else 0,
        shares=shares,
        law=judge(runs_of(kept, days)) if has_levels else None,
        left_out=left_out,
    )


def _on_share(cell: JudgedCell, share: ShareRuns, days: DaySamples) -> JudgedShare:
    record = share.record
    values = record.validation_losses
    losses = test_loss = less_all = None
    problem: str | None = "no run has a usable result"
    if share.table is not None:
        test = predictions_of(share.table, "test", f"{cell.name} {record.name}")
        base_rate = float(cell.records.searched["splits"]["train"]["base_rate"])
        prior = cell.test.train_prior(base_rate)
        scores = score_model(test, cell.final.model, prior, days)
        losses, test_loss = test.losses(cell.final.model), scores.log_loss
        less_all = paired_difference(losses, cell.losses, days)
        problem = "the runs say no more than a constant" if scores.is_next_to_constant else None
    return JudgedShare(
        cell=cell,
        share=record.share,
        samples=record.samples,
        validation_loss=float(np.mean(values)) if values else None,
        losses=losses,
        test_loss=test_loss,
        less_all=less_all,
        problem=problem,
    )


def _on_all(cell: JudgedCell) -> JudgedShare:
    """Return the final runs on all training days."""
    values = cell.final.validation_losses
    folds = [fold.n_train for fold in cell.final.folds]
    return JudgedShare(
        cell=cell,
        share=1.0,
        samples=mean_samples(folds or [cell.records.searched["splits"]["train"]["rows"]]),
        validation_loss=float(np.mean(values)) if values else None,
        losses=cell.losses,
        test_loss=cell.own.log_loss,
        less_all=None,
        problem=None,
    )


def runs_of(rows: Sequence[JudgedShare], days: DaySamples) -> Runs:
    """Return the runs of winners on shares, all of which have a usable result.

    Args:
        rows: the winners on their shares.
        days: samples of the test days.
    """
    budgets = list(dict.fromkeys(row.cell.records.budget for row in rows))
    sizes, losses, resampled, budget, search = [], [], [], [], []
    for row in rows:
        assert row.losses is not None
        n = len(row.losses)
        sizes.append(np.tile([float(row.cell.final.param_count), float(row.samples)], (n, 1)))
        losses.append(row.losses.mean(axis=1))
        resampled.append(daily_mean_losses(row.losses, days))
        budget.append(np.full(n, budgets.index(row.cell.records.budget), dtype=np.intp))
        search.append(np.full(n, row.cell.records.search_number, dtype=np.intp))
    return Runs(
        names=AXES,
        sizes=np.concatenate(sizes),
        losses=np.concatenate(losses),
        resampled=np.concatenate(resampled, axis=1),
        budget=np.concatenate(budget),
        search=np.concatenate(search),
    )
