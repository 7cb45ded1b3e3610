"""Records of variants: a winner that is trained again with one setting changed.

<final>/<cell>/variants/<field>=<value>/   runs of the variant, at the seeds of the final runs
    variant.json                           what was changed, and its runs; written last
    predictions.parquet                    the table of their predictions
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.errors import StudyError, quoted, require
from study.fields import rebuild
from study.results.finals.final_records import RunRecord
from study.storage.documents import load_json
from study.storage.files import write_json
from study.storage.layout import VARIANT_FILE, VARIANTS_FOLDER

Setting = str | float | int | bool | None
"""Value of a setting that a variant may change."""

_NAME = re.compile(r"[A-Za-z0-9_]+=[A-Za-z0-9_.+-]+")
"""Form of a variant's name, which is that of a folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantRecord:
    """The runs of a cell's winner with one setting changed."""

    cell: str
    field: str
    """Name of the setting, as in the winner's parameters."""
    value: Setting
    """Value of the setting in these runs."""
    base_value: Setting
    """Value of the setting in the final runs of the winner."""
    winner: int
    """Number of the winning trial in the search."""
    runs: Sequence[RunRecord]
    """Its runs; those whose seed a final run has too are compared with it."""
    commit: str

    @property
    def name(self) -> str:
        """Name of its folder, such as ``optimizer=adabelief``."""
        return variant_name(self.field, self.value)

    @property
    def base_name(self) -> str:
        """Name of what it is compared with, such as ``optimizer=adamw``."""
        name = variant_name(self.field, self.base_value)
        # A text that describes several values is no name.
        return name if is_variant_name(name) else f"{self.field}=as-it-won"

    @property
    def is_usable(self) -> bool:
        """Has at least one of its runs a result?"""
        return any(run.is_rankable for run in self.runs)


def variant_name(field: str, value: Setting) -> str:
    """Return the name of a variant: the setting that is changed, and its value.

    Empty text stands for none.
    """
    return f"{field}={'none' if value == '' else value}"


def is_variant_name(name: str) -> bool:
    """Is a text the name of a setting and a number or a word, as a folder may be named?"""
    return _NAME.fullmatch(name) is not None


def variant_folder(folder: Path, name: str) -> Path:
    """Return the folder of a variant's runs, below that of a cell's final runs."""
    return folder / VARIANTS_FOLDER / name


def variant_names(folder: Path) -> list[str]:
    """Return the names of the variants whose runs have been begun, those of a cell."""
    variants = folder / VARIANTS_FOLDER
    if not variants.is_dir():
        return []
    return sorted(each.name for each in variants.iterdir() if each.is_dir())


def write_variant(folder: Path, record: VariantRecord) -> None:
    """Write the record of a variant's runs, which marks them as complete.

    Args:
        folder: the folder of the cell's final runs.
        record: the record.

    Raises:
        StudyError: its name is not that of a folder.
    """
    require(
        is_variant_name(record.name),
        "variant",
        "must be the name of a setting and a number or a word",
        got=quoted(record.name),
        remedy="Change a setting whose value is a number, a word, true or false.",
        error=StudyError,
    )
    own = variant_folder(folder, record.name)
    own.mkdir(parents=True, exist_ok=True)
    write_json(own / VARIANT_FILE, dataclasses.asdict(record))


def read_variant(folder: Path, name: str) -> VariantRecord | None:
    """Return the record of a variant's runs; None if they have not ended.

    Args:
        folder: the folder of the cell's final runs.
        name: name of the variant, such as ``rank_weight=0``.

    Raises:
        StudyError: the file exists and cannot be read, or is of another variant.
    """
    path = variant_folder(folder, name) / VARIANT_FILE
    if not path.exists():
        return None
    remedy = "Remove its folder and run study.train with the same variant again."
    record = rebuild(VariantRecord, load_json(path, remedy), str(path), remedy)
    require(
        record.name == name and record.value != record.base_value,
        str(path),
        f"must be the record of {name}, which differs from the winner",
        got=f"{quoted(record.name)} against {quoted(record.base_name)}",
        remedy=remedy,
        error=StudyError,
    )
    return record
