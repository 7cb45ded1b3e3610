"""What a trial is foretold to take, and what follows for the order of trials and for draws.

Optuna keeps the acquisition value of a draw to itself. TPE draws 24 candidates and returns the one
with the greatest expected improvement, so that several draws at one history, with different seeds,
are all as promising as TPE can tell. Of these the cheapest has the greatest expected improvement
per second. ``tie`` takes the cheaper of two, ``per_second`` the cheapest of more.
"""

from collections.abc import Callable, Mapping
from typing import Any

from study.errors import StudyError, require
from study.results.plans.plan_record import shape_name
from study.search.space import TrialConfig
from study.spec.search_config import CostRule

Cost = Callable[[TrialConfig], float]
"""Returns the seconds that a trial of a configuration is foretold to take."""

DRAWS: Mapping[CostRule, int] = {"ignore": 1, "tie": 2, "per_second": 8}
"""Number of draws of which the cheapest is taken; 8 is an own choice, fewer than those that TPE
guides (``study.search.sampler``)."""


def foretold(described: Mapping[str, Any]) -> Cost:
    """Return the seconds of each configuration, by the plan with which a search began.

    They stay those of the beginning, so that an interrupted search goes on as it would have. An
    architecture that was not timed, because it is beyond an edge, counts as the slowest.

    Args:
        described: the content of ``cell.yaml``.

    Raises:
        StudyError: the plan has no time.
    """
    known: Mapping[str, float] = described.get("estimate", {}).get("epoch_seconds", {})
    require(
        bool(known),
        "search.cheap_first, search.cost",
        "need the seconds of an epoch that the plan of a search holds",
        got="a search that was begun without them",
        remedy="Start anew with --fresh.",
        error=StudyError,
    )
    slowest = max(known.values())

    def seconds(config: TrialConfig) -> float:
        name = shape_name(config.model.d_model, config.model.n_layers)
        return config.train.epochs * known.get(name, slowest)

    return seconds
