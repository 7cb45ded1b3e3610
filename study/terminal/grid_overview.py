"""What is said of the architectures of a search: which are left out, and which are held lean."""

from collections.abc import Sequence

from study.results.plans.grid_record import GridRecord, LeanArchitecture, LeftOutArchitecture
from study.text.short_forms import LEAN, MIXED_MODES

_NAMED = 6
"""Most widths and depths that are named where many are left out; --json names all."""


def left_out(grid: GridRecord) -> str | None:
    """Return how many architectures no node can train, which, and why; None if there are none."""
    found = grid.left_out
    if found is None:
        return None
    rows = found.architectures
    n_all = grid.grid_size + len(rows)
    return f"{len(rows)} of {n_all} architectures ({_named(rows)}): {found.reason}"


def memory_modes(grid: GridRecord) -> str | None:
    """Return which architectures are trained lean, and why; None if none is."""
    n_lean = sum(mode.n_planned for mode in grid.modes if mode.memory == LEAN)
    if not n_lean:
        return None
    what = "in memory mode lean (weights in bfloat16, moments in 8 bits)"
    if grid.lean is None:
        return f"all architectures {what}, as the search space says"
    why = "a full step of one sample fits no node"
    if n_lean == grid.grid_size:
        return f"all {n_lean} architectures {what}, for {why}"
    return (
        f"{n_lean} of {grid.grid_size} architectures ({_named(grid.lean)}) {what}, for {why}; "
        f"{MIXED_MODES}"
    )


def _named(rows: Sequence[LeftOutArchitecture | LeanArchitecture]) -> str:
    """Return the widths and depths of architectures; heads hardly change what a step needs."""
    names = list(dict.fromkeys(f"{row.budget} d{row.d_model} L{row.n_layers}" for row in rows))
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
