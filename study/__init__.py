"""A scaling study of transformers on market data: spec in, records out."""

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from study.errors import StudyError as StudyError
from study.installed import require_installed
from study.storage.lock import is_own_folder

if TYPE_CHECKING:
    from study.api import Study as Study

# Python's documentation of -m: this is argv[0] while the module of a command is being located, so
# nothing else has been imported yet, and no library of a user's own program ends up here.
if sys.argv[:1] == ["-m"]:
    require_installed()


def _font_folder() -> str:
    """Return a folder for matplotlib's list of fonts that nobody else can have prepared."""
    folder = Path(tempfile.gettempdir()) / f"matplotlib-of-study-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if is_own_folder(folder, closed=0o022):
            return str(folder)
    # Where there can be no folder, matplotlib makes one for this process.
    return os.devnull


# The list of fonts of matplotlib, which arch imports too, does not go into the home folder.
if "MPLCONFIGDIR" not in os.environ:
    os.environ["MPLCONFIGDIR"] = _font_folder()


def __getattr__(name: str) -> object:
    """Import the study as seen from Python when it is asked for: it takes torch and Ray along."""
    if name == "Study":
        from study.api import Study

        return Study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
