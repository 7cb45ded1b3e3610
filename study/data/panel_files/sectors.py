"""The sectors of a panel's assets, from a file of their own or a column beside the prices."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from study.data.reading.columns import find_names
from study.data.reading.file_cells import read_cells
from study.errors import DataError, one_line, quoted, require, shortened
from study.text.number_text import is_missing

SECTOR = "Sector"
"""Name of the column of sectors in a long table."""

SECTOR_NAMES = ("sector", "gicssector", "gics", "industry", "industrygroup", "branche", "group")
"""Accepted names of that column, the preferred ones first: letters and digits in lower case."""

_LONGEST_NAME = 60
"""Most characters of the name of an asset or a sector."""


def read_sectors(path: Path, assets: Sequence[str]) -> dict[str, str]:
    """Read the sectors of a panel's assets from a file of two columns, asset and sector.

    Raises:
        DataError: the file cannot be read, misses an asset, or gives one two sectors.
    """
    cells = read_cells(path)
    require(
        len(cells.names) == 2,
        cells.where,
        "a file of sectors has two columns, the asset and its sector",
        got=f"columns={', '.join(map(quoted, cells.names))}",
        remedy="Remove the others.",
        error=DataError,
    )
    found = find_names(SECTOR_NAMES, cells.names)
    sector_at = found[0] if len(found) == 1 else 1
    names = [name_in(cell) for cell in cells.columns[1 - sector_at]]
    sectors = [name_in(cell) for cell in cells.columns[sector_at]]
    if cells.names[1 - sector_at].strip() in assets:
        # The first line is a row: the file has no header.
        names.append(cells.names[1 - sector_at].strip())
        sectors.append(cells.names[sector_at].strip())
    by_asset, several = one_sector_each(names, sectors)
    twice = [name for name in assets if name in several]
    require(
        not twice,
        cells.where,
        "an asset has one sector",
        got=f"two of {quoted(twice[0])}" if twice else "",
        remedy="Remove one of them.",
        error=DataError,
    )
    require_sectors(cells.where, assets, by_asset)
    return {name: by_asset[name] for name in assets}


def require_sectors(where: str, assets: Sequence[str], by_asset: Mapping[str, str]) -> None:
    """Refuse a panel of which some assets have a sector and others none."""
    missing = [name for name in assets if not by_asset.get(name)]
    require(
        not missing,
        where,
        "every asset of the panel must have a sector",
        got=f"none of {', '.join(map(quoted, missing[:5]))}"
        + (f" and {len(missing) - 5} more" if len(missing) > 5 else ""),
        remedy="Add it, or leave the sectors out.",
        error=DataError,
    )


def one_sector_each(
    names: Sequence[str], sectors: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the last sector of each asset, and the assets that have more than one."""
    pairs = [(name, sector) for name, sector in dict.fromkeys(zip(names, sectors, strict=True))]
    known = [(name, sector) for name, sector in pairs if sector]
    seen: dict[str, str] = {}
    several = []
    for name, sector in known:
        if name in seen:
            several.append(name)
        seen[name] = sector
    return seen, several


def name_in(cell: object) -> str:
    """Return the name that a cell holds; empty if it holds none."""
    if is_missing(cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)  # identifiers that a program has read as numbers
    return shortened(one_line(str(cell)), _LONGEST_NAME)
