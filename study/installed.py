"""Ends a command in one line if the project, or a package that it needs, is not installed."""

import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version

PROJECT = "market-scaling-study"
"""Name of the project among the installed distributions."""

_USER_ERROR = 2
"""Exit code of an error of the user; ``study.command`` has it too, and needs what may be
missing."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def require_installed() -> None:
    """End this process in one line, with exit code 2, unless everything is there.

    Records name the versions of the libraries that a number depends on, and read them from what
    was installed: a folder of sources alone cannot say them, and would stumble once a search has
    been planned.
    """
    if (problem := what_is_missing()) is not None:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(_USER_ERROR)


def what_is_missing() -> str | None:
    """Return what is not installed, and the cure; None if everything is."""
    try:
        needed = requires(PROJECT) or []
    except PackageNotFoundError:
        return (
            f"{PROJECT}: must be installed, but got its sources alone. "
            "Run `pip install -e .` in their folder, or `make`."
        )
    # Requirements of an extra have a marker; another marker, as of a platform, is not evaluated.
    names = [_NAME.match(each) for each in needed if ";" not in each]
    missing = [name[0] for name in names if name is not None and not _is_there(name[0])]
    if not missing:
        return None
    return (
        f"{PROJECT}: the packages it needs must be installed, but got no {', '.join(missing)}. "
        "Install the project again: `pip install -e .` or `make` in a checkout."
    )


def _is_there(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
