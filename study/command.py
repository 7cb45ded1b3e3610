"""How every command begins and ends: its flags, its exit code, a line where something is wrong."""

import argparse
import contextlib
import errno
import io
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

from study.errors import SpecError, StudyError, cause, one_line, quoted, require, shortened
from study.fields import is_number, is_whole

Parsed = TypeVar("Parsed")

_WRONG_PATH = frozenset(
    {
        errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP,
        errno.EACCES, errno.EPERM, errno.EINVAL,
    }
)  # fmt: skip
"""Numbers of the errors that another flag cures; a full or broken disk is a fault."""


class Exit(IntEnum):
    """Exit codes; 130 is what a shell gives for Ctrl+C."""

    OK = 0
    FAILED = 1
    USER_ERROR = 2
    INTERRUPTED = 130


class CommandParser(argparse.ArgumentParser):
    """Reads flags in full, keeps its help's line ends, and says in one line what is wrong.

    Numbers are numbers that can be counted with: ``inf``, ``nan`` and integers beyond 64 bits are
    refused for every flag of a command and of its subcommands.
    """

    def __init__(self, **settings: Any) -> None:
        usual = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
        super().__init__(**{**usual, **settings})
        self.register("type", int, _whole)
        self.register("type", float, _number)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, but refuse ``--flag=--``: Python 3.11 takes it for a flag with an empty list."""
        words: Sequence[str] = sys.argv[1:] if args is None else list(args)
        for word in words[: words.index("--")] if "--" in words else words:
            name, equals, value = word.partition("=")
            require(
                not (name.startswith("-") and equals and value == "--"),
                name,
                "must have a value",
                got=quoted(value),
                remedy=f"See {self.prog} --help.",
            )
        return super().parse_known_args(words, namespace)

    def print_help(self, file: Any = None) -> None:
        """Print the help; argparse's own way keeps silent where it cannot be written."""
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong with the flags, where argparse would print the usage and exit."""
        raise SpecError(f"{self.prog}: {message}. See {self.prog} --help.")


class _ClosedOutput(io.TextIOBase):
    """The standard output of a command that was started without one (``>&-``).

    To write to it fails as to a full disk: a command whose work is to print says so, and one that
    outlives its reader goes on (``study.output``).
    """

    def write(self, text: str, /) -> int:
        """Raise OSError."""
        raise OSError(errno.EBADF, "it was closed when the command began")

    def writable(self) -> bool:
        """Return True: whoever asks wants to print."""
        return True


def command_parser(name: str, description: str, examples: str) -> CommandParser:
    """Return the parser of ``python -m name``, without flags; ``examples`` end its help."""
    return CommandParser(prog=f"python -m {name}", description=description, epilog=examples)


def exit_code(work: Callable[[], int]) -> int:
    """Do a command's work, its flags parsed within, and return its exit code.

    Whatever goes wrong is one line on stderr: what the user can cure, a disk that is full, output
    that cannot be written. The traceback of anything else goes into a file that the line names.
    """
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that is no text in the terminal's encoding must not end a command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _ended(work)
        sys.stdout.flush()
    except OSError as error:
        _discard_output()
        if isinstance(error, BrokenPipeError):
            # Whoever read the output has gone, as head does: nobody misses the rest.
            return Exit.INTERRUPTED
        _say(
            f"error: stdout: must be writable, but got: {_words(error)}. Free some space, or "
            "redirect it, as > /dev/null."
        )
        return Exit.FAILED
    return code


def _ended(work: Callable[[], int]) -> int:
    """Return how the work ended.

    Raises: OSError, if it is stdout that cannot be written.
    """
    try:
        return work()
    except StudyError as error:
        _say(f"error: {error}")
        return Exit.USER_ERROR
    except KeyboardInterrupt:
        _say("interrupted")
        return Exit.INTERRUPTED
    except SystemExit as end:
        # argparse has printed the help.
        return end.code if isinstance(end.code, int) else Exit.OK
    except OSError as error:
        if error.filename is None and not _is_output_writable():
            raise
        is_named = error.filename is not None
        where = shortened(one_line(str(error.filename))) if is_named else _place(error)
        _say(f"error: {where}: {_words(error)}. Mend it, or choose another path.")
        return Exit.USER_ERROR if is_named and error.errno in _WRONG_PATH else Exit.FAILED
    except Exception as error:
        # The last resort: a fault of the program, which its user can but report.
        _say(f"error: {_place(error)}: {type(error).__name__}: {cause(error)}. {_kept(error)}")
        return Exit.FAILED


def _is_output_writable() -> bool:
    """Can stdout be written? Text that could not be is still in its buffer, and fails again."""
    if isinstance(sys.stdout, _ClosedOutput):
        return False
    try:
        if getattr(sys.stdout, "write_through", False):
            # Without a buffer only another character can show it.
            sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return False
    return True


def _discard_output() -> None:
    """Discard what is left of the output: Python writes it when it ends, and would fail."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _kept(error: Exception) -> str:
    """Keep a traceback in a file that only its owner may read; say where, and what to do."""
    text = "".join(traceback.format_exception(error))
    try:
        descriptor, path = tempfile.mkstemp(prefix="study-fault-", suffix=".txt")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as problem:
        return f"This is a fault of the program; its traceback has no room: {_words(problem)}."
    return f"This is a fault of the program: report it with {path}."


def _place(error: Exception) -> str:
    """Return the file and line at which the exception was raised, outside of Python's libraries."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [each for each in frames if not re.match(r"<frozen|.*/lib/python3", each.filename)]
    last = (own or frames)[-1]
    return f"{os.path.basename(last.filename)} line {last.lineno}"


def _words(error: OSError) -> str:
    return one_line(error.strerror or "") or cause(error)


def _say(line: str) -> None:
    # If the message cannot be written either, the exit code is left to show the failure.
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(one_line(line), file=sys.stderr, flush=True)


def _whole(text: str) -> int:
    return _parsed(text, int, is_whole, "must be a whole number of at most 64 bits")


def _number(text: str) -> float:
    return _parsed(text, float, is_number, "must be a finite number")


def _parsed(
    text: str, kind: Callable[[str], Parsed], holds: Callable[[object], bool], rule: str
) -> Parsed:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not holds(value):
        raise argparse.ArgumentTypeError(f"{rule}, but got {quoted(text)}")
    return value
