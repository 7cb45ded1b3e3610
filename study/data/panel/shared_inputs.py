"""Model inputs of a panel, which processes of one machine share instead of copying them."""

from pathlib import Path
from typing import Any

import numpy as np

from study.data.arrays import SampleArray
from study.errors import DataError, require
from study.storage.cache_files import note_use


class SharedInputs:
    """Model inputs, in memory or in a file that is mapped.

    Where they lie in a file, only its path and the place in it are sent to another process, which
    maps it: however many there are, the pages are in memory once.

    Args:
        values: float32 of shape (n_days, n_assets, n_features), C-contiguous.
        file: the file that they are mapped from; None if they are in memory.
        offset: bytes of the file before the first of them.
    """

    def __init__(self, values: SampleArray, file: Path | None = None, offset: int = 0) -> None:
        self.values = values
        self.file = file
        self.offset = offset
        self._is_carried = False

    @classmethod
    def mapped(cls, file: Path, offset: int, shape: tuple[int, ...]) -> "SharedInputs":
        """Map the values of a file.

        Raises:
            DataError: the file is gone, or too short for them.
        """
        needed = offset + 4 * int(np.prod(shape))
        got = file.stat().st_size if file.is_file() else None
        require(
            got is not None and got >= needed,
            str(file),
            f"must hold the inputs of the panel, {needed} bytes",
            got="no such file" if got is None else f"{got} bytes",
            remedy="Start the command again, which builds it, and leave it while a study runs.",
            error=DataError,
        )
        note_use(file)
        # Mode "c" gives private pages that could be written, and torch then takes them uncopied.
        values = np.memmap(file, dtype=np.float32, mode="c", offset=offset, shape=shape)
        return cls(np.asarray(values), file, offset)

    def between(self, first: int, end: int) -> "SharedInputs":
        """Return the inputs of the days from ``first`` on before ``end``, not copied."""
        offset = self.offset + first * self.values[:1].nbytes
        return SharedInputs(self.values[first:end], self.file, offset)

    @property
    def carried(self) -> "SharedInputs":
        """The inputs, of which the values are sent along for machines that lack their file."""
        found = SharedInputs(self.values, self.file, self.offset)
        found._is_carried = True
        return found

    @classmethod
    def _arrived(cls, file: Path, offset: int, values: SampleArray) -> "SharedInputs":
        """Map the values of a file or, on a machine that lacks it, take those that were sent."""
        try:
            return cls.mapped(file, offset, values.shape)
        except DataError:
            return cls(values)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.file is None:
            return SharedInputs, (self.values,)
        if self._is_carried:
            return SharedInputs._arrived, (self.file, self.offset, self.values)
        return SharedInputs.mapped, (self.file, self.offset, self.values.shape)
