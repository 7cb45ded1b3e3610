"""Loads prices from their sources: embedded markets, imported ones, files."""

import os
import re
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from study.data.data_config import LONG_HISTORY
from study.data.embedded.arch_file import arch_file
from study.data.embedded.long_history import read_long_history
from study.data.embedded.stocks20 import STOCKS20
from study.data.embedded.synthetic import default_market
from study.data.embedded.synthetic_panel import SYNTHETIC_PANEL
from study.data.prices import Prices, prices_from_table
from study.data.reading.file_cells import is_table_file, plain_name
from study.data.reading.import_notes import ImportNotes
from study.data.reading.read_options import AS_WRITTEN, ReadOptions
from study.data.reading.tables import BarTable, read_table, table_from_frame
from study.errors import DataError, cause, quoted, require

IMPORT_FOLDER = Path("ray_results/data")
"""Folder of the imported markets, unless another one is given."""

SYNTHETIC = "synthetic"
"""Name of the simulated market, whose best possible forecast is known."""

EMBEDDED_SOURCES = ("sp500", "nasdaq", LONG_HISTORY, SYNTHETIC)
"""Names of markets that need no file. The real ones are inside the installed packages ``arch`` and
``great_tables``; their provider is not named, so the files stay there and are not copied."""

EMBEDDED_PANELS = (STOCKS20, SYNTHETIC_PANEL)
"""Names of panels that need no file; no market may have one of them."""

PANEL_FOLDER = "panels"
"""Folder of the imported panels inside that of the imported markets."""

_ORIGINS = {
    SYNTHETIC: "study.data.embedded.synthetic",
    LONG_HISTORY: "great_tables.data.sp500, arch.data.sp500",
}
"""Places that embedded markets are read from, of those that are not in ``arch`` alone."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Pattern of the names of imported markets."""


def load_prices(
    source: str, import_folder: Path = IMPORT_FOLDER, accept: Collection[str] = ()
) -> Prices:
    """Load an embedded market, an imported one by name, or a text or Parquet file by path.

    Args:
        source: name or path of the prices.
        import_folder: folder of the imported markets.
        accept: checks whose refusal is overridden, beside those that the import accepted.

    Raises:
        DataError: there is no such source (the message lists what exists), or its bars break a
            rule.
    """
    if source in EMBEDDED_SOURCES:
        origin = _ORIGINS.get(source, f"arch.data.{source}")
        return prices_from_table(source, read_source(source), origin, accept)
    path = _source_path(source, import_folder)
    return prices_from_table(plain_name(path), read_table(path), str(path), accept)


def read_source(
    source: str, import_folder: Path = IMPORT_FOLDER, options: ReadOptions = AS_WRITTEN
) -> BarTable:
    """Read the bars of a source without checking them, for a report on them.

    Args:
        source: an embedded market, an imported one, or a path.
        import_folder: folder of the imported markets.
        options: how an ambiguous file is read.

    Raises:
        DataError: there is no such source, or it lacks one of the six columns.
    """
    if source in EMBEDDED_SOURCES:
        require(
            options == AS_WRITTEN,
            "check",
            "--symbol, --adjust and --timezone are for files",
            got=f"source={source}",
            remedy="Leave them out.",
            error=DataError,
        )
        return _embedded_table(source)
    return read_table(_source_path(source, import_folder), options)


def import_prices(
    file: Path,
    name: str | None = None,
    folder: Path = IMPORT_FOLDER,
    options: ReadOptions = AS_WRITTEN,
    accept: Collection[str] = (),
) -> Prices:
    """Check a text or Parquet file and keep it as ``<folder>/<name>.parquet``.

    An earlier import of that name is replaced in one step, so that a reader never sees half a file.
    Records hold the fingerprint of the prices, by which the two can be distinguished.

    Args:
        file: the file to import.
        name: name of the market; None takes the file's own name without suffix.
        folder: folder of the imported markets.
        options: how an ambiguous file is read.
        accept: checks whose refusal is overridden; the imported file keeps their names.

    Raises:
        DataError: the file is missing or breaks a rule, the name is not allowed, or the folder
            cannot be written to.
    """
    name = plain_name(file) if name is None else name
    require_name(name)
    require_new_name(name, list_panels(folder), "panel")
    _require_file(file, folder)
    prices = prices_from_table(name, read_table(file, options), str(file), accept)
    notes = ImportNotes(
        understood=prices.understood, accepted=prices.accepted, fingerprint=prices.fingerprint
    )
    write_whole(prices.frame, _imported_path(name, folder), notes)
    return prices


def require_new_name(name: str, others: Collection[str], kind: str) -> None:
    """Refuse to import under the name of what is embedded, or was imported as something else.

    Args:
        name: the name to be given.
        others: names of the imports of the other kind.
        kind: that kind, ``panel`` or ``market``.
    """
    for taken, what in (
        (EMBEDDED_SOURCES, "an embedded market"),
        (EMBEDDED_PANELS, "an embedded panel"),
        (others, f"an imported {kind}"),
    ):
        require(
            name not in taken,
            "import",
            f"the name must not be that of {what}",
            got=f"name={name}",
            remedy="Give another one with --name.",
            error=DataError,
        )


def write_whole(frame: pd.DataFrame, path: Path, notes: ImportNotes) -> None:
    """Write a Parquet file in one step, in place of an earlier one; its folder is made.

    Args:
        frame: the rows to write.
        path: the file.
        notes: the notes that are kept beside them.

    Raises:
        DataError: the file cannot be written; no part of it remains.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
        os.close(handle)
        try:
            kept = frame.copy(deep=False)
            kept.attrs |= notes.as_attributes()
            kept.to_parquet(partial)
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"import: must be able to write {quoted(str(path))}, but got {cause(error)}. Choose "
            "another folder with --import-folder, or a shorter --name."
        ) from error


def list_imported(folder: Path = IMPORT_FOLDER) -> tuple[str, ...]:
    """Return the names of the imported markets, sorted."""
    return tuple(sorted(path.stem for path in folder.glob("*.parquet")))


def list_panels(folder: Path = IMPORT_FOLDER) -> tuple[str, ...]:
    """Return the names of the imported panels, sorted."""
    return list_imported(folder / PANEL_FOLDER)


def _embedded_table(name: str) -> BarTable:
    understood: tuple[str, ...] = ()
    if name == SYNTHETIC:
        frame = default_market().prices.frame
    elif name == LONG_HISTORY:
        frame, note = read_long_history(name)
        understood = (note,)
    else:
        frame = pd.read_csv(arch_file(name), index_col="Date", parse_dates=["Date"])
    return replace(table_from_frame(frame, name), understood=understood)


def _source_path(source: str, import_folder: Path) -> Path:
    require(
        source not in (*EMBEDDED_PANELS, *list_panels(import_folder)),
        "source",
        "must be a market of one asset",
        got=f"source={source}, which is a panel of many",
        remedy="Choose a market, or the task ranking.",
        error=DataError,
    )
    path = source_path(source, import_folder)
    _require_file(path, import_folder, source=source)
    return path


def source_path(source: str, folder: Path) -> Path:
    """Return the file of a source, which is a path or the name of an imported market.

    Raises:
        DataError: it is neither a path nor a name.
    """
    path = Path(source)
    if is_table_file(path) or len(path.parts) > 1:
        return path
    require_name(source)
    return _imported_path(source, folder)


def is_file(path: Path) -> bool:
    """Is there such a file?

    Raises:
        DataError: its name is too long, or its folder may not be read.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise DataError(
            f"source: must be a file that can be read, but got {quoted(str(path))} "
            f"({cause(error)}). Correct the path."
        ) from error


def _imported_path(name: str, folder: Path) -> Path:
    return folder / f"{name}.parquet"


def require_name(name: str) -> None:
    """Refuse a name that an imported series cannot have.

    Raises:
        DataError: it has other characters.
    """
    # With these characters a name cannot lead out of the import folder.
    require(
        _NAME.fullmatch(name) is not None,
        "source",
        "a market's name has only letters, digits, - and _",
        got=f"name={quoted(name)}",
        remedy="Choose such a name (import takes it as --name), or give a .csv or .parquet path.",
        error=DataError,
    )


def _require_file(path: Path, folder: Path, source: str | None = None) -> None:
    if is_file(path):
        return
    is_readable = path.parent.is_dir() and os.access(path.parent, os.R_OK)
    near = sorted(
        file.name
        for file in (path.parent.iterdir() if is_readable else ())
        if is_table_file(file) and path.parent != folder
    )
    exists = [
        f"embedded {', '.join(EMBEDDED_SOURCES)}",
        f"imported {_shown(list_imported(folder))}",
    ]
    if path.parent != folder:
        exists.append(f"files in {path.parent}/ {_shown(near)}")
    raise DataError(
        "source: must be an embedded market, an imported one or a file, but got "
        f"source={source or path}, which is no file ({path}). There are: {'; '.join(exists)}."
    )


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (" ..." if len(names) > 10 else "") if names else "(none)"
