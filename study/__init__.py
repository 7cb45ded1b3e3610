"""A scaling study of transformers on market data: spec in, records out."""

import os
import sys
import tempfile
from pathlib import Path

from study.installed import require_installed

# Python's documentation of -m: this is argv[0] while the module of a command is being located, so
# nothing else has been imported yet, and no library of a user's own program ends up here.
if sys.argv[:1] == ["-m"]:
    require_installed()

# The list of fonts of matplotlib, which arch imports too, does not go into the home folder.
os.environ.setdefault(
    "MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / f"matplotlib-of-study-{os.getuid()}")
)
