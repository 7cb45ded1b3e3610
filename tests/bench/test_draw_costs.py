"""What a search gains and loses whose foretold seconds order its trials, or decide between draws.

Run by hand with ``make bench``. Losses are those of ``test_neighbours``, and know nothing of
seconds; a trial takes longer the deeper it is. Each search is compared with the same one without
the rule: the winner's loss after as many trials and after as many seconds, and the seconds of all.
"""

import dataclasses
import itertools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.results.plans.plan_record import shape_name
from study.search.costs import foretold
from tests.bench.test_neighbours import (
    N_TRIALS,
    NOISE,
    SEARCH,
    SPACE,
    WEIGHTS,
    Tried,
    drawn,
    loss,
    searched,
    winner,
)

N_SEARCHES = 30

LAYERS = 16
"""Layers that take as long as all else of a step together: 64 layers take 4.4 times as long as two,
nearly as on two CPU cores."""

DESCRIBED: dict[str, Any] = {
    "estimate": {
        "epoch_seconds": {
            shape_name(shape.d_model, shape.n_layers): 1 + shape.n_layers / LAYERS
            for shape in SPACE.shapes
        }
    }
}

RULES: dict[str, dict[str, Any]] = {
    "cheap_first": {"cheap_first": True},
    "tie": {"cost": "tie"},
    "per_second": {"cost": "per_second"},
}

pytestmark = pytest.mark.bench


def seconds(found: Sequence[Tried]) -> list[float]:
    """Return the seconds of all trials up to each one."""
    cost = foretold(DESCRIBED)
    return list(itertools.accumulate(cost(one.config) for one in found))


def test_a_rule_of_seconds_against_the_same_search_without(tmp_path: Path) -> None:
    gained: dict[str, list[tuple[float, float, float]]] = {rule: [] for rule in RULES}
    for seed in range(N_SEARCHES):
        optimum = np.random.default_rng([seed, 1]).uniform(0, 1, len(WEIGHTS))
        spread = statistics.pstdev(loss(config, optimum) for config in drawn(seed, N_TRIALS))
        search = dataclasses.replace(SEARCH, seed=seed)
        plain = searched(tmp_path / f"{seed}", optimum, NOISE * spread, search, DESCRIBED)
        half = seconds(plain)[-1] / 2
        for rule, change in RULES.items():
            own = searched(
                tmp_path / f"{seed}_{rule}",
                optimum,
                NOISE * spread,
                dataclasses.replace(search, **change),
                DESCRIBED,
            )
            by_half, plain_by_half = (
                [one for one, end in zip(found, seconds(found), strict=True) if end <= half]
                for found in (own, plain)
            )
            gained[rule].append(
                (
                    (winner(own) - winner(plain)) / spread,
                    (winner(by_half) - winner(plain_by_half)) / spread,
                    seconds(own)[-1] / seconds(plain)[-1] - 1,
                )
            )
    print(f"\nloss after {N_TRIALS} trials, loss after half of the seconds, seconds:")
    for rule, rows in gained.items():
        mean, error = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / math.sqrt(N_SEARCHES)
        told = ", ".join(f"{m:+.3f} +- {e:.3f}" for m, e in zip(mean, error, strict=True))
        print(f"  {rule}: {told}")
        assert mean[2] < 0.05
        # The cheapest of eight is known to find less; the others must not.
        assert rule == "per_second" or mean[0] <= 2 * error[0]
