"""The choice of the cells of a sweep that are at work now, and of their trials at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, kw_only=True, slots=True)
class CellDemand:
    """The part of the cluster that a cell could use."""

    name: str
    capacity: int
    """Trials of its shape that fit on the empty cluster; at least one."""
    usable: int
    """Trials that it could run at once: those that have not ended, at most as many as its user
    wants; at least one."""
    exclusive: bool
    """Does it get the whole cluster, with nothing beside it?"""

    def share(self, slots: int) -> Fraction:
        """Return the share of the cluster that so many of its trials take."""
        return Fraction(slots, self.capacity)


def allot(
    at_work: Sequence[CellDemand], waiting: Sequence[CellDemand], *, most_cells: int
) -> dict[str, int]:
    """Say which cells shall be at work, and with how many trials at once.

    Waiting cells come in order: none overtakes another, so the large ones are not starved by small
    ones that would always fit. Cells share the cluster evenly; what one cannot use goes to the
    others. A cell that is at work stays at work.

    Args:
        at_work: cells that have a process.
        waiting: cells that have none, in the order in which they shall begin.
        most_cells: processes at once, at least one.

    Returns: trials at once, at least one, by name: of all that are at work, and of the waiting ones
        that shall begin now.
    """
    chosen = list(at_work)
    for cell in waiting:
        is_alone = not chosen or not (cell.exclusive or chosen[0].exclusive)
        has_room = _used({c: 1 for c in (*chosen, cell)}) <= 1
        if not (is_alone and has_room and len(chosen) < most_cells):
            break
        chosen.append(cell)
    slots = dict.fromkeys(chosen, 1)
    while growing := [c for c in chosen if _may_grow(c, slots)]:
        least = min(growing, key=lambda cell: cell.share(slots[cell]))
        slots[least] += 1
    return {cell.name: count for cell, count in slots.items()}


def _may_grow(cell: CellDemand, slots: dict[CellDemand, int]) -> bool:
    is_wanted = slots[cell] < min(cell.capacity, cell.usable)
    return is_wanted and _used({**slots, cell: slots[cell] + 1}) <= 1


def _used(slots: dict[CellDemand, int]) -> Fraction:
    return sum((cell.share(count) for cell, count in slots.items()), Fraction(0))
