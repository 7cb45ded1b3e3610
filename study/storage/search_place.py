"""Where a search may begin or be resumed, checked before anything slow is imported or started."""

import os
from pathlib import Path

from study.errors import require
from study.storage.layout import JOURNAL_FILES
from study.storage.mirror import Mirror


def require_place(
    folder: Path, mirror: Mirror | None, *, resume: bool, fresh: bool, may_be_new: bool = False
) -> None:
    """Refuse a place that cannot be written, or in which a search was begun or is missing.

    Args:
        folder: the cell's folder.
        mirror: the cell's place in a store; None without one.
        resume: is the search there to be resumed?
        fresh: is the search there to be moved aside?
        may_be_new: may there be none to resume?

    Raises:
        SpecError: one of these.
    """
    above = next(parent for parent in folder.parents if parent.exists())
    require(
        above.is_dir() and os.access(above, os.W_OK),
        "--storage",
        "must be a folder that can be written",
        got=str(above),
        remedy="Choose another one.",
    )
    place, is_there = str(folder), folder.exists()
    if mirror is not None:
        is_there |= mirror.is_usable_with(JOURNAL_FILES[0])
        place = f"{folder} or {mirror.uri}"
    require(
        not is_there or resume or fresh,
        place,
        "a cell is searched once",
        got="an existing one" if mirror else "an existing folder",
        remedy="Go on with --resume, or start anew with --fresh (the old one is moved aside).",
    )
    require(
        is_there or may_be_new or not resume,
        place,
        "--resume needs a search to go on with",
        got="none" if mirror else "no such folder",
        remedy="Leave --resume out.",
    )
