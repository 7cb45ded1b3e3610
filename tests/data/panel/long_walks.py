"""A panel of random walks that is long enough for a search."""

from typing import Any

import numpy as np

from study.data.arrays import PriceArray
from study.data.data_config import DataConfig
from study.data.panel.panel import Panel

N_DAYS, N_ASSETS = 1400, 6
LATE, PAUSED, ENDED = 1, 3, 4
"""Assets that begin on day 500, pause from day 700 to 704, and end on day 1100 in validation."""


def long_walks(n_days: int = N_DAYS, n_assets: int = N_ASSETS, seed: int = 3) -> Panel:
    """Return assets of which the first six include a late, a paused and an ended one."""
    rng = np.random.default_rng(seed)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, (n_days, n_assets)), axis=0))
    close[:500, LATE] = np.nan
    close[700:705, PAUSED] = np.nan
    close[1101:, ENDED] = np.nan
    return of_closes(close)


def of_closes(close: PriceArray) -> Panel:
    """Return a panel with these closes, on days in a row."""
    n_assets = close.shape[1]
    width = len(str(n_assets - 1))
    return Panel(
        name="walks",
        dates=np.arange(len(close)).astype("datetime64[D]"),
        assets=tuple(f"A{number:0{width}}" for number in range(n_assets)),
        close=close,
        fingerprint=f"{hash(close.tobytes()):x}",
    )


def panel_config(**values: Any) -> DataConfig:
    """Return the cell of a panel, by default one day ahead, compared by ranks."""
    usual = {
        "horizon": 1,
        "source": "walks",
        "tier": "closes",
        "normalization": "cross_rank",
        "task": "ranking",
        "context_length": 20,
        "validation_share": 0.3,
    }
    return DataConfig(**{**usual, **values})
