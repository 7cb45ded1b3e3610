"""The one writer of the table of all runs, ``experiment_results.csv``, keyed by run id."""

import csv
import io
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from study.storage.files import append_line, cut_torn_line, write_text
from study.storage.lock import FolderLock

CSV_COLUMNS = (
    # The columns of the study that this one replaces, in its order. data_md5 stays empty (see
    # data_sha256), and so does test_accuracy in a search, which reads no test label.
    "timestamp", "experiment", "phase", "budget", "task", "horizon", "timescale", "script_path",
    "run_type", "status", "duration_seconds", "val_loss", "test_accuracy", "hyperparameters",
    "error_message", "thermal_max_temp", "data_md5", "d_model", "n_layers", "n_heads", "d_ff",
    "param_count",
    # The columns that this study adds. Of these, too, a search leaves those of the test empty.
    "run_id", "trial_number", "source", "reason", "val_loss_se", "difference_to_baseline",
    "difference_se", "best_epoch", "epochs_trained", "skill", "auc",
    "data_sha256", "search_phase", "group", "name", "metric", "objective", "objective_se",
    "test_loss", "test_auc", "search_number",
    # Of a final run; empty where days are cut by shares.
    "fold",
    # Of a panel's runs.
    "rank_ic", "rank_ic_se", "ic", "sharpe_net", "test_rank_ic",
)  # fmt: skip

_HEADER = ",".join(CSV_COLUMNS)

_KEY = "run_id"

_WAIT_SECONDS = 60.0
"""Seconds to wait for another cell that writes its lines to the table, which takes milliseconds."""

Row = Mapping[str, object]
"""Values of a run by column; a column that it lacks is empty."""


def table_text(rows: Sequence[Row]) -> str:
    """Return a table of these rows alone."""
    return "".join(f"{line}\n" for line in (_HEADER, *map(_line, rows)))


def add_rows(path: Path, runs: Sequence[str], row: Callable[[int], Row]) -> None:
    """Append the runs that are not in the table; a damaged table is moved aside first.

    Args:
        path: of the table.
        runs: their ids.
        row: returns the values of a run by its place in ``runs``; most are in the table already.
    """
    with FolderLock(path.parent, wait_seconds=_WAIT_SECONDS):
        logged = _prepare(path)
        new = [_line(row(place)) for place, run in enumerate(runs) if run not in logged]
        if new:
            append_line(path, "\n".join(new))


def replace_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows at the end of the table, without those that it has of the same runs."""
    with FolderLock(path.parent, wait_seconds=_WAIT_SECONDS):
        _prepare(path)
        given = {row[_KEY] for row in rows}
        kept = [row for row in _read(path) if row[_KEY] not in given]
        write_text(path, table_text([*kept, *rows]))


def _prepare(path: Path) -> Collection[object]:
    """Make a table that rows can be appended to, and return the ids of the runs in it."""
    if path.exists():
        cut_torn_line(path)
    logged = _run_ids(path)
    if logged is None:
        # It is kept under another name; the rows of the cell that asks are written again.
        path.rename(path.with_name(f"damaged-{time.time_ns()}.csv"))
    if not path.exists():
        append_line(path, _HEADER)
    return logged or ()


def _run_ids(path: Path) -> set[str] | None:
    """Bring the header of an earlier version up to date, and return the ids of the runs.

    Returns: None if the table is damaged.
    """
    if not path.exists():
        return set()
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            header = tuple(next(csv.reader(file), ()))
        if _KEY in header and header == CSV_COLUMNS[: len(header)]:
            if header != CSV_COLUMNS:
                _, _, body = path.read_text(encoding="utf-8", errors="replace").partition("\n")
                write_text(path, f"{_HEADER}\n{body}")
            place = header.index(_KEY)
            with path.open(encoding="utf-8", errors="replace", newline="") as file:
                rows = (row for row in csv.reader(file) if len(row) > place and row[place])
                return {row[place] for row in rows} - {_KEY}
    except csv.Error:
        # One cause is a field of more than 131,072 characters, which no cell writes.
        pass
    return None


def _read(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        yield from csv.DictReader(file)


def _line(row: Row) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([row.get(column) for column in CSV_COLUMNS])
    return buffer.getvalue().replace("\n", " ")
