"""Several searches of a cell measure how far winners differ: may a further one be begun?"""

from pathlib import Path

from study.results.store import read_cell
from study.storage.layout import CELL_FILE, SEARCH_SUFFIX
from study.text.short_forms import counted


def dependent_first(name: str, number: int, results: Path) -> str | None:
    """Return why a further search of a cell would not be independent of its first; None if it is.

    Args:
        name: name of the search.
        number: its number.
        results: the results folder, which need not exist.

    Raises:
        StudyError: the ``cell.yaml`` of the first search cannot be read.
    """
    first = results / name.removesuffix(f"{SEARCH_SUFFIX}{number}")
    if number == 1 or not (first / CELL_FILE).exists():
        return None
    found = read_cell(first).get("neighbours", {}).get("found", ())
    if not found:
        return None
    return (
        f"{first}: must know nothing of other cells beside further searches, which measure how far "
        f"winners differ, but got a search that began with {counted(len(found), 'trial')} of them. "
        "Search it anew with study.tune --fresh --no-neighbours, or leave further searches out."
    )
