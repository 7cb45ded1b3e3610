"""Configurations that every search tries first: the extremes of the feasible set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from study.errors import require
from study.model.sizing import step_flops
from study.search.space import SearchSpace, Shape, TrialConfig
from study.spec.forced18 import D_FF_RATIO, listed
from study.spec.search_config import ForcedSet
from study.spec.specification import Cell

_USUAL_HEADS = 8
"""Number of attention heads that the four extremes of width and depth use, or the nearest choice;
8 as in the base model of Vaswani et al. 2017."""

ROOM_FOR_ALL = 20
"""Least number of trials with which a search tries all of ``extremes6``; an own choice. Of twelve
trials the six would be half, and the slowest of them most of the time: with 64 layers the narrowest
model of 2M takes about 4.5 times the CPU time of the widest, measured once on two steps
(2026-11-29)."""

_FEW_PER_EXTREME = 4
"""Number of trials, of such a small search, for each extreme that comes first; an own choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forced:
    """One named slot; ``config`` is None if the feasible set cannot fill it, or if it waits."""

    name: str
    config: TrialConfig | None
    group: str | None = None
    """Setting that the list takes to an extreme; None if the list has no groups."""
    problem: str | None = None
    """Why the feasible set cannot fill it; None if it can."""
    later: TrialConfig | None = None
    """Configuration of a slot that waits until the search is asked for ``ROOM_FOR_ALL`` trials."""


def first_configurations(space: SearchSpace, cell: Cell) -> tuple[Forced, ...]:
    """Return what a cell tries before it samples: its start, if it has one, and its forced set.

    There are at most as many as the cell has trials. A slot without a configuration counts as none.
    """
    first = forced_configurations(space, cell.search.forced)
    if cell.search.forced == "extremes6" and cell.search.trials < ROOM_FOR_ALL:
        first = _cheapest_first(first, max(1, cell.search.trials // _FEW_PER_EXTREME))
    if cell.start is not None:
        first = (_start(space, cell.start), *first)
    left, kept = cell.search.trials, []
    for slot in first:
        if slot.config is not None:
            left -= 1
        if left < 0:
            break
        kept.append(slot)
    return tuple(kept)


def _cheapest_first(slots: Sequence[Forced], room: int) -> tuple[Forced, ...]:
    """Return the cheapest slots, cheapest first, then the others, which wait, then the empty ones.

    All models of a budget compute about the same, in as many steps one after the other as they have
    layers. So depth ranks them, and then the operations of a sample.
    """

    def cost(slot: Forced) -> tuple[int, int]:
        assert slot.config is not None
        return slot.config.model.n_layers, step_flops(slot.config.model, 1)

    ranked = sorted((slot for slot in slots if slot.config is not None), key=cost)
    return (
        *ranked[:room],
        *(replace(slot, config=None, later=slot.config) for slot in ranked[room:]),
        *(slot for slot in slots if slot.config is None),
    )


def _start(space: SearchSpace, values: Mapping[str, Any]) -> Forced:
    """Return the configuration from which a search of one width and depth starts."""
    name = "phase1_best"
    heads = values.get("n_heads")
    for shape in space.shapes:
        if heads in (None, shape.n_heads):
            return Forced(name=name, config=space.forced(shape, **values))
    return Forced(name=name, config=None, problem=f"no architecture of {heads} heads fits a node")


def forced_configurations(space: SearchSpace, forced: ForcedSet) -> tuple[Forced, ...]:
    """Return the forced slots of a search, in the order in which they are tried.

    ``forced18`` takes from ``study.spec.forced18`` the configurations of the space's budgets,
    unchanged. ``extremes6`` takes from the feasible set the narrowest and the widest model (which
    the budget makes the deepest and the shallowest), the shallowest and the deepest model of the
    middle width, and the models with the fewest and the most heads at the middle width and depth.
    The middle width is the one nearest to the median that leaves a choice of depth. If an earlier
    slot has taken an architecture, the next best one is taken; a slot for which none is left has
    no configuration and states why.
    """
    if forced == "none":
        return ()
    if forced == "forced18":
        return _listed(space)
    budgets = sorted(space.budgets)
    require(
        len(budgets) == 1,
        "search.forced",
        "extremes6 needs a search of one budget",
        got=f"budgets {', '.join(budgets)}",
        remedy="Use forced18 or none.",
    )
    taken: set[Shape] = set()
    result = []
    for name, key in _extremes(space.shapes).items():
        free = [row for row in space.shapes if row not in taken]
        if not free:
            result.append(Forced(name=name, config=None, problem="no architecture is left"))
            continue
        row = min(free, key=key)
        taken.add(row)
        result.append(Forced(name=name, config=space.forced(row)))
    return tuple(result)


def _extremes(rows: Sequence[Shape]) -> dict[str, Callable[[Shape], tuple[int, ...]]]:
    """Return the slots of ``extremes6``, each with a sort key that is least for its best row."""
    depths = {
        width: sorted({row.n_layers for row in rows if row.d_model == width})
        for width in {row.d_model for row in rows}
    }
    widths = sorted(depths)
    median = widths[len(widths) // 2]
    most_depths = min(2, max(map(len, depths.values())))
    middle = min(
        (width for width in widths if len(depths[width]) >= most_depths),
        key=lambda width: abs(widths.index(width) - widths.index(median)),
    )
    middle_depth = depths[middle][len(depths[middle]) // 2]

    def usual_heads(row: Shape) -> int:
        return abs(row.n_heads - _USUAL_HEADS)

    def from_middle(row: Shape) -> tuple[int, int, int]:
        return abs(row.d_model - middle), abs(row.n_layers - middle_depth), row.d_ff_ratio

    return {
        "narrowest": lambda row: (row.d_model, usual_heads(row), -row.n_layers),
        "widest": lambda row: (-row.d_model, usual_heads(row), row.n_layers),
        "shallowest": lambda row: (abs(row.d_model - middle), row.n_layers, usual_heads(row)),
        "deepest": lambda row: (abs(row.d_model - middle), -row.n_layers, usual_heads(row)),
        "fewest_heads": lambda row: (row.n_heads, *from_middle(row)),
        "most_heads": lambda row: (-row.n_heads, *from_middle(row)),
    }


def _listed(space: SearchSpace) -> tuple[Forced, ...]:
    """Return the slots of ``forced18``, which must lie in the space: the sampler learns from them.

    A slot that no node can train has no configuration and states why.

    Raises:
        SpecError: a value of the list lies outside of a searched range.
    """
    left_out = {} if space.left_out is None else space.left_out.needed
    result = []
    for one in listed(space.budgets | {shape.budget for shape in left_out}):
        shape = Shape(one.budget, one.d_model, one.n_layers, D_FF_RATIO, one.n_heads)
        if space.left_out is not None and shape in left_out:
            problem = f"of {one.budget}, a step of one sample needs {space.left_out.numbers(shape)}"
            result.append(Forced(name=one.name, config=None, group=one.group, problem=problem))
            continue
        config = space.forced(shape, **one.values)
        require(
            space.contains(config),
            "search.forced",
            "the ranges of dropout, learning_rate and weight_decay must hold every value of "
            "forced18",
            got=f"{one.name} of {one.budget}: "
            + ", ".join(f"{name} {value:g}" for name, value in one.values.items()),
            remedy="Widen them, as in two_phase.yaml.",
        )
        result.append(Forced(name=one.name, config=config, group=one.group))
    return tuple(result)
