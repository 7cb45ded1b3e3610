"""Keeps a Ray of one machine to the loopback interface, where no other machine can reach it.

Ray 2.60 listens on the loopback alone if the address of its node is ``127.0.0.1``, but replaces
such an address by the machine's own unless this variable says that there is one machine only. On
macOS that is its default.
"""

import os

VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Read when Ray is imported; a user who sets it to 1 gets a Ray that other machines can join."""


def keep_to_loopback() -> bool:
    """Have every Ray that this process and its children start listen on the loopback alone.

    Children that join it need the same: ``127.0.0.1`` would be another address to them.

    Returns: is it so? Not if the environment says otherwise.
    """
    return os.environ.setdefault(VARIABLE, "0") in ("0", "false")
