"""The lines of a sweep: on the terminal and, with the date, in its log."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from study.storage.files import append_line
from study.storage.layout import LOG_FILE


class SweepLog:
    """Prints lines with the time of day and appends them to ``log.txt`` with the date.

    Args:
        console: where to print; lines are never wrapped.
        folder: the sweep's.
    """

    def __init__(self, console: Console, folder: Path) -> None:
        self._console = console
        self._path = folder / LOG_FILE

    def say(self, *texts: str) -> None:
        """Print and log events, a line each."""
        now = datetime.now().astimezone()
        for text in texts:
            self._console.print(Text(f"{now:%H:%M:%S} {text}"), soft_wrap=True)
            # A sweep that cannot log any more continues: its searches report what is wrong with the
            # disk.
            with suppress(OSError):
                append_line(self._path, f"{now:%Y-%m-%d %H:%M:%S%z} {text}")
