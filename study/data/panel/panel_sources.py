"""Loads panels from their sources: embedded ones, imported ones, files."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from study.data.checks.check_result import CheckResult
from study.data.checks.panel_checks import check_grid, check_panel
from study.data.checks.panel_series_checks import PanelGrid
from study.data.checks.price_checks import require_clean
from study.data.embedded.stocks20 import (
    ACCEPTED,
    DECIMALS,
    STOCKS20,
    SURVIVORS,
    read_stocks20,
    sectors_of_stocks20,
)
from study.data.embedded.synthetic_panel import default_panel
from study.data.panel.panel import Panel, panel_fingerprint
from study.data.panel_files.kept_panel import keep_panel, kept_table
from study.data.panel_files.panel_table import PanelTable, read_panel_table, table_of_cells
from study.data.panel_files.sectors import read_sectors
from study.data.reading.file_cells import (
    PARQUET_SUFFIXES,
    cells_of_frame,
    is_table_file,
    plain_name,
)
from study.data.reading.import_notes import understood_line
from study.data.reading.parquet_file import read_frame
from study.data.sources import (
    EMBEDDED_PANELS,
    EMBEDDED_SOURCES,
    IMPORT_FOLDER,
    PANEL_FOLDER,
    is_file,
    list_imported,
    list_panels,
    require_name,
    require_new_name,
    source_path,
)
from study.errors import DataError, quoted, require

PANEL_SOURCES = EMBEDDED_PANELS
"""Names of panels that need no file."""

_CLOSE = "Close"


@dataclass(frozen=True, kw_only=True, slots=True)
class ExaminedPanel:
    """A panel as its source has it, and what the checks found."""

    where: str
    understood: str
    """How the file was read, one line; empty for embedded panels."""
    results: tuple[CheckResult, ...]
    panel: Panel | None
    """The panel, without the warnings of the checks; None where its prices make none."""

    def checked(self) -> Panel:
        """Return the panel, and as its warnings what is odd or was accepted.

        Raises:
            DataError: a check refuses it.
        """
        warnings = require_clean(self.results)
        assert self.panel is not None
        return replace(self.panel, warnings=(*self.panel.warnings, *warnings))


def load_panel(
    source: str, import_folder: Path = IMPORT_FOLDER, accept: Collection[str] = ()
) -> Panel:
    """Load an embedded panel, an imported one by name, or a text or Parquet file by path.

    Args:
        source: name or path of the panel.
        import_folder: folder of the imported markets, whose folder ``panels`` has the panels.
        accept: checks whose refusal is overridden, beside those that the import accepted.

    Raises:
        DataError: there is no such source (the message lists what exists), or its prices break a
            rule.
    """
    return examine_panel(source, import_folder, accept).checked()


def is_panel_source(source: str, import_folder: Path = IMPORT_FOLDER) -> bool:
    """Is a source the name of a panel, an embedded or an imported one? A path does not say."""
    return source in (*PANEL_SOURCES, *list_panels(import_folder))


def examine_panel(
    source: str,
    import_folder: Path = IMPORT_FOLDER,
    accept: Collection[str] = (),
    *,
    sectors: Path | None = None,
    timezone: str | None = None,
) -> ExaminedPanel:
    """Read a panel and check it, without refusing it; see ``load_panel``.

    Args:
        source: name or path of the panel.
        import_folder: folder of the imported markets.
        accept: checks whose refusal is overridden.
        sectors: file of the sector of each asset, of a file; None takes those that it has.
        timezone: zone whose days the rows of a file belong to.

    Raises:
        DataError: there is no such source, or it cannot be read.
    """
    if source in PANEL_SOURCES:
        require(
            sectors is None and timezone is None,
            source,
            "--sectors and --timezone are for files",
            got=f"source={source}",
            remedy="Leave them out.",
            error=DataError,
        )
        return _embedded(source, accept)
    path = _panel_path(source, import_folder)
    table = _table(path, timezone)
    checked = check_panel(table, accept)
    understood, panel = understood_line(table.understood), None
    if checked.grid is not None:
        by_asset = table.sectors
        if sectors is not None:
            by_asset = read_sectors(sectors, checked.grid.assets)
        panel = _panel(plain_name(path), checked.grid, by_asset, understood)
    return ExaminedPanel(
        where=table.where, understood=understood, results=checked.results, panel=panel
    )


def import_panel(
    file: Path,
    name: str | None = None,
    folder: Path = IMPORT_FOLDER,
    accept: Collection[str] = (),
    *,
    sectors: Path | None = None,
    timezone: str | None = None,
) -> Panel:
    """Check a file of a panel and keep it as ``<folder>/panels/<name>.parquet``.

    An earlier import of that name is replaced in one step.

    Args:
        file: the file to import.
        name: name of the panel; None takes the file's own name without suffix.
        folder: folder of the imported markets.
        accept: checks whose refusal is overridden; the imported file keeps their names.
        sectors: file of the sector of each asset; None takes those that the file has.
        timezone: zone whose days the rows belong to.

    Raises:
        DataError: the file is missing or breaks a rule, the name is not allowed, or the folder
            cannot be written to.
    """
    name = plain_name(file) if name is None else name
    require_name(name)
    require_new_name(name, list_imported(folder), "market")
    require(
        is_table_file(file) and is_file(file),
        "import",
        "must be a file .csv, .txt, .tsv (or one of these .gz), .parquet or .pq",
        got=quoted(str(file)),
        remedy="Correct the path.",
        error=DataError,
    )
    examined = examine_panel(str(file), folder, accept, sectors=sectors, timezone=timezone)
    panel = replace(examined.checked(), name=name)
    accepted = tuple(each.name for each in examined.results if each.status == "accepted")
    keep_panel(panel, folder / PANEL_FOLDER / f"{name}.parquet", accepted)
    return panel


def _embedded(source: str, accept: Collection[str]) -> ExaminedPanel:
    if source == STOCKS20:
        panel, accept = _stocks20(), {*accept, *ACCEPTED}
    else:
        panel = default_panel().panel
    grid = PanelGrid(
        where=source, dates=panel.dates, assets=panel.assets, close=panel.close, bars=panel.bars
    )
    results = check_grid(grid, accept)
    return ExaminedPanel(where=source, understood="", results=results, panel=panel)


def _stocks20() -> Panel:
    frame = read_stocks20()
    assets = tuple(sorted(frame.columns))
    close = frame[list(assets)].to_numpy(dtype=np.float64)
    grid = PanelGrid(
        where=STOCKS20,
        dates=frame.index.to_numpy().astype("datetime64[D]"),
        assets=assets,
        close=close,
        bars={},
    )
    panel = _panel(STOCKS20, grid, sectors_of_stocks20(), "")
    least = int(np.argmin(close.min(axis=0)))
    step = 10.0**-DECIMALS
    coarse = (
        f"{STOCKS20}: closes have {DECIMALS} decimals, and adjusted ones are small in early years: "
        f"the least is {close[:, least].min():g} ({assets[least]}), where a step is "
        f"{step / close[:, least].min():.1%}"
    )
    return replace(panel, warnings=(SURVIVORS, coarse))


def _panel(
    name: str, grid: PanelGrid, by_asset: Mapping[str, str] | None, understood: str
) -> Panel:
    sectors = None if by_asset is None else tuple(by_asset[asset] for asset in grid.assets)
    prices = {_CLOSE: grid.close, **grid.bars}
    return Panel(
        name=name,
        dates=grid.dates,
        assets=grid.assets,
        close=grid.close,
        bars=grid.bars,
        sectors=sectors,
        understood=understood,
        fingerprint=panel_fingerprint(grid.dates, grid.assets, prices, sectors),
    )


def _panel_path(source: str, folder: Path) -> Path:
    require(
        source not in (*EMBEDDED_SOURCES, *list_imported(folder)),
        "source",
        "must be a panel of many assets",
        got=f"source={source}, which is a market of one",
        remedy=f"There are: embedded {', '.join(PANEL_SOURCES)}; imported "
        f"{', '.join(list_panels(folder)) or '(none)'}.",
        error=DataError,
    )
    path = source_path(source, folder / PANEL_FOLDER)
    require(
        is_file(path),
        "source",
        "must be an embedded panel, an imported one or a file",
        got=f"source={source}, which is no file ({path})",
        remedy=f"There are: embedded {', '.join(PANEL_SOURCES)}; imported "
        f"{', '.join(list_panels(folder)) or '(none)'}.",
        error=DataError,
    )
    return path


def _table(path: Path, timezone: str | None) -> PanelTable:
    if path.suffix.lower() not in PARQUET_SUFFIXES:
        return read_panel_table(path, timezone)
    frame = read_frame(path)
    kept = kept_table(frame, path.name)
    return kept or table_of_cells(cells_of_frame(frame, path.name), timezone)
