"""The files of daily series inside the installed package ``arch``."""

import importlib.util
from pathlib import Path


def arch_file(name: str) -> Path:
    """Return the file of a series inside the installed package ``arch``."""
    # arch is located but not imported: it would import statsmodels and matplotlib, which takes
    # seconds at every start and writes a font list into the home folder.
    package = importlib.util.find_spec("arch")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "data" / name / f"{name}.csv.gz"
