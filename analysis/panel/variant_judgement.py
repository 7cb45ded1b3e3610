"""Comparisons of a winner with itself, one setting or its training days changed, seed by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.panel.day_scores import DailyScores
from analysis.panel.panel_records import PanelCell, ShareRuns, VariantRuns
from analysis.panel.ranking_scores import mean_score
from analysis.statistics.comparison import Difference, Pair, compare
from analysis.statistics.day_resampling import DaySamples, daily_means, mean_over_seeds
from analysis.statistics.floats import Floats
from analysis.statistics.interval import Estimate, estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedVariant:
    """One variant beside the final runs of its winner."""

    cell: PanelCell
    variant: VariantRuns
    n_seeds: int
    """Number of seeds that both have."""
    difference: Difference
    """Daily 1 - RankIC of the variant less that of the final runs: negative is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedShare:
    """The runs on a share of the training days beside the final runs of their winner."""

    cell: PanelCell
    share: ShareRuns
    rank_ic: Estimate
    """Mean over test days and the seeds that both have."""
    n_seeds: int
    """Number of seeds that both have."""
    difference: Difference
    """Daily 1 - RankIC on the share less that of the final runs: negative is better."""


def judge_variants(
    cells: Sequence[PanelCell], samples: Mapping[int, DaySamples]
) -> list[JudgedVariant]:
    """Judge the variants of all cells as one family of comparisons.

    Args:
        cells: of the study.
        samples: of the test days, by horizon.
    """
    found = [(cell, variant) for cell in cells for variant in cell.variants]
    judged = _compared(
        [(cell, v.test, (v.record.name, v.record.base_name)) for cell, v in found], samples
    )
    return [
        JudgedVariant(cell=cell, variant=variant, n_seeds=len(changed), difference=difference)
        for (cell, variant), (changed, difference) in zip(found, judged, strict=True)
    ]


def judge_shares(
    cells: Sequence[PanelCell], samples: Mapping[int, DaySamples]
) -> list[JudgedShare]:
    """Judge the runs on shares of the training days of all cells as one family of comparisons.

    Args:
        cells: of the study.
        samples: of the test days, by horizon.
    """
    found = [(cell, share) for cell in cells for share in cell.shares]
    judged = _compared(
        [(cell, s.test, (s.record.name, "all training days")) for cell, s in found], samples
    )
    return [
        JudgedShare(
            cell=cell,
            share=share,
            rank_ic=mean_score(changed, samples[cell.horizon]),
            n_seeds=len(changed),
            difference=difference,
        )
        for (cell, share), (changed, difference) in zip(found, judged, strict=True)
    ]


def _compared(
    runs: Sequence[tuple[PanelCell, DailyScores, tuple[str, str]]],
    samples: Mapping[int, DaySamples],
) -> list[tuple[Floats, Difference]]:
    """Compare runs with the final runs of their winners, as one family of comparisons.

    Args:
        runs: the winner's cell, the scores of the other runs, and the names of the two.
        samples: of the test days, by horizon.

    Returns: daily RankIC of the other runs at the seeds that both have, (n_seeds, n_days), and how
        their losses differ from the winner's.
    """
    at_seeds = [_at_common_seeds(cell, test) for cell, test, _ in runs]
    pairs = [
        _paired(names, base - changed, samples[cell.horizon])
        for (cell, _, names), (changed, base) in zip(runs, at_seeds, strict=True)
    ]
    differences = compare(pairs)
    return [(changed, d) for (changed, _), d in zip(at_seeds, differences, strict=True)]


def _at_common_seeds(cell: PanelCell, test: DailyScores) -> tuple[Floats, Floats]:
    """Return the daily RankIC of other runs and of the final runs, each (n_seeds, n_days).

    Row by row the two have the same seed.
    """
    both = [seed for seed in cell.own.seeds if seed in test.seeds]
    changed = [test.seeds.index(seed) for seed in both]
    base = [cell.own.seeds.index(seed) for seed in both]
    return test.rank_ic[changed], cell.own.rank_ic[base]


def _paired(names: tuple[str, str], differences: Floats, days: DaySamples) -> Pair:
    """Return the pair of a winner with itself, whose seeds are paired as its days are.

    Args:
        names: of what is changed, and of what it is compared with.
        differences: of the losses of each seed and day, shape (n_seeds, n_days).
        days: samples of the days.
    """
    spread = mean_over_seeds(daily_means(differences, days), np.random.default_rng(0))
    return Pair(
        model=names[0],
        other=names[1],
        difference=estimate(float(differences.mean()), spread),
        spread=spread,
    )
