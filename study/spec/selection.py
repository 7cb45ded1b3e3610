"""Which cells of a study a command is about, and in which order."""

from collections.abc import Mapping, Sequence
from typing import Any

from study.errors import quoted, require
from study.spec.dimension import Dimension
from study.spec.specification import Cell, Study


def select_cells(
    study: Study,
    *,
    budgets: Sequence[str] | None,
    horizons: Sequence[int] | None,
    first: str | None,
    data: Mapping[str, Any],
    search: Mapping[str, Any],
    max_epochs: int | None,
    model: Mapping[str, Dimension] | None = None,
) -> list[Cell]:
    """Return the selected cells: smaller budgets first, then shorter horizons.

    Where the budget is searched, a cell of all selected budgets for each horizon: of a search of
    two phases that is phase 1. What phase 2 searches follows from its records
    (``study.search.phase_two``).

    Args:
        study: what there is.
        budgets: labels; None takes all.
        horizons: trading days; None takes the study's.
        first: the cells before this one, as ``20M_h3``, are left out (``h3`` where a cell has all
            budgets); None leaves out none.
        data: fields of DataConfig that flags override.
        search: fields of SearchConfig that flags override.
        max_epochs: cuts every schedule.
        model: fields of ModelConfig that flags override; None for none.

    Raises:
        SpecError: a value is unknown or breaks its rule, or ``first`` is not among the cells.
    """
    labels = set(study.budgets if budgets is None else budgets)
    days = sorted(set(study.horizons if horizons is None else horizons))
    # An unknown label comes last, where the study itself refuses it.
    ordered = sorted(labels, key=lambda label: (study.budgets.get(label, float("inf")), label))
    if study.across_budgets:
        cells = {
            f"h{horizon}": study.cell_of_all(
                ordered, horizon, data=data, search=search, model=model, max_epochs=max_epochs
            )
            for horizon in days
        }
    else:
        cells = {
            f"{label}_h{horizon}": study.cell(
                label, horizon, data=data, search=search, model=model, max_epochs=max_epochs
            )
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
