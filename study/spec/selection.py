"""Selects cells of a study, in order."""

from collections.abc import Sequence

from study.errors import quoted, require
from study.spec.overrides import NO_OVERRIDES, Overrides
from study.spec.specification import Cell, Study


def select_cells(
    study: Study,
    *,
    budgets: Sequence[str] | None = None,
    horizons: Sequence[int] | None = None,
    first: str | None = None,
    overrides: Overrides = NO_OVERRIDES,
) -> list[Cell]:
    """Return the selected cells: smaller budgets first, then shorter horizons.

    Where the budget is searched, each horizon has one cell of all selected budgets; in a search of
    two phases that is phase 1. What phase 2 searches follows from its records
    (``study.search.phase_two``).

    Args:
        study: the study.
        budgets: labels of budgets; None takes all.
        horizons: trading days ahead; None takes the study's.
        first: the first cell that is taken, as ``20M_h3`` (``h3`` where a cell has all budgets);
            None takes all.
        overrides: values of flags.

    Raises:
        SpecError: a value is unknown or breaks its rule, or ``first`` is not among the cells.
    """
    labels = set(study.budgets if budgets is None else budgets)
    days = sorted(set(study.horizons if horizons is None else horizons))
    # An unknown label comes last, where the study itself refuses it.
    ordered = sorted(labels, key=lambda label: (study.budgets.get(label, float("inf")), label))
    if study.across_budgets:
        cells = {f"h{horizon}": study.cell_of_all(ordered, horizon, overrides) for horizon in days}
    else:
        cells = {
            f"{label}_h{horizon}": study.cell(label, horizon, overrides)
            for label in ordered
            for horizon in days
        }
    if first is None:
        return list(cells.values())
    require(
        first in cells,
        "--from",
        f"must be one of the selected cells, {', '.join(cells)}",
        got=f"--from {quoted(first)}",
        remedy=f"Write one of them, as {next(iter(cells))}.",
    )
    return list(cells.values())[list(cells).index(first) :]
