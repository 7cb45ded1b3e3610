"""The terminal that a command writes to."""

import sys

from rich.console import Console


def terminal(piped_width: int = 120) -> Console:
    """Return a console that shows values as they stand: ``[red]`` or ``:x:`` in a name is a name.

    Args:
        piped_width: columns where there is no terminal, as in a log: rows must stay whole there.
    """
    is_piped = sys.stdout is None or not sys.stdout.isatty()
    width = piped_width if is_piped else None
    return Console(highlight=False, markup=False, emoji=False, width=width)
