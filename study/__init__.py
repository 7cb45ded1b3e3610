"""A scaling study of transformers on market data: spec in, records out."""

import os
import tempfile
from pathlib import Path

# The list of fonts of matplotlib, which arch imports too, does not go into the home folder.
os.environ.setdefault(
    "MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / f"matplotlib-of-study-{os.getuid()}")
)
