"""What the sockets of a Ray on this machine need: a loopback, and a folder with a short path."""

import os
import socket
import sys
from datetime import datetime
from pathlib import Path

from study.errors import SpecError, cause, require

_LONGEST_PATH = 103 if sys.platform == "darwin" else 107
"""Bytes of a Unix socket's path (unix(7): 108 with the zero at its end; 104 on macOS)."""

_SHORT = Path("/tmp")

_ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

_CONNECT_SECONDS = 5.0
"""For a connection to oneself, which takes less than a thousandth."""


def socket_options(short: Path = _SHORT) -> dict[str, str]:
    """Return what ``ray.init`` must be told so that its sockets can be made; say it if anything.

    Args:
        short: folder that is taken in place of one whose path is too long.

    Raises:
        SpecError: no process could reach another one here, or no folder is short enough.
    """
    _require_loopback()
    folder = _temporary_folder()
    if (length := _path_length(folder)) <= _LONGEST_PATH:
        return {}
    instead = short / "ray"
    is_usable = _path_length(short) <= _LONGEST_PATH and os.access(
        instead if instead.exists() else short, os.W_OK | os.X_OK
    )
    require(
        is_usable,
        "Ray",
        f"the paths of its sockets may have {_LONGEST_PATH} bytes",
        got=f"{length} below {folder}",
        remedy="Set TMPDIR or RAY_TMPDIR to a shorter folder.",
    )
    print(
        f"note: {folder} is too long for Ray's sockets, which are in {instead} now; "
        "RAY_TMPDIR may name another short folder",
        file=sys.stderr,
    )
    return {"_temp_dir": str(instead)}


def _require_loopback() -> None:
    problems = []
    for family, address in _ADDRESSES:
        try:
            with (
                socket.create_server((address, 0), family=family) as server,
                socket.create_connection(server.getsockname()[:2], timeout=_CONNECT_SECONDS),
            ):
                return
        except OSError as error:
            problems.append(f"{address}: {error.strerror or cause(error)}")
    raise SpecError(
        "Ray: processes of this machine must be able to reach each other, but got "
        f"{', '.join(problems)}. Bring the loopback interface up (`ip link set lo up`), or give "
        "the container a network."
    )


def _temporary_folder() -> Path:
    """Return the folder in which Ray 2.60 makes its own (ray/_common/utils.py)."""
    names = ("RAY_TMPDIR", "TMPDIR") if sys.platform == "linux" else ("RAY_TMPDIR",)
    return Path(next((os.environ[name] for name in names if os.environ.get(name)), "/tmp"))


def _path_length(folder: Path) -> int:
    """Return the length in bytes of the longest socket's path below a folder."""
    session = f"session_{datetime.now():%Y-%m-%d_%H-%M-%S_%f}_{os.getpid()}"
    return len(os.fsencode(folder / "ray" / session / "sockets" / "plasma_store"))
