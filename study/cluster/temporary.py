"""Ray's own folder for temporary files: closed to other users, and removed also after a kill."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from study.errors import require
from study.storage.lock import scratch_folder

_LONGEST_SOCKET_PATH = 103 if sys.platform == "darwin" else 107
"""Longest path of a socket in bytes (unix(7)), without the zero at the end."""

_BELOW = "/mss-12345678/r/session_2026-11-27_21-25-30_123456_1234567/sockets/plasma_store"
"""The longest path of a socket that Ray 2.60 makes in there; process numbers have 7 digits."""

_SHORT = Path("/tmp")


@contextmanager
def ray_folder() -> Iterator[Path]:
    """Yield a path for ``_temp_dir``; nothing is there yet.

    Ray opens the folder that it is given to everybody, so it is given one inside of a private one.

    Raises:
        OSError: no folder can be made.
        SpecError: the paths of sockets in the usual folder are too long, and no other is at hand.
    """
    usual = _usual_folder()
    length = len(os.fsencode(usual)) + len(_BELOW)
    is_short = length <= _LONGEST_SOCKET_PATH
    require(
        is_short or os.access(_SHORT, os.W_OK | os.X_OK),
        "Ray",
        f"the paths of its sockets may have {_LONGEST_SOCKET_PATH} bytes",
        got=f"{length} below {usual}",
        remedy="Set TMPDIR or RAY_TMPDIR to a shorter folder.",
    )
    parent = usual if is_short else _SHORT
    parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(parent) as folder:
        yield folder / "r"


def _usual_folder() -> Path:
    """Return the folder in which Ray would make its own (ray/_common/utils.py of 2.60)."""
    if name := os.environ.get("RAY_TMPDIR"):
        return Path(name)
    return Path(tempfile.gettempdir()) if sys.platform == "linux" else _SHORT
