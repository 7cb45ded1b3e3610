"""How many trials of a cell may be at work: what a sweep grants, and may change at any time."""

from pathlib import Path

from study.storage.files import read_text


class Slots:
    """A number in a file that a sweep writes; without one there is no limit but the cluster.

    Args:
        path: the file; None outside of a sweep.
        most: the number of trials that the cluster could run at once.
    """

    def __init__(self, path: Path | None, most: int) -> None:
        self._path = path
        self._most = most

    @property
    def is_granted(self) -> bool:
        """Do other cells wait for what this one does not use?"""
        return self._path is not None

    @property
    def count(self) -> int:
        """Trials that may be at work now, at least one."""
        text = None if self._path is None else read_text(self._path)
        if text is None or not text.strip().isdecimal():
            return self._most
        return min(self._most, max(1, int(text)))
