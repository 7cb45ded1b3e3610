"""The place of a cell: a folder on a disk, alone or with a store that follows it."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from study.errors import StudyError
from study.storage.layout import (
    ALIVE_FILE,
    CHECKPOINTS_FOLDER,
    JOURNAL_FILES,
    LEASE_FILE,
    LOCK_FILE,
    STATUS_FILE,
    STOP_FILE,
    TABLE_FILE,
)
from study.storage.lease import Lease, WorkerStore
from study.storage.mirror import Mirror

SIGN_SECONDS = 10.0
"""Seconds between two signs of life of a trial in a store, where each is a request."""


class Place(ABC):
    """The place of a cell; whoever works in its folder lets the place know what has changed there.

    Args:
        path: the cell's folder on this disk.
    """

    sign_seconds: float
    """Seconds for which a sign of life need not be asked for again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def identity(self) -> str:
        """What tells the cell from a copy of it: an absolute path, or a URI."""

    @property
    @abstractmethod
    def checkpoint_disk(self) -> Path:
        """A folder on the disk to which running trials write."""

    @property
    @abstractmethod
    def for_workers(self) -> WorkerStore | None:
        """What workers must know to use the store; None if they share the folder."""

    @abstractmethod
    def describe(self) -> str:
        """Name every part of the place, for messages."""

    @abstractmethod
    def describe_search(self, *, is_there: bool) -> str:
        """Say whether a search is there, in the words that fit the place."""

    @abstractmethod
    def note(self, working_copy: Path) -> str | None:
        """Say where a search will be kept, if the folder alone does not say it."""

    @abstractmethod
    def has_search(self) -> bool:
        """Is a search there?

        Raises:
            StudyError: the place cannot be asked.
        """

    @abstractmethod
    def claim(self) -> AbstractContextManager[None]:
        """Exclude whoever the lock of the folder does not, until the end of the block.

        Raises:
            LockError: another process is at work there.
            StudyError: the place cannot be used.
        """

    @abstractmethod
    def move_objects_aside(self, stamp: str) -> str | None:
        """Move what is kept of an earlier search besides its folder.

        Args:
            stamp: makes the new place unique.

        Returns: the new place, or None if there was nothing to move.
        """

    @abstractmethod
    def make_folder(self) -> None:
        """Make the folder of a search that is resumed, if it may be absent here."""

    @abstractmethod
    def published_journal(self) -> bytes | None:
        """Return the journal that others may have written meanwhile; None if nobody can have."""

    @abstractmethod
    def pull_views(self) -> None:
        """Bring the records and the best weights here, but not what only a running search needs."""

    @abstractmethod
    def publish(self, journal: Path) -> None:
        """Keep a journal that has changed; an event has happened once this returns.

        Raises:
            OSError: it cannot be kept, or another process has taken over.
        """

    @abstractmethod
    def with_cause(self) -> AbstractContextManager[None]:
        """Turn an error of the place into one line, if its own words would not say where it is."""

    @abstractmethod
    def push_views(self, table: Callable[[], str]) -> None:
        """Keep every record that has changed, but not the checkpoints, which are the workers'.

        Args:
            table: returns the rows of this cell's trials: the table of all cells has many writers,
                who cannot exclude each other in a store.

        Raises:
            OSError: a record cannot be written.
        """

    @abstractmethod
    def push_trial(self, folder: str, *, is_replaceable: Callable[[str], bool]) -> None:
        """Keep the folder of a trial that has ended as it is here.

        Args:
            folder: the trial's, from the cell's.
            is_replaceable: says of a file's name whether the file goes elsewhere too if it is not
                here any more.
        """

    @abstractmethod
    def fetch_from_worker(
        self, below: str, *, forget: Callable[[], None], only: Callable[[str], bool]
    ) -> None:
        """Bring here what a worker has written into a folder, if it wrote elsewhere.

        Args:
            below: the folder, from the cell's.
            forget: removes what is in it here.
            only: says of a file's name, from the cell's folder, whether it is wanted.
        """

    @abstractmethod
    def last_sign(self, folder: str) -> int | None:
        """Return when a trial last showed that it lives, in nanoseconds; 0 if it never has.

        None means that the place does not answer, from which nothing follows about the trial.

        Args:
            folder: the trial's, from the cell's.
        """


class LocalPlace(Place):
    """A folder on a disk that the workers share: what is written there is kept."""

    sign_seconds = 0.0

    @property
    def identity(self) -> str:
        """The folder's path."""
        return str(self.path)

    @property
    def checkpoint_disk(self) -> Path:
        """The results folder, which may be there when the cell's is not."""
        return self.path.parent

    @property
    def for_workers(self) -> WorkerStore | None:
        """Nothing: workers find the folder."""
        return None

    def describe(self) -> str:
        """Return the folder's path."""
        return str(self.path)

    def describe_search(self, *, is_there: bool) -> str:
        """Say whether there is a folder."""
        return "an existing folder" if is_there else "no such folder"

    def note(self, working_copy: Path) -> str | None:
        """Return None: the folder is all there is."""
        return None

    def has_search(self) -> bool:
        """Is there a folder?"""
        return self.path.exists()

    def claim(self) -> AbstractContextManager[None]:
        """Do nothing, because the folder's lock excludes everybody."""
        return nullcontext()

    def move_objects_aside(self, stamp: str) -> str | None:
        """Return None: nothing is kept besides the folder."""
        return None

    def make_folder(self) -> None:
        """Do nothing: a search that is resumed has its folder."""

    def published_journal(self) -> bytes | None:
        """Return None: nobody else can have written to the folder."""
        return None

    def pull_views(self) -> None:
        """Do nothing: the records are here."""

    def publish(self, journal: Path) -> None:
        """Do nothing: the journal is on the disk."""

    def with_cause(self) -> AbstractContextManager[None]:
        """Leave errors as they are: those of a disk name the file."""
        return nullcontext()

    def push_views(self, table: Callable[[], str]) -> None:
        """Do nothing: the records are on the disk."""

    def push_trial(self, folder: str, *, is_replaceable: Callable[[str], bool]) -> None:
        """Do nothing: the trial's folder is on the disk."""

    def fetch_from_worker(
        self, below: str, *, forget: Callable[[], None], only: Callable[[str], bool]
    ) -> None:
        """Do nothing: the worker has written here."""

    def last_sign(self, folder: str) -> int:
        """Return the time of change of the lock that the worker holds.

        Raises:
            OSError: the disk does not answer.
        """
        try:
            return (self.path / folder / LOCK_FILE).stat().st_mtime_ns
        except FileNotFoundError:
            # The worker has not begun.
            return 0


class StoredPlace(Place):
    """The objects of a cell in a store; its folder on this disk is a working copy.

    Args:
        storage: URI of the store, as ``Mirror`` reads it.
        path: the working copy; need not exist.
        sign_seconds: seconds for which a sign of life is not asked for again.

    Raises:
        StudyError: the URI is not one, or the bucket's region cannot be found.
    """

    def __init__(self, storage: str, path: Path, *, sign_seconds: float = SIGN_SECONDS) -> None:
        super().__init__(path)
        self.sign_seconds = sign_seconds
        self.mirror = Mirror(storage, path.name, path)
        self._lease: Lease | None = None

    @property
    def identity(self) -> str:
        """The URI of the cell: a working copy may be anywhere."""
        return self.mirror.uri

    @property
    def checkpoint_disk(self) -> Path:
        """The folder for temporary files, into which workers write before they push."""
        return Path(tempfile.gettempdir())

    @property
    def for_workers(self) -> WorkerStore:
        """The store, and for whom workers work there."""
        return self._claimed.for_workers

    @property
    def _claimed(self) -> Lease:
        assert self._lease is not None, "a store is worked in after it was claimed"
        return self._lease

    def describe(self) -> str:
        """Name the working copy and the cell in the store."""
        return f"{self.path} or {self.mirror.uri}"

    def describe_search(self, *, is_there: bool) -> str:
        """Say whether there is a search, in either of the two."""
        return "an existing one" if is_there else "none"

    def note(self, working_copy: Path) -> str:
        """Name the store, and the working copy as it is seen from where the user stands."""
        return f"  store   {self.mirror.uri}, working copy in {working_copy}"

    def has_search(self) -> bool:
        """Is there a journal in the store, or a working copy?

        Raises:
            StudyError: there is no such bucket, or it cannot be reached, or lets nobody in.
        """
        return self.mirror.is_usable_with(JOURNAL_FILES[0]) or self.path.exists()

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the lease on the cell until the end of the block."""
        try:
            lease = Lease(self.mirror, self.path / STOP_FILE)
        except OSError as error:
            raise self._unusable(error) from error
        with lease:
            self._lease = lease
            yield

    def move_objects_aside(self, stamp: str) -> str | None:
        """Move the cell's objects to a place of their own in the store."""
        try:
            return self.mirror.move_aside(stamp, last=JOURNAL_FILES[0], skip=(LEASE_FILE,))
        except OSError as error:
            raise self._unusable(error) from error

    def make_folder(self) -> None:
        """Make the working copy, which another machine may have."""
        self.path.mkdir(parents=True, exist_ok=True)

    def published_journal(self) -> bytes | None:
        """Return the journal in the store; None if there is none."""
        return self.mirror.read(JOURNAL_FILES[0])

    def pull_views(self) -> None:
        """Make files of the records and of the best weights."""
        self.mirror.pull(only=_is_view)

    def publish(self, journal: Path) -> None:
        """Write the journal to the store, unless another process has taken over."""
        self._claimed.publish(journal)

    @contextmanager
    def with_cause(self) -> Iterator[None]:
        """Turn an error of the store into one that names the remedy.

        Raises:
            StudyError: the store cannot be used.
        """
        try:
            yield
        except OSError as error:
            raise StudyError(
                f"{self.mirror.uri}: must be a store that can be used now, but got "
                f"{error.strerror or error}. Go on with --resume when it can."
            ) from error

    def push_views(self, table: Callable[[], str]) -> None:
        """Write the records that have changed, and this cell's rows as a table of its own."""
        self.mirror.push(
            skip=(*JOURNAL_FILES, LOCK_FILE, STATUS_FILE, STOP_FILE, CHECKPOINTS_FOLDER)
        )
        self.mirror.write(TABLE_FILE, table().encode())

    def push_trial(self, folder: str, *, is_replaceable: Callable[[str], bool]) -> None:
        """Write a trial's files to the store, and delete what is not here any more."""
        self.mirror.push(folder)
        self.mirror.drop_missing(folder, only=is_replaceable)

    def fetch_from_worker(
        self, below: str, *, forget: Callable[[], None], only: Callable[[str], bool]
    ) -> None:
        """Replace what is here by what the worker has pushed."""
        forget()
        self.mirror.pull(below, only=only)

    def last_sign(self, folder: str) -> int | None:
        """Return when the worker last wrote its sign of life, by the store's clock."""
        try:
            return self.mirror.changed_ns(f"{folder}/{ALIVE_FILE}")
        except OSError:
            return None

    def _unusable(self, error: OSError) -> StudyError:
        return StudyError(
            f"{self.mirror.uri}: must be a place that can be read and written, but got "
            f"{error.strerror or error}. Check the AWS_ variables and what they permit."
        )


def place_of(storage: str | None, path: Path) -> Place:
    """Return where a cell is kept.

    Args:
        storage: URI of a store that is kept in step with the folder; None without one.
        path: the cell's folder.

    Raises:
        StudyError: the URI is not one, or the bucket's region cannot be found.
    """
    return LocalPlace(path) if storage is None else StoredPlace(storage, path)


def _is_view(name: str) -> bool:
    """Is an object a record or the best weights, and not what only a running search needs?"""
    is_state = f"/{CHECKPOINTS_FOLDER}/state_" in name
    return not is_state and Path(name).name not in (
        LEASE_FILE,
        ALIVE_FILE,
        STATUS_FILE,
        TABLE_FILE,
        *JOURNAL_FILES,
    )
