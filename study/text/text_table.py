"""Tables of text as people's programs write them: every row with its columns and its line."""

import csv
import gzip
import io
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from study.errors import StudyError, cause, quoted, require
from study.text.number_text import read_number

DELIMITERS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
"""Delimiters of cells, with their names in messages. The comma comes last, because it also stands
inside numbers and dates: of two delimiters that are equally regular, the earlier one is taken."""

_SAMPLE_LINES = 200
"""Number of records by which the delimiter is recognised: title lines are few, and rows are
alike."""

_GZIP_MAGIC = b"\x1f\x8b"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_DECLARED = "sep="
"""Start of a first line in which Excel names the delimiter."""

Record = tuple[int, list[str]]
"""The line on which a record begins, counted from 1, and its cells without outer white space."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextTable:
    """A header and the rows below it, all of one length."""

    where: str
    """The file, as messages name it."""
    header: tuple[str, ...]
    header_line: int
    rows: tuple[tuple[str, ...], ...]
    """Cells of each row, as many as the header has; rows without any text are not in here."""
    lines: tuple[int, ...]
    """Line of the file on which each row begins, counted from 1."""
    delimiter: str
    encoding: str
    skipped: tuple[str, ...]
    """Lines that are no rows (a title, a note below the table), a phrase each."""

    def column(self, position: int) -> tuple[str, ...]:
        """Return the cells of the column at ``position``, one per row."""
        return tuple(row[position] for row in self.rows)


def read_text_table(path: Path, error: type[StudyError] = StudyError) -> TextTable:
    """Read a table of comma-, semicolon-, tab- or bar-separated text, gzipped or not.

    Cells belong to the column above them by position: no column is taken for an index. Lines above
    the header and notes below the last row are left out and named in ``skipped``. Empty cells that
    a row has beyond the header (a comma at its end) are dropped; a row with text there, or with too
    few cells, is refused.

    Args:
        path: of the file.
        error: the class to raise.

    Raises:
        StudyError: the file cannot be read, holds no header, or a row has not its columns.
    """
    where = path.name
    text, encoding = _read_text(path, error)
    text, declared = _declared_delimiter(text)
    delimiter = declared or _likely_delimiter(text)
    try:
        records = [
            record for record in _records(text, delimiter, 2 if declared else 1) if any(record[1])
        ]
    except csv.Error as problem:
        raise error(
            f"{where}: must be a table of text, but got {cause(problem)}. Save it as CSV."
        ) from problem
    require(
        bool(records),
        where,
        "must have a header and rows",
        got="no text",
        remedy="Check the file.",
        error=error,
    )
    width = _usual_width(records)
    _require_delimiter(where, records, width, error)
    titles = _n_titles(records, width)
    header_line, header = records[titles]
    body, notes = _without_footer(records[titles + 1 :], len(_stripped(header)))
    skipped = [
        *(f"line {line} is a title" for line, _ in records[:titles]),
        *(f"line {line} is a note" for line, _ in notes),
    ]
    columns = _stripped(header)
    # A header may name fewer columns than its rows have only where the rest is empty.
    return TextTable(
        where=where,
        header=tuple(columns),
        header_line=header_line,
        rows=tuple(_row(record, len(columns), where, delimiter, error) for record in body),
        lines=tuple(line for line, _ in body),
        delimiter=delimiter,
        encoding=encoding,
        skipped=tuple(skipped),
    )


def _read_text(path: Path, error: type[StudyError]) -> tuple[str, str]:
    """Return a file's text and its encoding."""
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise error(
            f"{path.name}: must be a file that can be read, but got {cause(problem)}. Check the "
            "path."
        ) from problem
    try:
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
        if content.startswith(_UTF16_MARKS):
            return content.decode("utf-16"), "UTF-16"
        try:
            # The byte order mark that spreadsheets write would otherwise hide the first column.
            text, encoding = content.decode("utf-8-sig"), "UTF-8"
        except UnicodeDecodeError:
            text, encoding = content.decode("cp1252"), "Windows-1252"
        require(
            "\0" not in text,
            path.name,
            "must be a table of text",
            got="a NUL byte, as in a binary file",
            remedy="Save it as CSV.",
            error=error,
        )
        return text, encoding
    except (OSError, EOFError, zlib.error, ValueError) as problem:
        if isinstance(problem, StudyError):
            raise
        raise error(
            f"{path.name}: must be a table of text, but got {cause(problem)}. Save it as CSV in "
            "UTF-8."
        ) from problem


def _declared_delimiter(text: str) -> tuple[str, str | None]:
    first, _, rest = text.partition("\n")
    declared = first.strip()
    if declared.lower().startswith(_DECLARED) and declared[len(_DECLARED) :] in DELIMITERS:
        return rest, declared[len(_DECLARED) :]
    return text, None


def _records(text: str, delimiter: str, first_line: int) -> Iterator[Record]:
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != "\t"
    )
    began = 0
    for cells in reader:
        yield began + first_line, [cell.strip() for cell in cells]
        began = reader.line_num


def _likely_delimiter(text: str) -> str:
    """Return the delimiter by which most lines have the same number of cells, at least two.

    Between two that are equally regular (a decimal comma is as regular as a semicolon), the one
    that makes more cells: a mark inside numbers makes fewer than the one between them. A file of
    one column has no delimiter, and is read as if it were separated by commas.
    """
    sample = "\n".join(text.splitlines()[:_SAMPLE_LINES])

    def regularity(delimiter: str) -> tuple[int, int]:
        try:
            widths = Counter(
                len(cells) for _, cells in _records(sample, delimiter, 1) if len(cells) > 1
            )
        except csv.Error:
            return 0, 0
        if not widths:
            return 0, 0
        width, lines = max(widths.items(), key=lambda item: (item[1], item[0]))
        return lines, width

    best = max(DELIMITERS, key=regularity)
    return best if regularity(best) > (0, 0) else ","


def _usual_width(records: list[Record]) -> int:
    """Return the number of cells that most records have, the larger one of a tie."""
    widths = Counter(len(_stripped(cells)) for _, cells in records[:_SAMPLE_LINES])
    return max(widths, key=lambda width: (widths[width], width))


def _stripped(cells: list[str]) -> list[str]:
    """Return the cells without the empty ones at the end."""
    last = max((at for at, cell in enumerate(cells) if cell), default=-1)
    return cells[: last + 1]


def _require_delimiter(
    where: str, records: list[Record], width: int, error: type[StudyError]
) -> None:
    """Refuse lines whose cells are apart by spaces, which also stand inside cells."""
    if width > 1:
        return
    texts = [(line, " ".join(cells)) for line, cells in records[:_SAMPLE_LINES]]
    words = Counter(len(text.split()) for _, text in texts)
    usual, lines = words.most_common(1)[0]
    line, text = next(each for each in reversed(texts) if len(each[1].split()) == usual)
    require(
        usual == 1 or lines == 1 or 2 * lines <= len(texts),
        f"{where} line {line}",
        f"must separate cells by {', '.join(list(DELIMITERS.values())[:-1])} or commas",
        got=f"{quoted(text)}, with spaces between",
        remedy="Save it as CSV.",
        error=error,
    )


def _n_titles(records: list[Record], width: int) -> int:
    """Count the lines above the header of a table whose rows have ``width`` cells.

    They are remarks, or all lines above the first that is as wide as the rows, if that one holds
    words and no numbers (``Security,SPX Index`` of Bloomberg). Where it holds numbers, it is a row
    below a header that lacks a name.
    """
    titles = 0
    while titles < len(records) - 1 and _is_remark(records[titles], width):
        titles += 1
    wide = next(at for at, (_, cells) in enumerate(records) if len(_stripped(cells)) >= width)
    is_header = wide < len(records) - 1 and not any(map(_looks_numeric, records[wide][1]))
    return max(titles, wide) if is_header else titles


def _is_remark(record: Record, width: int) -> bool:
    """Is this a line of prose (or ``Symbol:,ABC``), where rows have ``width`` cells?"""
    cells = _stripped(record[1])
    return len(cells) < width and (
        len(cells) == 1 or cells[0].startswith("#") or cells[0][-1:] == ":"
    )


def _without_footer(rows: list[Record], width: int) -> tuple[list[Record], list[Record]]:
    """Split the lines below the last row off: shorter than a row, words and no numbers.

    A row that was cut off in the middle holds numbers, and is left to be refused.
    """
    end = len(rows)
    while end:
        cells = _stripped(rows[end - 1][1])
        is_prose = bool(cells[0]) and not cells[0][0].isdigit()
        if len(cells) >= width or not is_prose or any(map(_looks_numeric, cells[1:])):
            break
        end -= 1
    return rows[:end], rows[end:]


def _looks_numeric(cell: str) -> bool:
    """Could it be one in any notation: 1.234,5, 02/03/2024, 1.4B?"""
    has_letters = any(each.isalpha() for each in cell)
    return math.isfinite(read_number(cell)) or (
        any(each.isdigit() for each in cell) and not has_letters
    )


def _row(
    record: Record, width: int, where: str, delimiter: str, error: type[StudyError]
) -> tuple[str, ...]:
    line, cells = record
    cells = cells[:width] + _stripped(cells[width:])
    if len(cells) != width:
        raise error(
            f"{where} line {line}: must have {width} cells like the header, but got {len(cells)}: "
            f"{quoted(cells)}. Correct the row; what holds the separator itself "
            f"({quoted(delimiter)}) must stand in quotes, and nothing above the header."
        )
    return tuple(cells)
