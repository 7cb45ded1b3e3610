"""The settings of a search, validated."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from study.errors import require
from study.fields import (
    Rule,
    above,
    check_values,
    flag,
    one_of,
    or_none,
    share,
    whole,
    within,
)
from study.results.records import Metric
from study.spec.search_number import SEED_END

ForcedSet = Literal["none", "extremes6", "forced18"]
"""Name of the list of configurations that are tried before any is drawn."""

Scheduler = Literal["asha", "fifo"]
"""Name of the scheduler; ``fifo`` runs every trial to its end."""

CostRule = Literal["ignore", "tie", "per_second"]
"""What the foretold time of a configuration is to the sampler: nothing, what decides between two
draws, or what decides between several (``study.search.costs``)."""

SEARCH_RULES: dict[str, Rule] = {
    "trials": whole(1, 100_000),
    "seed": Rule("lie in [0, 2**31)", whole(0, SEED_END - 1).holds),
    "forced": one_of(get_args(ForcedSet)),
    "across_budgets": flag(),
    "beyond_edges": flag(),
    "neighbours": flag(),
    "cheap_first": flag(),
    "cost": one_of(get_args(CostRule)),
    "metric": one_of(get_args(Metric)),
    "early_stop_patience": Rule(
        "be at least 5 whole trials: the five best are compared",
        or_none(whole(5, 1_000_000)).holds,
    ),
    "early_stop_threshold": or_none(above(0, 1_000)),
    "startup_trials": whole(1, 100_000),
    "scheduler": one_of(get_args(Scheduler)),
    # ASHA counts time in whole percent of a schedule, from 1.
    "grace_share": within(0.01, 1),
    # Nearer to 1, rungs would be less than a percent apart; 2 to 4 are usual.
    "reduction_factor": within(1.1, 100),
    # At most a year.
    "stall_minutes": above(0, 525_600),
    # At most a day.
    "checkpoint_seconds": within(0, 86_400),
    "max_failure_share": share(zero=False),
    "keep_state_mib": whole(0, 1_000_000),
}
"""Rule for the value of each field, whatever the values of the others are."""

_ADDED = {"beyond_edges": False, "neighbours": False, "cheap_first": False, "cost": "ignore"}
"""Settings that came later, with the values of the searches before them: these values are left out
of what describes a search."""

_SWITCHES = ("beyond_edges", "neighbours")
"""Settings that a search need not be resumed with: the first may change while it runs, and the
second is about its beginning alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """The settings of a cell's search."""

    trials: int
    seed: int = 42
    forced: ForcedSet = "extremes6"
    across_budgets: bool = False
    """Is the budget a dimension of one search, in place of a search per budget?"""
    beyond_edges: bool = False
    """Does a search whose best trial is at an edge of its file go on beyond it with a few more
    trials (``study.search.beyond``)?"""
    neighbours: bool = False
    """Does a search begin with the best trials of finished cells of the same study
    (``study.search.known.neighbours``)?"""
    cheap_first: bool = False
    """Are the forced trials, and the random ones before TPE draws, run in the order of their
    foretold seconds? They are the same ones in any order."""
    cost: CostRule = "ignore"
    """Do foretold seconds decide between draws of TPE?"""
    metric: Metric = "log_loss"
    """Score by which trials are ranked: that of the validation days at the epoch of least log-loss.
    """
    early_stop_patience: int | None = None
    """Number of distinct trials that must have run to their end before the search may stop because
    its best ones hardly differ; None never stops it."""
    early_stop_threshold: float | None = None
    """Range of the five best scores at which it stops, in the metric's units; None takes a share of
    the metric's standard error (``study.results.convergence``)."""
    startup_trials: int = 10
    """Number of trials, forced ones included, before TPE draws by their results."""
    scheduler: Scheduler = "asha"
    grace_share: float = 0.25
    """Share of its own schedule that every trial gets before ASHA may stop it."""
    reduction_factor: float = 3.0
    """ASHA's eta: one trial in eta continues at each rung."""
    stall_minutes: float = 30.0
    """Minutes without a training step after which a trial counts as stalled. A worker that has not
    reported an epoch of its trial yet has at least five."""
    checkpoint_seconds: float = 10.0
    """Least number of seconds between two checkpoints that are written while a trial trains; 0
    writes one after every epoch, before the epoch is reported."""
    max_failure_share: float = 0.5
    """Share of failed trials above which the search stops."""
    keep_state_mib: int = 64
    """Largest state, in MiB, that a trial which ran to its last epoch keeps, so that it can go on
    with a longer schedule; 0 keeps none."""

    def __post_init__(self) -> None:
        check_values(SEARCH_RULES, self, "Mend the search space or the flag.")
        require(
            self.early_stop_threshold is None or self.early_stop_patience is not None,
            "SearchConfig",
            "early_stop_threshold needs early_stop_patience, without which nothing stops",
            got=f"early_stop_threshold={self.early_stop_threshold!r}",
            remedy="Mend the search space or the flag.",
        )
        require(
            not (self.across_budgets and self.beyond_edges),
            "SearchConfig",
            "a search across budgets stays within its file: every budget has edges of its own",
            got="across_budgets and beyond_edges",
            remedy="Leave out beyond_edges, or --beyond-edges.",
        )

    def plain(self) -> dict[str, Any]:
        """Return the values by name; those of later settings only where they are in use.

        A search that does without them is then described as it was before they were there.
        """
        values = dataclasses.asdict(self)
        return {
            name: value
            for name, value in values.items()
            if name not in _ADDED or value != _ADDED[name]
        }

    def switched_as(self, begun: Mapping[str, Any]) -> Self:
        """Return the settings with the switches of a search that was begun.

        Args:
            begun: its settings, as ``plain`` gave them.
        """
        switches: dict[str, Any] = {name: bool(begun.get(name, False)) for name in _SWITCHES}
        return dataclasses.replace(self, **switches)
