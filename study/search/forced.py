"""Configurations that every search tries first: the extremes of the feasible set."""

from collections.abc import Callable
from dataclasses import dataclass

from study.errors import require
from study.search.space import SearchSpace, Shape, TrialConfig
from study.spec import ForcedSet

_USUAL_HEADS = 8
"""Heads of the four extremes of width and depth (origin study, forced set of six)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forced:
    """One named slot; ``config`` is None, with the reason, if the feasible set cannot fill it."""

    name: str
    config: TrialConfig | None
    problem: str | None = None


def forced_configurations(space: SearchSpace, forced: ForcedSet) -> tuple[Forced, ...]:
    """Return the forced slots of a search, in the order in which they are tried.

    ``extremes6`` takes, on the feasible set: the narrowest and the widest model (which the budget
    makes the deepest and the shallowest), the shallowest and the deepest of the middle width, and
    the fewest and the most heads at the middle width and depth. The middle width is the one
    nearest to the median that leaves a choice of depth. A slot whose row an earlier slot has
    already takes the next best one; a slot without any row says so.
    """
    if forced == "none":
        return ()
    require(
        forced == "extremes6",
        "search.forced",
        "must be a known set",
        got=forced,
        remedy="Use extremes6 or none.",
    )
    rows = space.shapes
    depths = {d: sorted({row[1] for row in rows if row[0] == d}) for d in {r[0] for r in rows}}
    widths = sorted(depths)
    median = widths[len(widths) // 2]
    most_depths = min(2, max(map(len, depths.values())))
    middle = min(
        (width for width in widths if len(depths[width]) >= most_depths),
        key=lambda width: abs(widths.index(width) - widths.index(median)),
    )
    middle_depth = depths[middle][len(depths[middle]) // 2]

    def usual_heads(row: Shape) -> int:
        return abs(row[3] - _USUAL_HEADS)

    def from_middle(row: Shape) -> tuple[int, int, int]:
        return abs(row[0] - middle), abs(row[1] - middle_depth), row[2]

    slots: dict[str, Callable[[Shape], tuple[int, ...]]] = {
        "narrowest": lambda row: (row[0], usual_heads(row), -row[1]),
        "widest": lambda row: (-row[0], usual_heads(row), row[1]),
        "shallowest": lambda row: (abs(row[0] - middle), row[1], usual_heads(row)),
        "deepest": lambda row: (abs(row[0] - middle), -row[1], usual_heads(row)),
        "fewest_heads": lambda row: (row[3], *from_middle(row)),
        "most_heads": lambda row: (-row[3], *from_middle(row)),
    }
    taken: set[Shape] = set()
    result = []
    for name, key in slots.items():
        free = [row for row in rows if row not in taken]
        if not free:
            result.append(Forced(name=name, config=None, problem="no architecture is left"))
            continue
        row = min(free, key=key)
        taken.add(row)
        result.append(Forced(name=name, config=space.forced(row)))
    return tuple(result)
