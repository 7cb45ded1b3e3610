"""A share of the training days, for runs that show what less data costs."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from study.data.arrays import IndexArray
from study.errors import quoted, require
from study.statistics.block_length import block_days

DataChoice = Literal["recent", "blocks"]
"""Which training days make a share: the latest ones, or blocks of days from all of the past."""

DATA_CHOICES: tuple[DataChoice, ...] = get_args(DataChoice)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataShare:
    """The part of the training days on which a winner is trained again.

    Days of validation and test are not touched. A smaller share is a part of every larger one of
    the same choice and seed, so that two shares differ by the days that are added.
    """

    share: float
    """Share of the training samples, above 0 and below 1."""
    choice: DataChoice
    seed: int
    """Seed of the order in which blocks are taken; the latest days need none."""

    def __post_init__(self) -> None:
        require(
            0 < self.share < 1,
            "share of the training days",
            "must lie between 0 and 1",
            got=quoted(self.share),
            remedy="Give another share; the whole is trained anyway.",
        )

    @property
    def name(self) -> str:
        """Name by which files know it, such as ``recent_0.25``."""
        return f"{self.choice}_{self.share!r}"

    def of(self, days: IndexArray, horizon: int) -> IndexArray:
        """Return the days of the share, ascending, as many for both choices; at least one.

        Blocks have the length of those in which days are resampled, and are counted from the last
        day backwards. They are taken whole, in an order drawn from the seed, up to the last of
        them, of which the latest days are taken as far as they are wanted.

        Args:
            days: the training days, ascending.
            horizon: trading days that a label looks ahead, from which the length of blocks follows.
        """
        wanted = max(1, round(self.share * len(days)))
        if self.choice == "recent":
            return days[len(days) - wanted :]
        latest_first = days[::-1]
        length = block_days(horizon)
        blocks = np.split(latest_first, range(length, len(days), length))
        order = np.random.default_rng(self.seed).permutation(len(blocks))
        return np.sort(np.concatenate([blocks[at] for at in order])[:wanted])
