"""Loads panels from their sources: embedded ones, imported ones, files."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from study.data.embedded.stocks20 import (
    STOCKS20,
    SURVIVORS,
    read_stocks20,
    sectors_of_stocks20,
)
from study.data.embedded.synthetic_panel import SYNTHETIC_PANEL, default_panel
from study.data.panel.panel import Panel, panel_fingerprint
from study.data.sources import IMPORT_FOLDER
from study.errors import DataError

PANEL_SOURCES = (STOCKS20, SYNTHETIC_PANEL)
"""Names of panels that need no file."""


def load_panel(
    source: str, import_folder: Path = IMPORT_FOLDER, accept: Collection[str] = ()
) -> Panel:
    """Load an embedded panel.

    Args:
        source: name of the panel.
        import_folder: folder of the imported markets and panels.
        accept: checks whose refusal is overridden.

    Raises:
        DataError: there is no such source.
    """
    if source == SYNTHETIC_PANEL:
        return default_panel().panel
    if source != STOCKS20:
        raise DataError(f"source: must be a panel, but got {source}. Choose one.")
    frame = read_stocks20()
    by_asset = sectors_of_stocks20()
    assets = tuple(sorted(frame.columns))
    dates = frame.index.to_numpy().astype("datetime64[D]")
    close = frame[list(assets)].to_numpy(dtype=np.float64)
    sectors = tuple(by_asset[asset] for asset in assets)
    return Panel(
        name=STOCKS20,
        dates=dates,
        assets=assets,
        close=close,
        sectors=sectors,
        warnings=(SURVIVORS,),
        fingerprint=panel_fingerprint(dates, assets, {"Close": close}, sectors),
    )


def is_panel_source(source: str, import_folder: Path = IMPORT_FOLDER) -> bool:
    """Is a source a panel: an embedded one, or one that was imported?"""
    return source in PANEL_SOURCES or (import_folder / "panels" / f"{source}.parquet").is_file()
