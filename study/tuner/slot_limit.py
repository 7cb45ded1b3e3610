"""The number of trials of a cell that may run at once, which a sweep grants and may change."""

from pathlib import Path

from study.storage.files import read_text


class Slots:
    """The number of granted slots in a file of a sweep; without a file the cluster is the limit.

    Args:
        path: the file; None outside of a sweep.
        most: the number of trials that the cluster could run at once.
    """

    def __init__(self, path: Path | None, most: int) -> None:
        self._path = path
        self._most = most

    @property
    def is_granted(self) -> bool:
        """Does a sweep grant the slots, so that other cells may use what this one does not?"""
        return self._path is not None

    @property
    def count(self) -> int:
        """The number of trials that may run now, at least one."""
        text = None if self._path is None else read_text(self._path)
        if text is None or not text.strip().isdecimal():
            return self._most
        return min(self._most, max(1, int(text)))
