"""The notes of how a file was read, as they are shown and as an import keeps them."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.data.arrays import DayArray, PriceArray, fingerprint_of
from study.data.reading.file_cells import FileCells
from study.errors import one_line, shortened

_LONGEST_LINE = 1000


def understood_line(phrases: Sequence[str]) -> str:
    """Return how a file was read as one line; names and symbols in it are somebody's text."""
    return shortened(one_line("; ".join(phrases)), _LONGEST_LINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportNotes:
    """What an import keeps beside the data, as attributes of the frame."""

    understood: str
    """How the file that was imported was read."""
    accepted: tuple[str, ...]
    """The checks whose refusal was overridden."""
    fingerprint: str
    """Digest of the days and values to which the notes belong."""

    def as_attributes(self) -> dict[str, str]:
        """Return the attributes from which ``import_notes`` reads these notes."""
        return {
            "understood": self.understood,
            "accepted": " ".join(self.accepted),
            "fingerprint": self.fingerprint,
        }


def import_notes(cells: FileCells, days: DayArray, values: PriceArray) -> ImportNotes | None:
    """Return what an import wrote beside exactly these days and values, None if nothing.

    pandas keeps the attributes of a frame that somebody has edited and saved again: what was
    accepted of the old data is not accepted of the new.
    """
    fingerprint = fingerprint_of(days, values)
    understood, accepted = (cells.attributes.get(name) for name in ("understood", "accepted"))
    if cells.attributes.get("fingerprint") != fingerprint or not (
        isinstance(understood, str) and isinstance(accepted, str)
    ):
        return None
    return ImportNotes(
        understood=understood, accepted=tuple(accepted.split()), fingerprint=fingerprint
    )
