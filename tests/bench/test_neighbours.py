"""What a search gains or loses that begins with the best trials of other cells.

Run by hand with ``make bench``. Losses are made up: a bowl over the settings of the default space
at 2M parameters, with its bottom at a random place, and noise of a third of the spread of random
configurations. Three other cells have bowls of their own: near this one's, at random, or in the
corner that is farthest from it. Each search is compared with the same one that knows nothing; both
have the noise of the same seed. Regret is how much worse the winner is than the bottom, in that
spread.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from analysis.statistics.floats import Floats
from study.results.journal import Journal
from study.search.forced import forced_configurations
from study.search.known.neighbours import Neighbour, Neighbours
from study.search.ledger import Ledger
from study.search.sampler import Sampler
from study.search.space import SearchSpace, TrialConfig, build_space
from study.spec.search_config import SearchConfig
from study.spec.spec_file import load_study
from tests.results.reports import epoch_record
from tests.search.simulated_search import SPACES

N_SEARCHES, N_TRIALS, N_CELLS, NOISE = 60, 40, 3, 0.3
AFTER = (12, 20, N_TRIALS)
"""Numbers of trials after which the regret is taken."""

STREAMS = {"helpful": 11, "irrelevant": 12, "misleading": 13}
"""Kinds of other cells, each with a stream of random numbers of its own: apart from 1, that of the
optimum, and from that of the noise."""

NOISE_STREAM = 7

NEAR = 0.08
"""Standard deviation of the distance of a helpful cell's optimum, in widths of the ranges."""

WEIGHTS = np.array([1.0, 0.3, 0.2, 0.6, 1.5, 0.4, 0.3, 0.3])
"""How steep the bowl is along depth over width, heads, ratio, dropout, learning rate, weight decay,
weight of the second target, and averaging."""

CELL = load_study(SPACES / "phase6a.yaml").cell("2M", 1)
SPACE: SearchSpace = build_space(CELL, n_features=25)
SEARCH = dataclasses.replace(CELL.search, trials=N_TRIALS, scheduler="fifo", beyond_edges=False)

pytestmark = pytest.mark.bench


class Tried(NamedTuple):
    """A trial: its loss with noise, by which a search ranks, and without."""

    seen: float
    true: float
    config: TrialConfig


def place(config: TrialConfig) -> Floats:
    """Return where a configuration lies in the space, from 0 to 1 along each of its settings."""
    styles = [math.log(shape.n_layers / shape.d_model) for shape in SPACE.shapes]
    model, train = config.model, config.train
    style = math.log(model.n_layers / model.d_model)
    rates = SPACE.train["learning_rate"].values, SPACE.train["weight_decay"].values
    (low_rate, high_rate), (low_decay, high_decay) = ([float(str(v)) for v in r] for r in rates)
    return np.array(
        [
            (style - min(styles)) / (max(styles) - min(styles)),
            math.log2(model.n_heads) / 5,
            (model.d_ff_ratio - 2) / 2,
            (model.dropout - 0.2) / 0.3,
            math.log(train.learning_rate / low_rate) / math.log(high_rate / low_rate),
            math.log(train.weight_decay / low_decay) / math.log(high_decay / low_decay),
            (train.auxiliary_weight - 0.5) / 1.5,
            (train.ema_decay - 0.9) / 0.09,
        ]
    )


def loss(config: TrialConfig, optimum: Floats) -> float:
    """Return the loss without noise; a deeper model wants a lower learning rate."""
    here = place(config)
    away = here - optimum
    away[4] += 0.3 * (here[0] - 0.5)
    return float(WEIGHTS @ away**2)


def drawn(seed: int, n: int) -> list[TrialConfig]:
    """Return configurations that are drawn at random."""
    sampler = Sampler(SPACE, seed=seed, startup_trials=n + 1)
    return [config for k in range(n) if (config := sampler.draw(k)) is not None]


def began_with(known: Sequence[TrialConfig]) -> dict[str, Any]:
    """Return the part of ``cell.yaml`` of a search that begins with the best of other cells."""
    found = tuple(
        Neighbour(
            cell=f"other{n}", trial=0, n_trials=N_TRIALS, is_same_size=True, params=one.flat()
        )
        for n, one in enumerate(known)
    )
    return {"neighbours": Neighbours(found=found).to_json()}


def searched(
    folder: Path,
    optimum: Floats,
    noise: float,
    search: SearchConfig,
    described: dict[str, Any],
) -> list[Tried]:
    """Return the trials of a search in order.

    Args:
        folder: where its journal is written.
        optimum: the bottom of the bowl.
        noise: standard deviation of the losses that the search sees.
        search: its settings; the noise has its seed.
        described: the content of its ``cell.yaml``.
    """
    folder.mkdir()
    ledger = Ledger(
        Journal.create(folder, "abcd", {"kind": "created", "time": 0.0, "cell": described}),
        space=SPACE,
        forced=forced_configurations(SPACE, "extremes6"),
        search=search,
        granted_bytes={},
    )
    noises = np.random.default_rng([search.seed, NOISE_STREAM]).normal(0, noise, N_TRIALS)
    found = []
    while (assignment := ledger.next()) is not None:
        true = loss(assignment.config, optimum)
        # A loss of a bowl may be near 0, and no loss is negative.
        seen = 1 + true + float(noises[assignment.number])
        report = epoch_record(1, loss=seen, schedule_percent=100, stop_reason="completed")
        assert ledger.epoch(assignment.number, report)
        found.append(Tried(seen, true, assignment.config))
    return found


def winner(found: Sequence[Tried]) -> float:
    """Return the loss without noise of the trial that looks best."""
    return min(found, key=lambda one: one.seen).true


def regrets(found: Sequence[Tried]) -> Floats:
    """Return the loss of the winner after each number of trials."""
    return np.array([winner(found[:n]) for n in AFTER])


def known_of(kind: str, optimum: Floats, noise: float, seed: int) -> list[TrialConfig]:
    """Return the best trials of three other cells, each of a search at random."""
    draw = np.random.default_rng([seed, STREAMS[kind]])
    pool = drawn(seed + 10_000, N_CELLS * N_TRIALS)
    best = []
    for tried in (pool[n * N_TRIALS : (n + 1) * N_TRIALS] for n in range(N_CELLS)):
        other = {
            "helpful": np.clip(optimum + draw.normal(0, NEAR, len(optimum)), 0, 1),
            "irrelevant": draw.uniform(0, 1, len(optimum)),
            "misleading": (optimum < 0.5).astype(float),
        }[kind]
        seen = [loss(config, other) + draw.normal(0, noise) for config in tried]
        best.append(tried[int(np.argmin(seen))])
    return best


def test_what_misleads_costs_next_to_nothing_and_what_helps_helps(tmp_path: Path) -> None:
    alone: list[Floats] = []
    gained: dict[str, list[Floats]] = {kind: [] for kind in STREAMS}
    for seed in range(N_SEARCHES):
        optimum = np.random.default_rng([seed, 1]).uniform(0, 1, len(WEIGHTS))
        spread = statistics.pstdev(loss(config, optimum) for config in drawn(seed, N_TRIALS))
        noise = NOISE * spread
        search = dataclasses.replace(SEARCH, seed=seed)
        alone.append(regrets(searched(tmp_path / f"{seed}", optimum, noise, search, {})) / spread)
        for kind, found in gained.items():
            known = began_with(known_of(kind, optimum, noise, seed))
            own = searched(tmp_path / f"{seed}_{kind}", optimum, noise, search, known)
            found.append(regrets(own) / spread - alone[-1])
    before = np.mean(alone, axis=0)
    print(
        f"\nafter {AFTER} trials a search that knows nothing is {before.round(3)} from the bottom"
    )
    for kind, found in gained.items():
        mean = np.mean(found, axis=0)
        error = np.std(found, axis=0, ddof=1) / math.sqrt(N_SEARCHES)
        told = ", ".join(f"{m:+.3f} +- {e:.3f}" for m, e in zip(mean, error, strict=True))
        print(f"  {kind}: {told}")
        # What misleads is forgotten in the end.
        assert mean[-1] <= 2 * error[-1]
        if kind == "helpful":
            assert mean[0] < -2 * error[0]
