"""The standard output: of a command that must outlive its reader, and how wide it is."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console

from study.errors import cause

_PIPED_WIDTH = 120
"""Characters of a line where there is no terminal: rows of tables stay whole."""

_STANDARD_ERROR = 2
"""Number of the last of the three descriptors that a process is born with."""

Listener = Callable[[str], None]
"""Function that takes the reason for which the output is gone."""


def open_console(piped_width: int = _PIPED_WIDTH) -> Console:
    """Return a console on the standard output, without control codes if that is no terminal.

    It shows values as they stand: ``[red]`` or ``:x:`` in a name is a name.

    Args:
        piped_width: characters of a line where there is no terminal.
    """
    if sys.stdout is not None and sys.stdout.isatty():
        return Console(highlight=False, markup=False, emoji=False)
    # Passed, because variables such as FORCE_COLOR speak for a terminal where there is none.
    return Console(
        highlight=False, markup=False, emoji=False, force_terminal=False, width=piped_width
    )


class LastingOutput(io.TextIOBase):
    """Writes to a stream as long as it can be written to, and to nowhere from then on.

    A search lasts for hours; whoever reads what it prints (``head``, ``tee``, a terminal, a disk)
    may be gone before. What it prints is in its log and its records too.

    Args:
        stream: None if the process was started without one.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._listeners: list[Listener] = []
        self.lost = None if stream is not None else "it was closed when the command began"
        """Reason for which nobody reads any more; None as long as somebody may."""

    def write(self, text: str, /) -> int:
        """Write ``text``, or lose it."""
        self._attempt(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Write what is waiting, or lose it."""
        self._attempt(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Does somebody look at the output now? Nobody does once the stream has been closed.

        Ray's colorama keeps this object, and asks when Python ends.
        """
        if self._stream is None or self.lost is not None or self._stream.closed:
            return False
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return True, whatever becomes of what is written."""
        return True

    @contextmanager
    def telling(self, listener: Listener) -> Iterator[None]:
        """Call ``listener``, until the end of the block, when the output is gone, or is already."""
        self._listeners.append(listener)
        try:
            if self.lost is not None:
                listener(self.lost)
            yield
        finally:
            self._listeners.remove(listener)

    def _attempt(self, use: Callable[[TextIO], Any]) -> None:
        if self._stream is None:
            return
        try:
            use(self._stream)
        except BlockingIOError:
            # Its reader is slow, and does not want to be waited for: a part is cut.
            return
        except OSError as error:
            self._lose(error.strerror or cause(error))

    def _lose(self, reason: str) -> None:
        assert self._stream is not None
        # What its buffer still holds has to go somewhere, at the latest when Python ends; so has
        # what libraries and other processes write. A stream of a test has no descriptor.
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        if self.lost is None:
            self.lost = reason
            for listener in tuple(self._listeners):
                listener(reason)

    # What a text stream has beside its methods, as libraries look at it.
    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the stream."""
        return "utf-8" if self._stream is None else self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """Error handler of the stream's encoding."""
        return None if self._stream is None else self._stream.errors


@contextmanager
def lasting_output() -> Iterator[LastingOutput]:
    """Let nothing that becomes of the standard output, or of standard error, end the block."""
    _occupy_descriptors()
    before = sys.stdout, sys.stderr
    output, errors = map(LastingOutput, before)
    sys.stdout, sys.stderr = output, errors
    try:
        yield output
    finally:
        output.flush()
        sys.stdout, sys.stderr = before


@contextmanager
def told_of_lost_output(listener: Listener) -> Iterator[None]:
    """Call ``listener`` when the output of ``lasting_output`` is gone; without one, nothing."""
    if not isinstance(sys.stdout, LastingOutput):
        yield
        return
    with sys.stdout.telling(listener):
        yield


def _occupy_descriptors() -> None:
    """Give the descriptors that a shell has closed (``>&-``) to nothing.

    Else the next file that is opened gets one of them, and what some library prints lands in it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
