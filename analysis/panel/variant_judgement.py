"""Comparisons of a winner with itself, one setting changed, at the same seeds and days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.panel.panel_records import PanelCell, VariantRuns
from analysis.statistics.comparison import Difference, Pair, compare
from analysis.statistics.day_resampling import DaySamples, daily_means, mean_over_seeds
from analysis.statistics.floats import Floats
from analysis.statistics.interval import estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgedVariant:
    """One variant beside the final runs of its winner."""

    cell: PanelCell
    variant: VariantRuns
    n_seeds: int
    """Number of seeds that both have."""
    difference: Difference
    """Daily 1 - RankIC of the variant less that of the final runs: negative is better."""


def judge_variants(
    cells: Sequence[PanelCell], samples: Mapping[int, DaySamples]
) -> list[JudgedVariant]:
    """Judge the variants of all cells as one family of comparisons.

    Args:
        cells: of the study.
        samples: of the test days, by horizon.
    """
    found, pairs = [], []
    for cell in cells:
        for variant in cell.variants:
            changed, base = _at_common_seeds(cell, variant)
            found.append((cell, variant, len(changed)))
            pairs.append(_paired(variant, base - changed, samples[cell.horizon]))
    return [
        JudgedVariant(cell=cell, variant=variant, n_seeds=n_seeds, difference=difference)
        for (cell, variant, n_seeds), difference in zip(found, compare(pairs), strict=True)
    ]


def _at_common_seeds(cell: PanelCell, variant: VariantRuns) -> tuple[Floats, Floats]:
    """Return the daily RankIC of a variant and of the final runs, each of shape (n_seeds, n_days).

    Row by row the two have the same seed.
    """
    both = [seed for seed in cell.own.seeds if seed in variant.test.seeds]
    changed = [variant.test.seeds.index(seed) for seed in both]
    base = [cell.own.seeds.index(seed) for seed in both]
    return variant.test.rank_ic[changed], cell.own.rank_ic[base]


def _paired(variant: VariantRuns, differences: Floats, days: DaySamples) -> Pair:
    """Return the pair of a variant and its winner, whose seeds are paired as its days are.

    Args:
        variant: the variant.
        differences: of the losses of each seed and day, shape (n_seeds, n_days).
        days: samples of the days.
    """
    spread = mean_over_seeds(daily_means(differences, days), np.random.default_rng(0))
    return Pair(
        model=variant.record.name,
        other=variant.record.base_name,
        difference=estimate(float(differences.mean()), spread),
        spread=spread,
    )
