"""A cell's copy in an S3-compatible store, updated from its working copy on a disk."""

import errno
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pyarrow
from pyarrow import fs

from study.errors import StudyError, one_line, require, shortened
from study.storage.files import make_way, no_link, temporary_path

_OPTIONS = ("endpoint_override", "region", "scheme")
"""Options that the URI of a store may have, as pyarrow names them."""

_CONNECT_SECONDS = 5.0
"""Seconds that each of three attempts to connect may take; pyarrow's default of 1 s is short for a
store on another continent."""

_CHUNK_BYTES = 32 * 2**20
"""Bytes that one request reads of a file: two states of a large model do not fit into memory."""

_REASON_LENGTH = 300
"""Number of characters that are shown of an error of the store, which may be as long as a page."""


def is_uri(storage: str) -> bool:
    """Is the value of ``--storage`` the URI of a store? Otherwise it is a folder."""
    return "://" in storage


class Mirror:
    """The objects of one cell in a store; each has the name of its file below ``root``.

    An object is replaced as a whole. A file that was pushed or pulled is pushed again only if it
    has changed since.

    Credentials come from ``AWS_ACCESS_KEY_ID`` and the other sources that the AWS tools read.

    Args:
        uri: ``s3://bucket/prefix``, with ``?endpoint_override=http://host:port`` for a store that
            is not Amazon's.
        cell: name of the cell, the last part of the prefix of its objects.
        root: the cell's folder on this disk, which need not exist.

    Raises:
        StudyError: it is not such a URI, or the bucket's region cannot be found.
    """

    def __init__(self, uri: str, cell: str, root: Path) -> None:
        parts = urlsplit(uri)
        require(
            "@" not in parts.netloc,
            "--storage",
            "a URI must not hold credentials",
            got="some",
            remedy="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead.",
        )
        require(
            parts.scheme == "s3" and bool(parts.netloc),
            "--storage",
            "must be a folder or s3://bucket/prefix",
            got=uri,
            remedy="For a store that is not Amazon's add ?endpoint_override=http://host:port",
        )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unknown = sorted(set(options) - set(_OPTIONS))
        require(
            not unknown,
            "--storage",
            f"options of a URI must be of {', '.join(_OPTIONS)}",
            got=", ".join(unknown),
            remedy="Leave it out.",
        )
        scheme, _, host = options.get("endpoint_override", "").rpartition("://")
        self.storage = uri
        """URI of the store as it was given, with the bucket's region."""
        self.uri = parts._replace(path=f"{parts.path.rstrip('/')}/{cell}").geturl()
        """URI of the cell, which is its identity."""
        self._bucket = parts.netloc
        self._store = f"{parts.netloc}{parts.path}".rstrip("/")
        self.cell = cell
        self._root = root
        self._known: dict[str, tuple[int, int]] = {}
        """Time of change and size in bytes of every file that is equal to its object."""
        region = options.get("region")
        try:
            if region is None and not host:
                region = fs.resolve_s3_region(self._bucket)
                self.storage += f"{'&' if parts.query else '?'}region={region}"
            self._fs = fs.S3FileSystem(
                endpoint_override=host or None,
                scheme=options.get("scheme") or scheme or None,
                region=region,
                connect_timeout=_CONNECT_SECONDS,
                # Writes in the background would copy whole checkpoints into memory.
                background_writes=False,
                # A small object then takes one request instead of three.
                allow_delayed_open=True,
            )
        except OSError as error:
            raise StudyError(self._unusable(_reason(error))) from error

    def is_usable_with(self, name: str) -> bool:
        """Does a store that can be used have such an object?

        Raises:
            StudyError: there is no such bucket, it cannot be reached, or access is denied.
        """
        try:
            bucket, found = self._fs.get_file_info([self._bucket, self._key(name)])
        except OSError as error:
            raise StudyError(self._unusable(_reason(error))) from error
        if bucket.type == fs.FileType.NotFound:
            raise StudyError(self._unusable("no such bucket"))
        return bool(found.type == fs.FileType.File)

    def has(self, name: str) -> bool:
        """Is there such an object?"""
        with self._located(name):
            return bool(self._fs.get_file_info(self._key(name)).type == fs.FileType.File)

    def age_seconds(self, name: str) -> float:
        """Return the time since an object was written; infinity if it is not there."""
        with self._located(name):
            found = self._fs.get_file_info(self._key(name))
        return time.time() - found.mtime.timestamp() if found.mtime else float("inf")

    def changed_ns(self, name: str) -> int:
        """Return when an object was written, by the store's clock; 0 if it is not there."""
        with self._located(name):
            return int(self._fs.get_file_info(self._key(name)).mtime_ns or 0)

    def read(self, name: str) -> bytes | None:
        """Return an object's content; None if it is not there."""
        with self._located(name), suppress(FileNotFoundError):
            with self._fs.open_input_stream(self._key(name), compression=None) as stream:
                return bytes(stream.read())
        return None

    def write(self, name: str, content: bytes | pyarrow.Buffer) -> None:
        """Replace an object: a reader sees the old one or the new one, never a part.

        Raises:
            OSError: it could not be written, or the answer was lost.
        """
        with self._located(name):
            # One write: after an error between two, closing would complete an object with a part.
            with self._fs.open_output_stream(self._key(name), compression=None) as stream:
                stream.write(content)

    def push(self, below: str = ".", *, skip: Collection[str] = ()) -> None:
        """Write those files below a folder to the store that differ from their objects.

        The hash of a file is written before the file, as on the disk. Hidden files are not written.

        Args:
            below: the folder, relative to the cell's.
            skip: names of files and folders that are not written.
        """
        files = [path for path in (self._root / below).rglob("*") if path.is_file()]
        for path in sorted(files, key=_hash_first):
            relative = path.relative_to(self._root)
            if path.name.startswith(".") or set(relative.parts) & set(skip):
                continue
            state = path.stat()
            stamp = (state.st_mtime_ns, state.st_size)
            if self._known.get(str(relative)) == stamp:
                continue
            # An empty file cannot be mapped.
            content = pyarrow.memory_map(str(path)).read_buffer() if state.st_size else b""
            self.write(str(relative), content)
            self._known[str(relative)] = stamp

    def pull(self, below: str = ".", *, only: Callable[[str], bool] = bool) -> None:
        """Copy the objects below a folder to files; one that is removed meanwhile is skipped.

        Args:
            below: the folder, relative to the cell's.
            only: function of an object's name, relative to the cell's folder: is it wanted?
        """
        for name in filter(only, self._names(below)):
            path = self._root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = temporary_path(path)
            with self._located(name), suppress(FileNotFoundError):
                source = self._fs.open_input_stream(self._key(name), compression=None)
                with source, open(temporary, "wb", opener=no_link) as target:
                    shutil.copyfileobj(source, target, _CHUNK_BYTES)
                make_way(path)
                temporary.replace(path)
                state = path.stat()
                self._known[name] = (state.st_mtime_ns, state.st_size)

    def drop_missing(self, below: str, *, only: Callable[[str], bool]) -> None:
        """Delete the objects below a folder that have no file here, a file before its hash.

        Args:
            below: the folder, relative to the cell's.
            only: function of a file's name without its folder: has this program written it? Other
                objects are kept.
        """
        for name in reversed(self._names(below)):
            if only(Path(name).name) and not (self._root / name).exists():
                self.remove(name)

    def remove(self, name: str) -> None:
        """Delete an object, if it is there."""
        with self._located(name), suppress(FileNotFoundError):
            self._fs.delete_file(self._key(name))

    def move_aside(self, stamp: str, *, last: str, skip: Collection[str]) -> str | None:
        """Move the cell's objects to another place in the store.

        Args:
            stamp: text that makes the place unique.
            last: name of the object that marks a cell, which is moved last.
            skip: names of objects that are not moved.

        Returns: the place, or None if there was nothing to move.
        """
        names = [name for name in self._names(".") if name not in skip]
        aside = f"{self._store}/replaced/{self.cell}-{stamp}"
        for name in sorted(names, key=lambda name: name == last):
            with self._located(name):
                self._fs.move(self._key(name), f"{aside}/{name}")
        return f"s3://{aside}" if names else None

    def _names(self, below: str) -> list[str]:
        """Return the names of the objects below a folder, the hash of a file before the file."""
        place = os.path.normpath(self._key(below))
        with self._located(below):
            found = self._fs.get_file_info(
                fs.FileSelector(place, recursive=True, allow_not_found=True)
            )
        own = f"{self._store}/{self.cell}/"
        names = [Path(o.path.removeprefix(own)) for o in found if o.type == fs.FileType.File]
        # A key may hold any text, but no file may be made outside of the cell's folder.
        below_root = (each for each in names if ".." not in each.parts and not each.is_absolute())
        return [str(name) for name in sorted(below_root, key=_hash_first)]

    def _key(self, name: str) -> str:
        return f"{self._store}/{self.cell}/{name}"

    @contextmanager
    def _located(self, name: str) -> Iterator[None]:
        """Raise a failure of the store as an OSError with an error number and the object's URI."""
        try:
            yield
        except OSError as error:
            if error.errno is not None:
                # It is a failure of the local disk, or there is no such object.
                raise
            raise OSError(errno.EIO, _reason(error), f"s3://{self._key(name)}") from error

    def _unusable(self, reason: str) -> str:
        return (
            f"--storage: must be a bucket that can be reached and read, but got {reason} "
            f"({self.uri}). Check the bucket, the options of the URI and the AWS_ variables."
        )


def _hash_first(path: Path) -> tuple[str, str, int]:
    """Return a key of order: ``best_1.pt.sha256``, ``best_1.pt``, ``state_1.pt.sha256``."""
    return str(path.parent), path.name.partition(".")[0], -len(path.name)


def _reason(error: OSError) -> str:
    return shortened(one_line(str(error)), _REASON_LENGTH)
