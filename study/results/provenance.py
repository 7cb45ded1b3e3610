"""The origin of a result: the versions, the commit and the code that made it."""

import functools
import hashlib
import importlib.metadata
import platform
import subprocess
import time
from pathlib import Path

import psutil

_PACKAGES = ("ray", "optuna", "torch", "numpy", "pandas", "TA-Lib", "scikit-learn", "arch")
"""Libraries on which a restore or a number depends."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that matter, and a hash of this code."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    # Read once: a process runs what it has loaded, whatever becomes of the files.
    found = {"python": platform.python_version()}
    found |= {name.lower(): importlib.metadata.version(name) for name in _PACKAGES}
    return {**found, "code": _code_hash()}


def commit() -> str:
    """Return the commit of the working tree, ``-dirty`` if it has changes; else the version."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return importlib.metadata.version("market-scaling-study")
    return done.stdout.strip()


def process_seconds() -> float:
    """Return how long this process has been running."""
    return time.time() - psutil.Process().create_time()


def _code_hash() -> str:
    """Return the first digits of one sha256 over all modules: a commit does not show edits."""
    package = Path(__file__).parent.parent
    content = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return content.hexdigest()[:16]
