"""Ends a process with the one that started it, however that ended."""

import os
import sys
import threading
import time

_LOOK_SECONDS = 0.5

_ORPHANED = 1
"""Exit code of a process whose parent has ended."""


def end_with(parent: int) -> None:
    """Install a watch that ends this process at once when ``parent`` is no longer its parent.

    A process that is killed cannot end what it started, and on macOS the kernel does not do it
    either. Nothing is lost: whatever this process knows is in its journal.

    Args:
        parent: ``os.getppid()`` at the start of this process, or the number that its parent passed.
    """
    threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    sys.stdout.flush()
    os._exit(_ORPHANED)
