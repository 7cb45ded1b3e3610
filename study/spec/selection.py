"""Selects cells of a study, in order."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from study.errors import quoted, require
from study.spec.overrides import NO_OVERRIDES, Overrides
from study.spec.search_number import MOST_SEARCHES, require_search_number
from study.spec.specification import Cell, Study
from study.storage.layout import SEARCH_SUFFIX


def select_cells(
    study: Study,
    *,
    budgets: Sequence[str] | None = None,
    horizons: Sequence[int] | None = None,
    first: str | None = None,
    searches: int = 1,
    overrides: Overrides = NO_OVERRIDES,
) -> list[Cell]:
    """Return the selected cells: smaller budgets first, then shorter horizons, then by search.

    Where the budget is searched, each horizon has one cell of all selected budgets; in a search of
    two phases that is phase 1. What phase 2 searches follows from its records
    (``study.search.phase_two``).

    Args:
        study: the study.
        budgets: labels of budgets; None takes all.
        horizons: trading days ahead; None takes the study's.
        first: the first cell that is taken, as ``20M_h3`` (``h3`` where a cell has all budgets), or
            ``20M_h3_search2`` for a further search of it; None takes all.
        searches: number of independent searches of each cell; several know nothing of other cells.
        overrides: values of flags.

    Raises:
        SpecError: a value is unknown or breaks its rule, or ``first`` is not among the cells.
    """
    require_search_number(searches, "--searches")
    if searches > 1:
        require_independent(overrides.search.get("neighbours"), f"--searches {searches}")
        overrides = dataclasses.replace(overrides, search={**overrides.search, "neighbours": False})
    labels = set(study.budgets if budgets is None else budgets)
    days = sorted(set(study.horizons if horizons is None else horizons))
    # An unknown label comes last, where the study itself refuses it.
    ordered = sorted(labels, key=lambda label: (study.budgets.get(label, float("inf")), label))
    if study.across_budgets:
        once = {f"h{horizon}": study.cell_of_all(ordered, horizon, overrides) for horizon in days}
    else:
        once = {
            f"{label}_h{horizon}": study.cell(label, horizon, overrides)
            for label in ordered
            for horizon in days
        }
    cells = {
        name if number == 1 else f"{name}{SEARCH_SUFFIX}{number}": cell.of_search(number)
        for name, cell in once.items()
        for number in range(1, searches + 1)
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


def require_independent(neighbours: bool | None, other: str) -> None:
    """Refuse to begin one of several searches of a cell with what other cells found.

    Raises:
        SpecError: that is asked for.
    """
    require(
        not neighbours,
        "--neighbours",
        "is not for one of several searches of a cell: they measure how far winners differ, and "
        "must find them independently",
        got=f"--neighbours {other}",
        remedy="Leave one of them out.",
    )


def searches_made(cell: Cell, results: Path) -> list[int]:
    """Return the numbers of the searches of a cell that have a folder, ascending.

    Args:
        cell: the cell, as its first search.
        results: the results folder, which need not exist.
    """
    # A name is made of letters, digits, dots, dashes and underscores, none of them a wildcard.
    found = {path.name for path in results.glob(f"{cell.name}*") if path.is_dir()}
    further = {n: f"{cell.name}{SEARCH_SUFFIX}{n}" for n in range(2, MOST_SEARCHES + 1)}
    return [n for n, name in {1: cell.name, **further}.items() if name in found]


def further_searches(cells: Sequence[Cell], results: Path) -> list[str]:
    """Return a line for each search that was made of a selected cell and is not selected itself.

    Args:
        cells: the selected cells, of which the first searches are among them.
        results: the results folder, which need not exist.
    """
    selected = {cell.name for cell in cells}
    made = (
        cell.of_search(number).name
        for cell in cells
        if cell.search_number == 1
        for number in searches_made(cell, results)
    )
    return [
        f"{name}: it was searched, but is beyond --searches and stays as it is"
        for name in made
        if name not in selected
    ]
