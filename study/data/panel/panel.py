"""The prices of many assets on the days of one calendar."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from study.data.arrays import DayArray, PriceArray, fingerprint_of
from study.errors import DataError, require

BAR_COLUMNS = ("Open", "High", "Low", "Volume")
"""Columns of bars beside the close, all of them or none."""

MaskArray = npt.NDArray[np.bool_]
"""Which assets are there on which days, or which of their values are known."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """Checked prices of a set of assets. Arrays are read, never written.

    An asset that has no price on a day (not yet listed, delisted, halted) has NaN there, in every
    array. The calendar is the union of the assets' days.
    """

    name: str
    dates: DayArray
    """Days, datetime64[D] of shape (n_days,), ascending, no day twice."""
    assets: tuple[str, ...]
    """Names of the assets, sorted, no name twice; at least three."""
    close: PriceArray
    """Closes, adjusted for splits, float64 of shape (n_days, n_assets), positive or NaN."""
    bars: Mapping[str, PriceArray] = field(default_factory=dict)
    """Open, High, Low and Volume, each as ``close``; empty for a panel of closes alone."""
    sectors: tuple[str, ...] | None = None
    """Sector of each asset; None where no sectors are known."""
    warnings: tuple[str, ...] = ()
    """What is odd about the prices, and whom the set of assets leaves out, a line each."""
    understood: str = ""
    """How a file was read, one line; empty for embedded panels."""
    fingerprint: str
    """Digest (sha256) of days, assets, prices and sectors."""
    oracle: Mapping[int, PriceArray] = field(default_factory=dict)
    """Best possible scores of a simulated panel by horizon, each as ``close``: the expected return
    of each asset over the next days given all that a day's close shows; empty for real ones."""

    def __post_init__(self) -> None:
        shape = (len(self.dates), len(self.assets))

        def check(condition: bool, rule: str, got: object) -> None:
            require(
                condition,
                self.name,
                rule,
                got=got,
                remedy="Build it with the readers of study.data.panel.",
                error=DataError,
            )

        arrays = {"close": self.close, **self.bars}
        wrong = [name for name, values in arrays.items() if values.shape != shape]
        check(not wrong, f"arrays must have the shape {shape}", ", ".join(wrong))
        check(
            tuple(self.bars) in ((), BAR_COLUMNS),
            f"bars must be {', '.join(BAR_COLUMNS)}, or none",
            ", ".join(self.bars),
        )
        check(
            list(self.assets) == sorted(set(self.assets)),
            "assets must be sorted, and no name twice",
            ", ".join(self.assets[:5]),
        )
        check(
            self.sectors is None or len(self.sectors) == len(self.assets),
            "every asset must have a sector, or none",
            f"{len(self.sectors or ())} sectors of {len(self.assets)} assets",
        )
        check(
            bool((np.diff(self.dates) > np.timedelta64(0, "D")).all()),
            "days must ascend",
            f"{self.dates[:2]}",
        )

    @property
    def has_bars(self) -> bool:
        """Are there open, high, low and volume beside the close?"""
        return bool(self.bars)


def panel_fingerprint(
    dates: DayArray,
    assets: Sequence[str],
    prices: Mapping[str, PriceArray],
    sectors: Sequence[str] | None,
) -> str:
    """Return the sha256 of a panel's content, the same whatever file it came from.

    Args:
        dates: days of the panel.
        assets: names of the assets.
        prices: closes, and bars if there are any, by name.
        sectors: the sector of each asset, or None.
    """
    digest = hashlib.sha256(repr((tuple(assets), sectors and tuple(sectors))).encode())
    for name, values in prices.items():
        digest.update(f"{name} {fingerprint_of(dates, values)}".encode())
    return digest.hexdigest()
