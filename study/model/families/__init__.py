"""The families of networks. A module put here is a family, by its name, with what FAMILY says.

Importing this package imports none of them, nor torch.
"""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def family_names() -> tuple[str, ...]:
    """Return the name of every family there is."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


@cache
def load_family(name: str) -> ModuleType:
    """Import the module of a family that is there."""
    return import_module(f"{__name__}.{name}")
