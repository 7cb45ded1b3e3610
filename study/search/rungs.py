"""ASHA's rungs as the settings of a search place them."""

from study.results.scheduling.rungs import StoppingRungs, can_fill_rungs, rung_positions
from study.spec.search_config import SearchConfig


def uses_asha(search: SearchConfig) -> bool:
    """Is ASHA used? A search with fewer than two trials per survivor of a rung does without it."""
    return search.scheduler == "asha" and can_fill_rungs(search.trials, search.reduction_factor)


def milestones(search: SearchConfig) -> list[float]:
    """Return the positions of ASHA's rungs in percent of a schedule, ascending; none without it."""
    if not uses_asha(search):
        return []
    return rung_positions(search.grace_share, search.reduction_factor)


class Rungs(StoppingRungs):
    """The rungs of a search, which stop nothing where it does without ASHA."""

    def __init__(self, search: SearchConfig) -> None:
        super().__init__(milestones(search), search.reduction_factor)
