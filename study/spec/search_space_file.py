"""Finds the file of a search space by its path or, if the project ships it, by its name."""

from pathlib import Path

from study.errors import SpecError

SHIPPED = Path(__file__).parents[2] / "search_spaces"
"""Folder of the search spaces that the project ships; it is beside the package in a checkout and
after installation."""


def names() -> list[str]:
    """Return the names of the search spaces that the project ships."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find_search_space(name_or_path: Path) -> Path:
    """Return the file of a search space.

    Args:
        name_or_path: one of ``names``, as ``smoke``, or else a path. Where there is no such path,
            ``search_spaces/smoke.yaml`` is the shipped one too.

    Raises:
        SpecError: there is no such name or file; the message lists the names.
    """
    given = Path(name_or_path)
    shipped = SHIPPED / f"{given.name.removesuffix('.yaml')}.yaml"
    if str(given) in names():
        return shipped
    if _is_file(given):
        return given
    if given.parent == Path(SHIPPED.name) and shipped.name == given.name and _is_file(shipped):
        return shipped
    raise SpecError(
        f"{given}: the search space must be a name or a YAML file, but got no such file. "
        f"The names are {', '.join(names())}."
    )


def _is_file(path: Path) -> bool:
    """Is it a file that can be found? A name that is too long or a closed folder is no error."""
    try:
        return path.is_file()
    except OSError:
        return False
