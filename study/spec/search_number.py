"""The numbers of the independent searches of a cell, and the seed that each of them draws from."""

from study.errors import require

MOST_SEARCHES = 100
"""Most independent searches of a cell: their seeds then lie apart, whatever the first one is."""

SEED_END = 2**31
"""Smallest number that is too large for the seed of a search."""

_SEEDS_APART = 10_000_000
"""Distance between the seeds of two searches of a cell. A search uses its seed plus the number of
each trial, and plus one and two million for its final runs, so that no two searches share one."""


def require_search_number(number: object, where: str) -> None:
    """Refuse a number that no search of a cell can have; they are counted from 1.

    Raises:
        SpecError: it is no whole number, too small or too large.
    """
    require(
        type(number) is int and 1 <= number <= MOST_SEARCHES,
        where,
        f"must lie between 1 and {MOST_SEARCHES}, the searches that a cell can have",
        got=f"{number!r}",
        remedy="Leave it out for one search.",
    )


def seed_of_search(first: int, number: int) -> int:
    """Return the seed of a search of a cell; that of the first one is the cell's own.

    Args:
        first: the seed of the first search, in [0, SEED_END).
        number: number of the search, from 1.
    """
    return (first + (number - 1) * _SEEDS_APART) % SEED_END
