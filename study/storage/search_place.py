"""Where a search may begin or be resumed, checked before anything slow is imported or started."""

import os

from study.errors import require
from study.storage.place import Place


def require_place(place: Place, *, resume: bool, fresh: bool, may_be_new: bool = False) -> None:
    """Refuse a place that cannot be written, or in which a search was begun or is missing.

    Args:
        place: where the cell's results lie.
        resume: is the search there to be resumed?
        fresh: is the search there to be moved aside?
        may_be_new: may there be none to resume?

    Raises:
        SpecError: one of these.
    """
    above = next(parent for parent in place.path.parents if parent.exists())
    require(
        above.is_dir() and os.access(above, os.W_OK),
        "--storage",
        "must be a folder that can be written",
        got=str(above),
        remedy="Choose another one.",
    )
    is_there = place.has_search()
    require(
        not is_there or resume or fresh,
        place.describe(),
        "a cell is searched once",
        got=place.describe_search(is_there=True),
        remedy="Go on with --resume, or start anew with --fresh (the old one is moved aside).",
    )
    require(
        is_there or may_be_new or not resume,
        place.describe(),
        "--resume needs a search to go on with",
        got=place.describe_search(is_there=False),
        remedy="Leave --resume out.",
    )
