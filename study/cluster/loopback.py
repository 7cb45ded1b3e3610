"""Keeps a Ray of one machine to the loopback interface, where no other machine can reach it.

Ray 2.60 listens on the loopback alone if the address of its node is ``127.0.0.1``, but replaces
such an address by the machine's own unless this variable says that there is one machine only. On
macOS that is its default.
"""

import os
import socket

from study.errors import SpecError, cause

VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Environment variable that is read when Ray is imported; a user who sets it to 1 gets a Ray that
other machines can join."""

_ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

_CONNECT_SECONDS = 5.0
"""Seconds to wait for a connection to oneself, which takes less than a thousandth."""


def keep_to_loopback() -> bool:
    """Have every Ray that this process and its children start listen on the loopback alone.

    Children that join it need the same: ``127.0.0.1`` would be another address to them.

    Returns: is it so? Not if the environment says otherwise.
    """
    return os.environ.setdefault(VARIABLE, "0") in ("0", "false")


def require_loopback() -> None:
    """Refuse a machine whose processes cannot reach each other.

    Raises:
        SpecError: no loopback address answers; the message names the cure.
    """
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
