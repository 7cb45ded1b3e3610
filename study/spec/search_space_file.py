"""Finds search spaces, those that come with the project by their name."""

from pathlib import Path

from study.errors import SpecError

SHIPPED = Path(__file__).parents[2] / "search_spaces"
"""Beside the package: in a checkout as among installed packages."""


def names() -> list[str]:
    """Return the names of the search spaces that come with the project."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find_search_space(name_or_path: Path) -> Path:
    """Return the file of a search space.

    Args:
        name_or_path: a plain name, as ``smoke``, is one of ``names`` before it is a file;
            ``search_spaces/smoke.yaml`` means that one too where there is no such folder.

    Raises:
        SpecError: there is neither; the message lists the names.
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
    """Is it a file? Not if its name is too long, or its folder may not be read."""
    try:
        return path.is_file()
    except OSError:
        return False
