"""The scores of a winner, and its lead over baselines, in a part of the test days alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.answers.period_answer import FEWEST_BLOCKS
from analysis.panel.day_scores import DailyScores
from analysis.panel.panel_judgement import JudgedPanelCell, risen
from analysis.panel.ranking_scores import mean_score
from analysis.statistics.comparison import paired_difference
from analysis.statistics.day_resampling import DaySamples, resampled_days
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate
from study.statistics.block_length import judged_block_days


@dataclass(frozen=True, kw_only=True, slots=True)
class PeriodScores:
    """The scores of a period, whose intervals rest on the days of that period alone."""

    name: str
    n_days: int
    rank_ic: Estimate
    ic: Estimate
    rivals: Mapping[str, Estimate]
    """RankIC of baselines, by name."""
    leads: Mapping[str, Estimate]
    """RankIC less that of each of these baselines, paired by day."""


def score_period(
    cell: JudgedPanelCell, name: str, rows: npt.NDArray[np.intp], rivals: Sequence[str]
) -> PeriodScores:
    """Return the scores of a winner in a period; without an interval where its days are too few.

    Its days are resampled in blocks of the whole part, of which they must fill ``FEWEST_BLOCKS``.

    Args:
        cell: the winner's.
        name: of the period.
        rows: of the test days that it has, at least one.
        rivals: names of the baselines with which it is compared.
    """
    horizon, test, n_days = cell.cell.horizon, cell.cell.test, len(rows)
    n_part_days = len(test.dates)
    samples: DaySamples | None = None
    if n_days >= FEWEST_BLOCKS * judged_block_days(horizon, n_part_days):
        samples = resampled_days(n_days, horizon, n_part_days=n_part_days)
    own = cell.cell.own
    return PeriodScores(
        name=name,
        n_days=n_days,
        rank_ic=_mean(own.rank_ic[:, rows], samples),
        ic=_mean(own.ic[:, rows], samples),
        rivals={rival: _mean(test.models[rival].rank_ic[:, rows], samples) for rival in rivals},
        leads={rival: _lead(own, test.models[rival], rows, samples) for rival in rivals},
    )


def _lead(
    own: DailyScores, rival: DailyScores, rows: npt.NDArray[np.intp], samples: DaySamples | None
) -> Estimate:
    if samples is None:
        return _mean(own.rank_ic[:, rows].mean(axis=0) - rival.rank_ic[:, rows].mean(axis=0), None)
    return risen(paired_difference(own.losses[:, rows], rival.losses[:, rows], samples))


def _mean(values: Floats, samples: DaySamples | None) -> Estimate:
    if samples is None:
        return Estimate(value=float(values.mean()), low=None, high=None, se=None)
    return mean_score(values, samples)
