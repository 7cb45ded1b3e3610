"""The folder of a search: created atomically, resumed unchanged, used by one process at a time."""

import dataclasses
import re
import secrets
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.data.cell_data import CellData
from study.errors import StudyError, require
from study.results.journal import Journal
from study.results.provenance import versions
from study.results.store import CellIdentity, read_cell, read_trials, write_cell
from study.search.beyond import Widening, widened_part
from study.search.ledger import Ledger
from study.spec.dimension import Fixed
from study.spec.specification import Cell
from study.storage.driver_status import has_final_runs
from study.storage.files import sync_folder, temporary_path
from study.storage.layout import CELL_FILE, JOURNAL_FILES, LOCK_FILE, STOP_FILE
from study.storage.lock import FolderLock, LockError, is_left_by_a_process, is_own_folder
from study.storage.place import Place

_ID_BYTES = 4
"""Number of random bytes in the name of a search: 32 bits, so that names do not repeat."""

_MADE = (LOCK_FILE, *JOURNAL_FILES, CELL_FILE)
"""Names of the files of a search that has just begun, in the order in which they are written."""


@dataclass(frozen=True, slots=True)
class CellFolder:
    """A locked folder with its journal."""

    place: Place
    journal: Journal
    lock: FolderLock
    continued: Cell | None = None
    """The cell of a resumed search with its present number of trials; None for a new search."""

    @property
    def path(self) -> Path:
        """The folder on this disk."""
        return self.place.path

    @property
    def stop_file(self) -> Path:
        """The file by which workers are asked to end gracefully."""
        return self.path / STOP_FILE


def identity(cell: Cell, data: CellData, place: Path | str) -> dict[str, Any]:
    """Return what must be equal for a search to be resumed; ``place`` is a folder or a URI."""
    return {
        "spec": cell.resolved(),
        "data_sha256": data.fingerprint,
        "feature_hash": data.feature_hash,
        "versions": versions(),
        # Otherwise a copy of the folder could be resumed beside the original as the same search.
        "folder": str(place),
    }


def as_begun(cell: Cell, before: Mapping[str, Any]) -> Cell:
    """Return a cell with the trials and epochs that its search was begun with, if it asks for more.

    Args:
        cell: the cell as it is asked for now.
        before: the description of the search in ``cell.yaml``.
    """
    spec = before.get("spec")
    if not isinstance(spec, Mapping):
        return cell
    begun, epochs = spec.get("search"), begun_epochs(before)
    if epochs is not None and epochs < (epochs_of(cell) or 0):
        cell = _with_epochs(cell, epochs)
    if not isinstance(begun, Mapping):
        return cell
    cell = dataclasses.replace(cell, search=cell.search.switched_as(begun))
    trials, startup = begun.get("trials"), begun.get("startup_trials")
    if not isinstance(trials, int) or cell.search.trials <= trials:
        return cell
    cell = _with_search(cell, trials=trials)
    # In a second phase the random trials at the start follow from the number of trials.
    is_derived = cell.phase == 2 and isinstance(startup, int)
    return _with_search(cell, startup_trials=startup) if is_derived else cell


def continued(journal: Journal, cell: Cell, path: Path) -> Cell:
    """Return a cell with the settings its search was begun with, and its present trials and epochs.

    Neither number falls: it is the greatest of those with which the search was begun, was extended
    since, and is asked for now. It goes beyond edges if it was begun so, unless a flag says
    otherwise; never once its winner's final runs may have opened the test days.

    Args:
        journal: the search's, not replayed yet.
        cell: the cell as it is asked for now.
        path: the folder of the search.
    """
    begun: int = journal.first["cell"]["spec"]["search"]["trials"]
    extended, lengthened = journal.latest("extended"), journal.latest("lengthened")
    asked: int = begun if extended is None else extended["trials"]
    own = as_begun(cell, journal.first["cell"])
    epochs = max(epochs_of(cell) or 0, 0 if lengthened is None else lengthened["epochs"])
    if epochs > (epochs_of(own) or epochs):
        own = _with_epochs(own, epochs)
    ruling = cell if cell.is_beyond_asked else own
    goes_beyond = ruling.search.beyond_edges and not has_final_runs(path)
    own = _with_search(own, trials=max(asked, cell.search.trials), beyond_edges=goes_beyond)
    passed = len(list(journal.every("widened")))
    return dataclasses.replace(own, n_begun=begun, n_passed=passed) if goes_beyond else own


def epochs_of(cell: Cell) -> int | None:
    """Return the length of every schedule of a cell; None if the length is searched."""
    dimension = cell.train.get("epochs")
    return int(str(dimension.value)) if isinstance(dimension, Fixed) else None


def begun_epochs(before: Mapping[str, Any]) -> int | None:
    """Return the length of the schedules that a search was begun with; None if it is searched.

    Args:
        before: the description of the search in ``cell.yaml``.
    """
    spec = before.get("spec")
    train = spec.get("train") if isinstance(spec, Mapping) else None
    epochs = train.get("epochs") if isinstance(train, Mapping) else None
    return epochs if isinstance(epochs, int) else None


def _with_epochs(cell: Cell, epochs: int) -> Cell:
    return dataclasses.replace(cell, train={**cell.train, "epochs": Fixed(epochs)})


def _with_search(cell: Cell, **changes: Any) -> Cell:
    return dataclasses.replace(cell, search=dataclasses.replace(cell.search, **changes))


def identity_in_records(cell: Cell, fingerprint: str) -> CellIdentity:
    """Return the part of every record that names its cell.

    Args:
        cell: what is searched or trained.
        fingerprint: sha256 of its prices.
    """
    return CellIdentity(
        name=cell.name,
        study=cell.study,
        budget=cell.budget_label,
        metric=cell.search.metric,
        phase=cell.phase,
        horizon=cell.data.horizon,
        task=cell.data.task,
        data_sha256=fingerprint,
        versions=versions(),
        search_number=cell.search_number,
    )


def differences_by_part(
    before: Mapping[str, Any], cell: Cell, data: CellData, place: Path | str
) -> dict[str, list[str]]:
    """Return, for each part of ``identity``, a line per value that differs from the beginning.

    More trials or epochs are no difference: a search may be extended at any time.
    """
    return {
        part: _differences(before.get(part), now, part)
        for part, now in identity(as_begun(cell, before), data, place).items()
    }


def read_folder(path: Path) -> Journal:
    """Return the journal of a search without locking or changing anything.

    Raises:
        StudyError: no journal there can be trusted.
    """
    return Journal.read(path, witness=_search_in_cell_file(path))


def create(place: Place, description: dict[str, Any]) -> CellFolder:
    """Make the folder of a new search: after a crash it is complete, or does not exist.

    Args:
        place: where the cell is kept; there must be no folder of it yet.
        description: the content of ``cell.yaml``.

    Raises:
        StudyError: it cannot be made, or another process has just made it.
    """
    path, search = place.path, secrets.token_hex(_ID_BYTES)
    # Readers that look for cells skip names that begin with a dot.
    new = path.with_name(f".{path.name}.{search}")
    _remove_half_made(path)
    lock, is_made = None, False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.mkdir()
        is_made = True
        lock = FolderLock(new)
        first = {"kind": "created", "time": time.time(), "cell": description}
        journal = Journal.create(new, search, first)
        write_cell(new, {"search": search, **description})
        new.rename(path)
        sync_folder(path.parent)
    except BaseException as error:
        if is_made:
            _remove_made(new)
        if lock is not None:
            lock.release()
        if not isinstance(error, OSError):
            raise
        raise StudyError(
            f"{path}: must be a folder that can be made now, but got {error.strerror}. Choose "
            "another --storage; if another process has just begun this search, wait for it."
        ) from error
    journal = Journal(path, search, journal.replay())
    with _released_on_error(lock), place.with_cause():
        require(
            place.published_journal() is None,
            place.identity,
            "a cell is searched once",
            got="one that another process has just begun",
            remedy=f"Move {path} away, and go on with --resume.",
            error=StudyError,
        )
        _publish(journal, place)
    return CellFolder(place, journal, lock)


def _remove_half_made(path: Path) -> None:
    """Delete the folders that killed processes had begun to make for a cell.

    A user may have put a search aside under such a name. A folder is therefore deleted only if it
    holds nothing but the files of ``create``, belongs to the search in its name, has no trial, and
    was made by a process of this user on this machine that no longer runs.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.([0-9a-f]{{{2 * _ID_BYTES}}})")
    for folder in path.parent.iterdir() if path.parent.is_dir() else ():
        found = name.fullmatch(folder.name)
        # Another process may delete it first.
        with suppress(FileNotFoundError, PermissionError, LockError):
            if found is not None and _is_half_made(folder, found[1]):
                with FolderLock(folder):
                    _remove_made(folder)


def _is_half_made(folder: Path, search: str) -> bool:
    if not is_own_folder(folder) or not is_left_by_a_process(folder):
        return False
    files = {each.name: each.lstat() for each in folder.iterdir()}
    allowed = {*_MADE, *(temporary_path(folder / name).name for name in _MADE)}
    return (
        files.keys() <= allowed
        and all(stat.S_ISREG(found.st_mode) for found in files.values())
        and (CELL_FILE not in files or set(JOURNAL_FILES) <= files.keys())
        and all(
            Journal.has_just_begun(folder / name, search) for name in JOURNAL_FILES if name in files
        )
    )


def _remove_made(folder: Path) -> None:
    """Remove a folder that ``create`` has begun to make, unless it holds any other file."""
    # The lock names the owner, so it is removed last.
    for name in reversed(_MADE):
        (folder / name).unlink(missing_ok=True)
        temporary_path(folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def reopen(place: Place, cell: Cell, data: CellData) -> CellFolder:
    """Lock the folder of a search and read its journal; damage is repaired or refused.

    Args:
        place: where the cell is kept, claimed.
        cell: what is searched.
        data: its data set.

    Raises:
        StudyError: another process works in it, it was begun differently, or something is lost.
    """
    path = place.path
    place.make_folder()
    lock = FolderLock(path)
    with _released_on_error(lock), place.with_cause():
        published = place.published_journal()
        if published is not None and Journal.adopt(path, published.decode(errors="replace")):
            place.pull_views()
        witness = _search_in_cell_file(path)
        journal = Journal.open(path, witness=witness)
        before = journal.first["cell"]
        for differences in differences_by_part(before, cell, data, place.identity).values():
            require(
                not differences,
                str(path),
                "can only be resumed as it was started",
                got="; ".join(differences),
                remedy="Start with the same file, flags, data and versions, or start a new search "
                f"that knows the old results: --fresh --import-trials {path}",
                error=StudyError,
            )
        going_on = continued(journal, cell, path)
        _require_no_less(cell, going_on, before, path)
        widenings = [Widening.from_event(event) for event in journal.every("widened")]
        write_description(path, journal, going_on, widenings)
        _publish(journal, place)
        _remove_stop_file(path)
    return CellFolder(place, journal, lock, going_on)


def _require_no_less(cell: Cell, going_on: Cell, before: Mapping[str, Any], path: Path) -> None:
    """Refuse fewer trials or epochs than a search has been asked for since it was begun.

    The first command, repeated, resumes an extended search without taking anything back.
    """
    trials, epochs = going_on.search.trials, epochs_of(going_on)
    require(
        cell.search.trials in (trials, before["spec"]["search"]["trials"]),
        str(path),
        f"has been asked for {trials} trials, and can be asked for more",
        got=f"--trials {cell.search.trials}",
        remedy=f"Give --trials {trials} or more, or leave it out.",
        error=StudyError,
    )
    require(
        epochs_of(cell) in (epochs, begun_epochs(before)),
        str(path),
        f"has been asked for schedules of {epochs} epochs, and can be asked for longer ones",
        got=f"--max-epochs {epochs_of(cell)}",
        remedy=f"Give --max-epochs {epochs} or more, or leave it out.",
        error=StudyError,
    )


def write_description(
    path: Path, journal: Journal, going_on: Cell, widenings: Sequence[Widening]
) -> None:
    """Write ``cell.yaml`` of a search that was begun, unless it holds the same already."""
    before = journal.first["cell"]
    more = {**_raised(going_on, before), **widened_part(widenings, going_on.search.trials)}
    now = {"search": journal.search, **before, **more}
    if _cell_file(path) != now:
        write_cell(path, now)


def _raised(going_on: Cell, before: Mapping[str, Any]) -> dict[str, int]:
    """Return the numbers that a search has been asked for since it was begun.

    The specification in ``cell.yaml`` stays the one that the search was begun with.
    """
    raised: dict[str, int] = {}
    if going_on.search.trials != before["spec"]["search"]["trials"]:
        raised["trials"] = going_on.search.trials
    epochs = epochs_of(going_on)
    if epochs is not None and epochs != begun_epochs(before):
        raised["epochs"] = epochs
    return raised


def _remove_stop_file(path: Path) -> None:
    file = path / STOP_FILE
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise StudyError(
            f"{file}: must be a file that can be removed, for trials pause while it is there, but "
            f"got {error.strerror}. Move it away."
        ) from error


def _publish(journal: Journal, place: Place) -> None:
    """Let the place copy every later change of the journal."""
    place.publish(place.path / JOURNAL_FILES[0])
    journal.publish = place.publish


@contextmanager
def _released_on_error(lock: FolderLock) -> Iterator[None]:
    """Release a lock if what follows fails."""
    try:
        yield
    except BaseException:
        lock.release()
        raise


def require_nothing_lost(path: Path, ledger: Ledger, search: str) -> None:
    """Refuse a journal that lacks trials which the records contain.

    Records are written after the journal, so both of its copies must have been truncated.

    Raises:
        StudyError: a trial has a record and no end in the journal.
    """
    try:
        recorded = [r for r in read_trials(path) if r.trial_id.startswith(f"{search}-")]
    except StudyError:
        # Damaged records are no evidence; they are rebuilt from the journal.
        return
    known = {*(record.number for record in ledger.records), *ledger.reopened()}
    lost = [record.number for record in recorded if record.number not in known]
    require(
        not lost,
        str(path),
        "both copies of the journal must be as new as all_trials.json",
        got=f"journals without the ends of trials {', '.join(map(str, lost))}",
        remedy=f"Start a new search that knows the old results: --fresh --import-trials {path}",
        error=StudyError,
    )


def _cell_file(path: Path) -> dict[str, Any]:
    try:
        return read_cell(path)
    except StudyError:
        # A damaged cell.yaml is no evidence; it is rebuilt from the journal.
        return {}


def _search_in_cell_file(path: Path) -> str | None:
    """Return the search that ``cell.yaml`` names; None if the name is missing or truncated."""
    named = str(_cell_file(path).get("search"))
    return named if len(named) == 2 * _ID_BYTES else None


def _differences(before: object, now: object, where: str) -> list[str]:
    """Return one line per leaf that differs between two plain values."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            line
            for key in {**before, **now}
            for line in _differences(before.get(key), now.get(key), f"{where}.{key}")
        ]
    before, now = _as_list(before), _as_list(now)
    return [] if before == now else [f"{where} was {before!r} and is {now!r}"]


def _as_list(value: object) -> object:
    # Tuples become lists on their way through JSON.
    return [_as_list(each) for each in value] if isinstance(value, list | tuple) else value
