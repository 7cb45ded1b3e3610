"""A small panel of random walks, of assets that begin late, end early and pause."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from study.data.panel.panel import Panel

N_DAYS, N_ASSETS = 400, 8
SECTORS = ("energy", "energy", "banks", "banks", "banks", "chips", "chips", "alone")
LATE, EARLY, PAUSED, SHORT = 1, 3, 5, 6
"""Assets that begin on day 60, end on day 340, pause from day 300 to 309, and have 200 days."""


def walk_panel(*, bars: bool = False, sectors: bool = True, seed: int = 5) -> Panel:
    """Return eight assets on 400 weekdays, with one common factor."""
    rng = np.random.default_rng(seed)
    days = np.arange("2015-01-05", "2017-01-05", dtype="datetime64[D]")
    days = days[np.is_busday(days)][:N_DAYS]
    market = rng.normal(0.0003, 0.008, (N_DAYS, 1))
    returns = market + rng.normal(0, 0.015, (N_DAYS, N_ASSETS))
    close = 50 * np.exp(np.cumsum(returns, axis=0))
    close[:60, LATE] = np.nan
    close[341:, EARLY] = np.nan
    close[300:310, PAUSED] = np.nan
    close[:200, SHORT] = np.nan
    spread = rng.uniform(0, 0.01, (3, N_DAYS, N_ASSETS))
    opened = close * (1 + spread[0] - 0.005)
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    volume = np.where(np.isnan(close), np.nan, rng.uniform(1e5, 1e6, close.shape))
    prices = {
        "Open": opened,
        "High": high * (1 + spread[1]),
        "Low": low * (1 - spread[2]),
        "Volume": volume,
    }
    return Panel(
        name="walks",
        dates=days,
        assets=tuple(f"A{number}" for number in range(N_ASSETS)),
        close=close,
        bars=prices if bars else {},
        sectors=SECTORS if sectors else None,
        fingerprint="walks",
    )


def first_days(panel: Panel, n_days: int) -> Panel:
    """Return a panel without its later days."""
    return replace(
        panel,
        dates=panel.dates[:n_days],
        close=panel.close[:n_days],
        bars={name: values[:n_days] for name, values in panel.bars.items()},
    )


def with_assets(panel: Panel, chosen: Sequence[int]) -> Panel:
    """Return a panel of the chosen assets in that order, under names that are sorted again."""
    columns = list(chosen)
    sectors = None if panel.sectors is None else tuple(panel.sectors[column] for column in columns)
    return replace(
        panel,
        assets=tuple(f"A{number:02d}" for number in range(len(columns))),
        close=panel.close[:, columns],
        bars={name: values[:, columns] for name, values in panel.bars.items()},
        sectors=sectors,
    )
