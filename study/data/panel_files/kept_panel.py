"""The file that an import keeps of a panel, a long table whose cells need no parsing."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from study.data.arrays import IndexArray, PriceArray, fingerprint_of
from study.data.panel.panel import BAR_COLUMNS, Panel
from study.data.panel_files.panel_table import PanelTable
from study.data.panel_files.sectors import SECTOR
from study.data.reading.columns import DATE_COLUMN, SYMBOL
from study.data.reading.import_notes import ImportNotes
from study.data.sources import write_whole

_CLOSE = "Close"


def keep_panel(panel: Panel, path: Path, accepted: tuple[str, ...]) -> None:
    """Write a panel as a long table, whose prices ``kept_table`` reads without parsing them."""
    day, asset = np.nonzero(np.isfinite(panel.close))
    columns: dict[str, object] = {
        DATE_COLUMN: panel.dates[day].astype("datetime64[s]"),
        SYMBOL: pd.Categorical.from_codes(asset, categories=pd.Index(panel.assets)),
        **{name: values[day, asset] for name, values in panel.bars.items()},
        _CLOSE: panel.close[day, asset],
    }
    if panel.sectors is not None:
        kinds = sorted(set(panel.sectors))
        codes = np.array([kinds.index(each) for each in panel.sectors], dtype=np.int64)
        columns[SECTOR] = pd.Categorical.from_codes(codes[asset], categories=pd.Index(kinds))
    prices = {name: values[day, asset] for name, values in panel.bars.items()}
    notes = ImportNotes(
        understood=panel.understood,
        accepted=accepted,
        fingerprint=fingerprint_of(
            panel.dates[day], _stacked(asset, {**prices, _CLOSE: panel.close[day, asset]})
        ),
    )
    write_whole(pd.DataFrame(columns), path, notes)


def _stacked(asset: IndexArray, prices: Mapping[str, PriceArray]) -> PriceArray:
    """Return the columns of a kept panel, to which its notes belong."""
    return np.column_stack((asset.astype(np.float64), *prices.values()))


def kept_table(frame: pd.DataFrame, where: str) -> PanelTable | None:
    """Return the prices that an import has kept; None where a file is no import, or was edited."""
    names = [str(name) for name in frame.columns]
    prices = [name for name in (*BAR_COLUMNS, _CLOSE) if name in names]
    has_sectors = SECTOR in names
    expected = [DATE_COLUMN, SYMBOL, *prices, *([SECTOR] if has_sectors else [])]
    understood, accepted = (frame.attrs.get(name) for name in ("understood", "accepted"))
    if names != expected or not (isinstance(understood, str) and isinstance(accepted, str)):
        return None
    kinds = [SYMBOL, *([SECTOR] if has_sectors else [])]
    if not all(isinstance(frame[name].dtype, pd.CategoricalDtype) for name in kinds):
        return None
    days = frame[DATE_COLUMN].to_numpy().astype("datetime64[D]")
    asset = frame[SYMBOL].cat.codes.to_numpy().astype(np.int64)
    values = {name: frame[name].to_numpy(dtype=np.float64) for name in prices}
    if frame.attrs.get("fingerprint") != fingerprint_of(days, _stacked(asset, values)):
        return None
    assets = tuple(map(str, frame[SYMBOL].cat.categories))
    sectors = None
    if has_sectors:
        _, first = np.unique(asset, return_index=True)
        sectors = dict(zip(assets, map(str, frame[SECTOR].iloc[first]), strict=True))
    return PanelTable(
        where=where,
        row_word="row",
        rows=np.arange(2, len(frame) + 2, dtype=np.int64),
        days=days,
        assets=assets,
        asset=asset,
        close=values.pop(_CLOSE),
        bars=values,
        sectors=sectors,
        understood=(understood,),
        accepted=tuple(accepted.split()),
    )
