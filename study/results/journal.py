"""The journal of a search: every event that changed it, in order, in two copies.

The journal is the one source of truth about a search. The state of a search (the trials that were
started, the results of each epoch, the sampler's history, the rungs) is the journal read from its
start, and every other record is a view of it that can be written again. An event has happened once
its line is on the disk in one of the copies, and in the store if the search has one.

A line holds an event, the name of its search, its index, and a hash of all three, by which a torn,
changed or foreign line is recognised.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study.errors import StudyError
from study.storage.files import append_line, read_text, write_text
from study.storage.layout import JOURNAL_FILES

Event = dict[str, Any]
"""Plain JSON values of an event: ``kind``, ``time`` and the fields of that kind."""

_DIGITS = 16
"""Number of digits of a line's sha256 that are kept: 64 bits, which chance does not repeat."""


_LINE = re.compile(
    r'\{"search": "([^"\\]*)", "index": (0|[1-9]\d{0,11}), '
    rf'"hash": "([0-9a-f]{{{_DIGITS}}})", "event": (.*)\}}'
)
"""Pattern of a line: search, index, hash and event."""


class JournalError(StudyError):
    """A journal is damaged, or it is that of another search; the message says what is lost."""


class Journal:
    """An append-only list of events, whose two copies are intact and equal after opening.

    Args:
        folder: the cell's folder.
        search: the identity of this search, unique among all.
        events: the events of both files; the first one began the search.
    """

    def __init__(self, folder: Path, search: str, events: list[Event]) -> None:
        self._folder = folder
        self.search = search
        self.first = events[0]
        self._n_events = len(events)
        self._unplayed = events
        self.publish: Callable[[Path], None] | None = None
        """Function that copies one of the files to a store after every event; None without one."""

    @classmethod
    def create(cls, folder: Path, search: str, first: Event) -> "Journal":
        """Begin a journal in a new folder with its first event."""
        _rewrite(folder, search, [first])
        return cls(folder, search, [first])

    @classmethod
    def open(cls, folder: Path, *, witness: str | None) -> "Journal":
        """Read both copies, take each event from one that has it intact, and repair the other.

        Args:
            folder: the cell's folder.
            witness: the search that another file of the folder names, if it can be read.

        Raises:
            JournalError: the copies belong to different searches, or neither has some event
                that is followed by others.
        """
        journal = cls.read(folder, witness=witness)
        text = _text(journal.search, journal._unplayed)
        paths = [folder / name for name in JOURNAL_FILES]
        # What cannot be read, or is a link, cannot be appended to.
        if any(path.is_symlink() or _content(path) != text for path in paths):
            _rewrite(folder, journal.search, journal._unplayed)
        return journal

    @staticmethod
    def has_just_begun(copy: Path, search: str) -> bool:
        """Does a copy hold the event that began a search, and nothing else?"""
        content = _content(copy) or ""
        event = _read(content).get(search, {}).get(0)
        return event is not None and content == _text(search, [event])

    @classmethod
    def read(cls, folder: Path, *, witness: str | None) -> "Journal":
        """Read both copies as ``open`` does, but repair neither: the search may be running."""
        content, copied = (_content(folder / name) for name in JOURNAL_FILES)
        first = _read(content)
        # Two equal files, as they usually are, are read once: it is most of a resumption's time.
        copies = [first, first if content == copied else _read(copied)]
        search = _search_of(folder, copies, witness)
        merged: dict[int, Event] = {}
        for copy in copies:
            merged |= copy.get(search, {})
        missing = [index for index in range(max(merged) + 1) if index not in merged]
        if missing:
            raise JournalError(
                f"{folder}: each event of the search must be intact in "
                f"{' or '.join(JOURNAL_FILES)}, but got both damaged at "
                f"{len(missing)} of {max(merged) + 1} events, the first of them number "
                f"{missing[0]}. Start anew with --fresh --import-trials on this folder; "
                "what ended is in all_trials.json."
            )
        return cls(folder, search, [merged[index] for index in sorted(merged)])

    @classmethod
    def adopt(cls, folder: Path, published: str) -> bool:
        """Bring the copies, which may be absent or damaged, up to the journal in a store.

        Events that were written here and did not reach the store are kept if they follow the
        store's last event. If the search was resumed elsewhere meanwhile, they are dropped.

        Args:
            folder: the cell's folder.
            published: the text of the store's journal.

        Returns: have the copies changed?

        Raises:
            JournalError: the copies belong to another search, or the store's is damaged.
        """
        theirs = _read(published)
        (search, known), *others = [*theirs.items()] or [("", {})]
        if others or not known or len(known) != max(known) + 1:
            raise JournalError(
                f"{folder}: the store's {JOURNAL_FILES[0]} must be intact, but got a damaged one. "
                "Put back an earlier version of the object, or start anew with --fresh."
            )
        copies = [_read(_content(folder / name)) for name in JOURNAL_FILES]
        found = sorted({name for copy in copies for name in copy} - {search})
        if found:
            raise JournalError(
                f"{folder}: must be the working copy of the search in the store, {search}, but got "
                f"one of {', '.join(found)}. Move it away, or work in another current folder."
            )
        ours: dict[int, Event] = {}
        for copy in copies:
            ours |= copy.get(search, {})
        events = [known[index] for index in range(len(known))]
        if all(ours.get(index, event) == event for index, event in known.items()):
            while len(events) in ours:
                events.append(ours[len(events)])
        if events == [ours[index] for index in sorted(ours)]:
            return False
        _rewrite(folder, search, events)
        return True

    def replay(self) -> list[Event]:
        """Return the events that were there on opening, once: they are not kept in memory."""
        events, self._unplayed = self._unplayed, []
        return events

    def latest(self, kind: str) -> Event | None:
        """Return the last event of a kind which ``replay`` has not returned; None without one."""
        return next(reversed(self.every(kind)), None)

    def every(self, kind: str) -> list[Event]:
        """Return the events of a kind which ``replay`` has not returned, in order."""
        return [event for event in self._unplayed if event["kind"] == kind]

    def append(self, event: Event) -> None:
        """Write one event to the disk, in both copies, and to the store.

        Raises:
            OSError: the disk or the store is full or gone; the event then may or may not have
                happened, as after a crash. A later event is written with the same index, and of
                two lines with one index the last counts.
        """
        line = _line(self.search, self._n_events, event)
        for name in JOURNAL_FILES:
            # A folder that was removed must not come back with half a journal.
            append_line(self._folder / name, line, create=False)
        if self.publish is not None:
            self.publish(self._folder / JOURNAL_FILES[0])
        self._n_events += 1


def _rewrite(folder: Path, search: str, events: list[Event]) -> None:
    for name in JOURNAL_FILES:
        write_text(folder / name, _text(search, events))


def _text(search: str, events: list[Event]) -> str:
    return "".join(f"{_line(search, index, event)}\n" for index, event in enumerate(events))


def _line(search: str, index: int, event: Mapping[str, Any]) -> str:
    text = json.dumps(event, allow_nan=False)
    hashed = _hash(search, index, text)
    return f'{{"search": "{search}", "index": {index}, "hash": "{hashed}", "event": {text}}}'


def _hash(search: str, index: int, text: str) -> str:
    return hashlib.sha256(f"{search}\n{index}\n{text}".encode()).hexdigest()[:_DIGITS]


def _content(path: Path) -> str | None:
    """Return the text of a copy; None if it cannot be read, since the other one may be intact."""
    try:
        return read_text(path)
    except OSError:
        return None


def _read(text: str | None) -> dict[str, dict[int, Event]]:
    """Return the intact events of a file by search and index; a missing file has none."""
    found: dict[str, dict[int, Event]] = {}
    for line in (text or "").splitlines():
        parts = _LINE.fullmatch(line)
        if parts is None:
            continue
        search, index, hashed, event = parts[1], int(parts[2]), parts[3], parts[4]
        # Any other line is not as it was written.
        if _hash(search, index, event) == hashed:
            found.setdefault(search, {})[index] = json.loads(event)
    return found


def _require_readable(folder: Path) -> None:
    """Raise JournalError if a copy exists but cannot be read: it may be intact."""
    for name in JOURNAL_FILES:
        try:
            read_text(folder / name)
        except OSError as error:
            raise JournalError(
                f"{folder / name}: must be readable, but got {error.strerror}. Make it readable."
            ) from error


def _search_of(folder: Path, copies: list[dict[str, dict[int, Event]]], witness: str | None) -> str:
    """Return the search that most files of the folder name, since one file may be foreign."""
    votes = Counter(search for copy in copies for search in copy)
    mixed = [sorted(copy) for copy in copies if len(copy) > 1]
    if mixed:
        raise JournalError(
            f"{folder}: one search at a time may write a journal, but got events of "
            f"{' and '.join(mixed[0])} in one file. Start anew with --fresh --import-trials on "
            "this folder; what ended is in all_trials.json."
        )
    if not votes:
        _require_readable(folder)
        raise JournalError(
            f"{folder}: must hold the journal of a search in {' or '.join(JOURNAL_FILES)}, but got "
            "no intact event. Start anew with --fresh, and --import-trials on this folder if its "
            "all_trials.json is there."
        )
    counted = votes + Counter([witness] if witness else [])
    (search, count), *others = counted.most_common()
    if (others and others[0][1] == count) or search not in votes:
        raise JournalError(
            f"{folder}: all files must belong to one search, but got {', '.join(sorted(counted))}. "
            "Put back the files that were swapped."
        )
    return search
